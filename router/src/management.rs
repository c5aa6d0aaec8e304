//! Connections of the cluster's own role to a shard, for everything that is not a client's statement.
//!
//! Takes the cluster's configuration; gives a tokio-postgres client whose connection runs in a task
//! of the current runtime and ends with the client. Must never be used for a client's statement.

use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};

use crate::config::{ClusterConfig, ShardConfig};
use crate::dial::{DialError, Dialer, address};

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

/// Logs in to `database` on `shard` as the cluster's role, within `cluster.connect_timeout` for the
/// connection and as much again for the log-in.
pub async fn connect(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    shard: &ShardConfig,
    database: &str,
) -> Result<Client, ManagementError> {
    let stream = dialer.dial(shard).await?;
    // TLS, if any, is in the stream already.
    let mut config = tokio_postgres::Config::new();
    config
        .ssl_mode(SslMode::Disable)
        .user(&cluster.user)
        .dbname(database);
    config.application_name(APPLICATION_NAME);
    if let Some(password) = &cluster.password {
        config.password(&password.0);
    }
    let (address, user) = (address(shard), cluster.user.clone());
    let limit = cluster.connect_timeout;
    match tokio::time::timeout(limit, config.connect_raw(stream, NoTls)).await {
        Ok(Ok((client, connection))) => {
            // Its error is the next statement's error too.
            tokio::spawn(async move { connection.await.ok() });
            Ok(client)
        }
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
