//! What can be wrong with bytes that claim to be a message.

use crate::sqlstate;

/// A message that breaks the protocol. Texts are PostgreSQL's own where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The length word counts itself, so it is at least 4.
    #[error(
        "invalid message length {declared} in message of type 0x{tag:02x}: limit is {limit} bytes"
    )]
    MessageLength {
        tag: u8,
        declared: u32,
        limit: usize,
    },
    #[error("invalid length of startup packet: {declared} bytes, limit is {limit}")]
    StartupLength { declared: u32, limit: usize },
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    Version { major: u16, minor: u16 },
    #[error("insufficient data left in {message} message")]
    Truncated { message: &'static str },
    #[error("invalid message format: {extra} bytes too many in {message} message")]
    Trailing { message: &'static str, extra: usize },
    #[error("invalid string in {message} message: no terminating zero byte")]
    Unterminated { message: &'static str },
    #[error("invalid {what} {value} in {message} message")]
    Value {
        message: &'static str,
        what: &'static str,
        value: u32,
    },
    #[error("bind message has {formats} parameter formats but {parameters} parameters")]
    FormatCount { formats: u16, parameters: u16 },
    /// A message to be written has more entries than its 16-bit count can say.
    #[error("too many entries for a {message} message: limit is 65535")]
    TooMany { message: &'static str },
}

impl ProtocolError {
    /// The SQLSTATE PostgreSQL reports for the same fault: 08P01, but 0A000 for an unknown version.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Version { .. } => sqlstate::FEATURE_NOT_SUPPORTED,
            Self::MessageLength { .. }
            | Self::StartupLength { .. }
            | Self::Truncated { .. }
            | Self::Trailing { .. }
            | Self::Unterminated { .. }
            | Self::Value { .. }
            | Self::FormatCount { .. }
            | Self::TooMany { .. } => sqlstate::PROTOCOL_VIOLATION,
        }
    }

    /// Whether the next message can no longer be found, so that the connection must end. A bad body
    /// within a good length is an ERROR to PostgreSQL and the connection lives on.
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::MessageLength { .. } | Self::StartupLength { .. } | Self::Version { .. }
        )
    }
}
