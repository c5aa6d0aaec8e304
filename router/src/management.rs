//! Connections of the cluster's own role to a shard, for everything that is not a client's statement.
//!
//! Takes the cluster's configuration; gives a tokio-postgres client whose connection runs in a task
//! of the current runtime and ends with the client. Must never be used for a client's statement.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls, Notification};

use crate::config::{ClusterConfig, ShardConfig};
use crate::dial::{DialError, Dialer, address};
use crate::failover::{Attempt, is_starting_or_ending};
use crate::stream::Stream;

/// Shown in `pg_stat_activity`.
pub const APPLICATION_NAME: &str = "oskol";

/// The database for what concerns a whole server. Not `template1`: a connection there makes the
/// application's CREATE DATABASE fail.
pub const DATABASE: &str = "postgres";

#[derive(Debug, thiserror::Error)]
pub enum ManagementError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("cannot log in to {address} as {user}: {}", reason(.source))]
    LogIn {
        address: String,
        user: String,
        source: tokio_postgres::Error,
    },
    #[error("{address} is a standby, and no other host of the shard is a primary")]
    Standby { address: String },
    #[error("{address} did not log {user} in within {} ms", .limit.as_millis())]
    Timeout {
        address: String,
        user: String,
        limit: Duration,
    },
}

/// What the server said, where the crate's own text is no more than "db error".
pub fn reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => error.to_string(),
    }
}

/// What management statements count on, whatever the role or the server has by default: names are
/// printed and found alike, a decision is durable, nothing waits for a lock for ever, or for a compiler (the planner takes
/// views such as pg_locks for large). A deadlock with a client's statement (catalog functions lock the tables that they tell
/// of) ends ours, which is tried again, and never the client's: PostgreSQL ends whoever looks first.
const SETTINGS: &str = "-c search_path=pg_catalog,pg_temp -c synchronous_commit=on \
    -c default_transaction_read_only=off -c default_transaction_isolation=read\\ committed \
    -c client_min_messages=warning -c jit=off -c deadlock_timeout=100ms -c statement_timeout=60s -c lock_timeout=5s \
    -c idle_in_transaction_session_timeout=60s";

/// Notifications waiting to be read; what comes on top is dropped, as they only say "look again".
const NOTIFICATIONS: usize = 64;

/// Logs in to `database` on `shard` as the cluster's role, within `cluster.connect_timeout` for the
/// connection and as much again for the log-in.
pub async fn connect(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    shard: &ShardConfig,
    database: &str,
) -> Result<Client, ManagementError> {
    let (client, connection) = log_in(dialer, cluster, shard, database).await?;
    // Its error is the next statement's error too.
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

/// As [`connect`], for LISTEN: the receiver ends with the connection.
pub async fn connect_listening(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    shard: &ShardConfig,
    database: &str,
) -> Result<(Client, mpsc::Receiver<Notification>), ManagementError> {
    let (client, mut connection) = log_in(dialer, cluster, shard, database).await?;
    let (sender, receiver) = mpsc::channel(NOTIFICATIONS);
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                let _full = sender.try_send(notification);
            }
        }
    });
    Ok((client, receiver))
}

/// As [`connect`], to one host whatever its role is.
pub async fn connect_to_host(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    host: &ShardConfig,
) -> Result<Client, ManagementError> {
    let (client, connection) = log_in_at(dialer, cluster, host, DATABASE).await?;
    tokio::spawn(async move { connection.await.ok() });
    Ok(client)
}

/// At the primary among the shard's hosts, waited for as long as `cluster.failover_timeout` says.
async fn log_in(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    shard: &ShardConfig,
    database: &str,
) -> Result<(Client, Connection<Stream, NoTlsStream>), ManagementError> {
    let several = shard.each_host().len() > 1;
    let attempt = |host| attempt(dialer, cluster, host, database, several);
    let primaries = dialer.primaries();
    primaries
        .find(shard, cluster.failover_timeout, attempt)
        .await
}

async fn attempt(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    host: ShardConfig,
    database: &str,
    several: bool,
) -> Attempt<(Client, Connection<Stream, NoTlsStream>), ManagementError> {
    match log_in_at(dialer, cluster, &host, database).await {
        Ok((_, connection)) if several && connection.parameter("in_hot_standby") == Some("on") => {
            Attempt::Elsewhere(ManagementError::Standby {
                address: address(&host),
            })
        }
        Ok(found) => Attempt::Primary(found),
        Err(error) if error.passes() => Attempt::Elsewhere(error),
        Err(error) => Attempt::Final(error),
    }
}

impl ManagementError {
    /// Another host, or the same one a little later, may answer otherwise.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Dial(_) | Self::Timeout { .. } | Self::Standby { .. } => true,
            Self::LogIn { source, .. } => source
                .code()
                .is_none_or(|code| is_starting_or_ending(code.code())),
        }
    }
}

async fn log_in_at(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    shard: &ShardConfig,
    database: &str,
) -> Result<(Client, Connection<Stream, NoTlsStream>), ManagementError> {
    let stream = dialer.dial(shard).await?;
    // TLS, if any, is in the stream already.
    let mut config = tokio_postgres::Config::new();
    config
        .ssl_mode(SslMode::Disable)
        .user(&cluster.user)
        .dbname(database);
    config.application_name(APPLICATION_NAME).options(SETTINGS);
    if let Some(password) = &cluster.password {
        config.password(&password.0);
    }
    let (address, user) = (address(shard), cluster.user.clone());
    let limit = cluster.connect_timeout;
    match tokio::time::timeout(limit, config.connect_raw(stream, NoTls)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(source)) => Err(ManagementError::LogIn {
            address,
            user,
            source,
        }),
        Err(_) => Err(ManagementError::Timeout {
            address,
            user,
            limit,
        }),
    }
}
