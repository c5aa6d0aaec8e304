//! What ends a statement, or a session, early.

use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use topology::ShardId;
use wire::backend::{ErrorResponse, field};

use crate::backend::connect::{ConnectError, refusal_passes};
use crate::backend::{QueryError, ServerError};
use crate::error::RouterError;

/// Why a statement did not run to its end.
#[derive(Debug)]
pub enum Fault {
    /// The client is gone, or broke the protocol beyond repair after being told so.
    ClientGone(io::Error),
    /// The client broke the protocol: FATAL, then close.
    Fatal(RouterError),
    /// The router says no.
    Router(Box<RouterError>),
    /// A shard's ErrorResponse, to be passed on byte for byte.
    Shard(Bytes),
    /// As `Shard`, and it has been sent to the client already.
    AlreadyTold,
}

impl Fault {
    /// No connection to a shard could be had: it is down, starting or ending, or kept out.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Router(error) => error.sqlstate.starts_with("08") || error.sqlstate == "57P03",
            Self::Shard(message) => refusal_passes(message),
            _ => false,
        }
    }
}

impl From<RouterError> for Fault {
    fn from(error: RouterError) -> Self {
        Self::Router(Box::new(error))
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::ClientGone(error)
    }
}

impl From<ServerError> for Fault {
    fn from(error: ServerError) -> Self {
        let shard = match &error {
            ServerError::Lost(shard, _) | ServerError::Protocol(shard, _) => *shard,
        };
        shard_lost(shard, &error.to_string()).into()
    }
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Server(error) => error.into(),
            QueryError::Refused(bytes) => Self::Shard(bytes),
        }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Router(error) => error.into(),
            ConnectError::Refused(bytes) => Self::Shard(bytes),
        }
    }
}

impl From<wire::ProtocolError> for Fault {
    fn from(error: wire::ProtocolError) -> Self {
        let said = RouterError::new(error.sqlstate(), error.to_string());
        if error.is_fatal() {
            Self::Fatal(said)
        } else {
            said.into()
        }
    }
}

/// SQLSTATE of [`shard_lost`].
pub const LOST: &str = "08006";

/// SQLSTATE 08006: the connection to a shard broke while it was needed.
pub fn shard_lost(shard: ShardId, why: &str) -> RouterError {
    RouterError::new(LOST, format!("the connection to shard {shard} was lost"))
        .detail(why.to_owned())
        .hint("The transaction is rolled back; run it again.")
}

/// SQLSTATE 40003: a write outside a transaction block was sent, and no answer came.
pub fn completion_unknown(shard: ShardId) -> RouterError {
    let text = format!("the connection to shard {shard} was lost before it confirmed a write");
    RouterError::new("40003", text)
        .detail("It is not known whether the statement has taken effect.")
        .hint("Read the rows again before you repeat it.")
}

/// A shard that ends a connection says FATAL; for the client, whose session goes on, it is an ERROR.
pub fn as_error(message: &[u8]) -> BytesMut {
    let mut out = BytesMut::with_capacity(message.len());
    out.extend_from_slice(b"E\0\0\0\0");
    let parsed = ErrorResponse::parse(message.get(5..).unwrap_or_default());
    for (code, text) in parsed.iter().flat_map(ErrorResponse::fields) {
        let severity = matches!(code, field::SEVERITY | field::SEVERITY_LOCALIZED);
        out.put_u8(code);
        out.put_slice(if severity { b"ERROR" } else { text });
        out.put_u8(0);
    }
    out.put_u8(0);
    // No longer than the message that it was made of, whose length fits.
    let length = u32::try_from(out.len() - 1).unwrap_or(u32::MAX);
    out[1..5].copy_from_slice(&length.to_be_bytes());
    out
}
