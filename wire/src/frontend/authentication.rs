//! The three messages behind tag `p`. Which one a body is, the authentication under way tells.

use crate::ProtocolError;
use crate::reader::Reader;

/// A password, in clear or hashed by MD5.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password<'a> {
    pub password: &'a [u8],
}

/// Passwords must not reach logs.
impl std::fmt::Debug for Password<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Password(..)")
    }
}

impl<'a> Password<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("Password", body);
        let password = reader.string()?;
        reader.end().map(|()| Self { password })
    }
}

/// The mechanism chosen, and its first data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    pub mechanism: &'a [u8],
    /// `None`: the client waits for a challenge first.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitialResponse<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("SASLInitialResponse", body);
        let (mechanism, data) = (reader.string()?, reader.value()?);
        reader.end().map(|()| Self { mechanism, data })
    }
}

/// Data of the mechanism under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslResponse<'a> {
    pub data: &'a [u8],
}

impl<'a> SaslResponse<'a> {
    /// Any body is one.
    pub fn parse(body: &'a [u8]) -> Self {
        Self { data: body }
    }
}
