//! What ends a statement, or a session, early.

use bytes::Bytes;
use std::io;
use topology::ShardId;

use crate::backend::connect::ConnectError;
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

/// SQLSTATE 08006: the connection to a shard broke while it was needed.
pub fn shard_lost(shard: ShardId, why: &str) -> RouterError {
    RouterError::new("08006", format!("the connection to shard {shard} was lost"))
        .detail(why.to_owned())
        .hint("An open transaction is rolled back. If a write was being committed, read before you repeat it.")
}
