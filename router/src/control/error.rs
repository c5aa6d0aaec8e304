//! What can go wrong in the control plane, and how a client is told.

use std::time::Duration;

use topology::{MapError, ShardId};

use super::moves::MoveError;
use crate::error::RouterError;
use crate::management::{ManagementError, reason};
use wire::sqlstate;

#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("database \"{0}\" does not exist")]
    NoDatabase(String),
    #[error("database \"{database}\" is not on shard {shard}")]
    NotOnShard { database: String, shard: ShardId },
    #[error(transparent)]
    Connect(#[from] ManagementError),
    #[error("shard {shard}: {}", reason(.source))]
    Statement {
        shard: ShardId,
        source: tokio_postgres::Error,
    },
    #[error(transparent)]
    Document(#[from] schema::DocumentError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error("shard {0} is not a shard of the cluster")]
    UnknownShard(ShardId),
    #[error("{0}")]
    Mismatch(Mismatch),
    #[error("not done within {} ms: {what}", .limit.as_millis())]
    Timeout { what: &'static str, limit: Duration },
    #[error("connections of a router that is cut off do not end on shard {0}")]
    Stays(ShardId),
    #[error("too many requests wait for the control thread")]
    Busy,
    #[error("the router is shutting down")]
    Stopped,
    /// What an admin wants cannot be done now.
    #[error("{0}")]
    Refused(String),
}

impl From<MoveError> for ControlError {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Control(error) => error,
            other => Self::Refused(other.to_string()),
        }
    }
}

/// The configuration and what the shards themselves say do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error(
        "the configuration calls {address} shard {configured}, but it is shard {found} of \
        cluster \"{cluster}\", whose home is shard {home}"
    )]
    WrongServer {
        address: String,
        configured: ShardId,
        found: i32,
        cluster: String,
        home: i32,
    },
    #[error(
        "in database \"{database}\" shard {shard} is at {stored}, but the configuration says \
        {configured}"
    )]
    OtherAddress {
        database: String,
        shard: ShardId,
        stored: String,
        configured: String,
    },
    #[error(
        "schema oskol of database \"{database}\" on shard {shard} is of version {found}, and this \
        router knows versions up to {known}"
    )]
    NewerSchema {
        database: String,
        shard: ShardId,
        found: i32,
        known: i32,
    },
    #[error(
        "schema oskol of database \"{database}\" is of version {found}, a router that works with it \
        lives, and this router would renew it to version {known}"
    )]
    OlderSchema {
        database: String,
        found: i32,
        known: i32,
    },
    #[error("schema oskol of database \"{database}\" on shard {shard} was made by someone else")]
    ForeignSchema { database: String, shard: ShardId },
}

impl Mismatch {
    fn hint(&self) -> String {
        match self {
            Self::WrongServer { .. } => {
                "Give every shard in the configuration its own address, and \
                cluster.name and cluster.home the values they had at first."
                    .into()
            }
            Self::OtherAddress { shard, .. } => format!(
                "Another router lives, and uses the old address. If shard {shard} has moved, stop that \
                 router first."
            ),
            Self::NewerSchema { .. } => "Run the newer version of the router.".into(),
            Self::OlderSchema { .. } => {
                "Stop all routers of the older version, and start this one then.".into()
            }
            Self::ForeignSchema { .. } => "Rename that schema: the name is the router's.".into(),
        }
    }
}

impl ControlError {
    pub(crate) fn statement(shard: ShardId) -> impl Fn(tokio_postgres::Error) -> Self {
        move |source| Self::Statement { shard, source }
    }

    /// Nothing was asked: the server is down, starting or ending.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect(error) if error.passes())
    }

    /// The server's own SQLSTATE, if a server said no.
    pub(crate) fn sqlstate(&self) -> Option<&str> {
        let source = match self {
            Self::Statement { source, .. }
            | Self::Connect(ManagementError::LogIn { source, .. }) => source,
            _ => return None,
        };
        source.code().map(tokio_postgres::error::SqlState::code)
    }
}

impl From<ControlError> for RouterError {
    fn from(error: ControlError) -> Self {
        let text = error.to_string();
        match &error {
            ControlError::NoDatabase(_) => Self::new(sqlstate::INVALID_CATALOG_NAME, text),
            ControlError::NotOnShard { .. } => Self::new(sqlstate::INVALID_CATALOG_NAME, text)
                .hint("Create it there, or create databases through the router only."),
            ControlError::Statement { shard, source } => statement(*shard, source),
            ControlError::Connect(_) => Self::new(sqlstate::CONNECTION_FAILURE, text),
            ControlError::Document(_) | ControlError::Map(_) => {
                Self::new(sqlstate::INTERNAL_ERROR, text)
            }
            ControlError::UnknownShard(_) => Self::new(sqlstate::CONFIG_FILE_ERROR, text),
            ControlError::Mismatch(mismatch) => {
                Self::new(sqlstate::CONFIG_FILE_ERROR, text).hint(mismatch.hint())
            }
            ControlError::Timeout { .. } => Self::new(sqlstate::QUERY_CANCELED, text),
            ControlError::Stays(_) => Self::new(sqlstate::CANNOT_CONNECT_NOW, text),
            ControlError::Refused(_) => Self::new("55000", text),
            ControlError::Busy => Self::new(sqlstate::TOO_MANY_CONNECTIONS, text),
            ControlError::Stopped => Self::new(sqlstate::ADMIN_SHUTDOWN, text),
        }
    }
}

/// A server's refusal keeps its SQLSTATE, text, DETAIL and HINT.
fn statement(shard: ShardId, source: &tokio_postgres::Error) -> RouterError {
    let Some(refusal) = source.as_db_error() else {
        return RouterError::new(
            sqlstate::CONNECTION_FAILURE,
            format!("shard {shard}: {source}"),
        );
    };
    RouterError {
        detail: refusal.detail().map(str::to_owned),
        hint: refusal.hint().map(str::to_owned),
        ..RouterError::new(known_sqlstate(refusal.code().code()), refusal.message())
    }
}

/// The codes that the control plane's own statements can meet; others are internal errors.
fn known_sqlstate(code: &str) -> &'static str {
    use wire::sqlstate as state;
    const KNOWN: [&str; 17] = [
        state::FEATURE_NOT_SUPPORTED,
        state::INVALID_PARAMETER_VALUE,
        state::NUMERIC_VALUE_OUT_OF_RANGE,
        state::SEQUENCE_GENERATOR_LIMIT_EXCEEDED,
        state::READ_ONLY_SQL_TRANSACTION,
        state::INVALID_CATALOG_NAME,
        state::INVALID_SCHEMA_NAME,
        state::INSUFFICIENT_PRIVILEGE,
        state::UNDEFINED_TABLE,
        state::UNDEFINED_OBJECT,
        state::WRONG_OBJECT_TYPE,
        state::TOO_MANY_CONNECTIONS,
        state::LOCK_NOT_AVAILABLE,
        state::QUERY_CANCELED,
        state::ADMIN_SHUTDOWN,
        state::CANNOT_CONNECT_NOW,
        state::DISK_FULL,
    ];
    KNOWN
        .into_iter()
        .find(|known| *known == code)
        .unwrap_or(state::INTERNAL_ERROR)
}
