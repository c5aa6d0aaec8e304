//! What a client can get wrong in a SCRAM exchange, in PostgreSQL's words.

use crate::scram::attribute::BadAttribute;

/// Why a client's SCRAM message was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    #[error("malformed SCRAM message")]
    Malformed(String),
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    #[error("unsupported SCRAM channel-binding type \"{0}\"")]
    BindingType(String),
    #[error("SCRAM channel binding check failed")]
    BindingMismatch,
    #[error("unexpected SCRAM channel-binding attribute in client-final-message")]
    BindingAttribute,
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    #[error("client requires an unsupported SCRAM extension")]
    Extension,
    #[error("non-printable characters in SCRAM nonce")]
    Nonce,
    #[error("invalid SCRAM response")]
    NonceMismatch,
    /// The password is wrong, or there is no such role: nobody may tell which.
    #[error("password authentication failed")]
    WrongProof,
}

impl ScramError {
    /// The SQLSTATE that PostgreSQL gives in the same case.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Downgrade | Self::BindingMismatch => "28000",
            Self::AuthorizationIdentity | Self::Extension => "0A000",
            Self::WrongProof => "28P01",
            Self::Malformed(_)
            | Self::BindingType(_)
            | Self::BindingAttribute
            | Self::Nonce
            | Self::NonceMismatch => "08P01",
        }
    }

    /// The DETAIL that PostgreSQL gives in the same case.
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Malformed(detail) => Some(detail),
            Self::Downgrade => Some(
                "The client supports SCRAM channel binding but thinks the server does not.  \
                 However, this server does support channel binding.",
            ),
            Self::NonceMismatch => Some("Nonce does not match."),
            _ => None,
        }
    }
}

impl From<BadAttribute> for ScramError {
    fn from(bad: BadAttribute) -> Self {
        Self::Malformed(bad.0)
    }
}
