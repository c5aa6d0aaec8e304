//! The state of a session as its server tells it, and what comes unasked.

use crate::reader::Reader;
use crate::startup::SECRET_LENGTH;
use crate::{ProtocolError, Strings};

/// A setting the server reports, at start and at each change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    pub name: &'a [u8],
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("ParameterStatus", body);
        let (name, value) = (reader.string()?, reader.string()?);
        reader.end().map(|()| Self { name, value })
    }
}

/// Where a session stands between statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TransactionStatus {
    /// In no transaction block.
    #[default]
    Idle,
    InTransaction,
    /// In a transaction block that takes nothing but its end.
    Failed,
}

impl TransactionStatus {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// The server takes the next query cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyForQuery {
    pub status: TransactionStatus,
}

impl ReadyForQuery {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("ReadyForQuery", body);
        let status = match reader.u8()? {
            b'I' => TransactionStatus::Idle,
            b'T' => TransactionStatus::InTransaction,
            b'E' => TransactionStatus::Failed,
            other => return Err(reader.invalid("transaction status", other.into())),
        };
        reader.end().map(|()| Self { status })
    }
}

/// What a cancel request must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    pub process_id: u32,
    /// 4 bytes in protocol 3.0, up to 256 from 3.2 on.
    pub secret: &'a [u8],
}

impl<'a> BackendKeyData<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("BackendKeyData", body);
        let process_id = reader.u32()?;
        let secret = reader.rest();
        if !SECRET_LENGTH.contains(&secret.len()) {
            let length = u32::try_from(secret.len()).unwrap_or(u32::MAX);
            return Err(reader.invalid("length of cancel key", length));
        }
        Ok(Self { process_id, secret })
    }
}

/// A NOTIFY that the session listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// Of the session that sent it.
    pub process_id: u32,
    pub channel: &'a [u8],
    pub payload: &'a [u8],
}

impl<'a> NotificationResponse<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("NotificationResponse", body);
        let process_id = reader.u32()?;
        let (channel, payload) = (reader.string()?, reader.string()?);
        reader.end().map(|()| Self {
            process_id,
            channel,
            payload,
        })
    }
}

/// The server does not know all that the startup packet asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegotiateProtocolVersion<'a> {
    /// The newest version the server takes, major in the upper 16 bits. (The manual says only the
    /// minor version; PostgreSQL sends, and libpq reads, both.)
    pub newest: u32,
    /// Protocol options (`_pq_.`...) it does not know.
    pub unrecognized: Strings<'a>,
}

impl<'a> NegotiateProtocolVersion<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("NegotiateProtocolVersion", body);
        let (newest, count) = (reader.u32()?, reader.u32()?);
        let unrecognized = reader.strings(count)?;
        reader.end().map(|()| Self {
            newest,
            unrecognized,
        })
    }
}
