//! How a server is: all that an operator wants to see of it at a glance, read in one statement.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

/// Answers with one JSON document, whose fields are [`Status`]'s. All figures are of the whole server, not of one database.
const QUESTION: &str = include_str!("status.sql");

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub role: Role,
    /// As in `server_version_num`: 150014 is 15.14.
    pub version: i32,
    /// Text, because JavaScript has no integers of that size.
    pub system_identifier: String,
    /// Grows by one at each promotion.
    pub timeline: i32,
    pub connections: Connections,
    pub prepared: Prepared,
    /// Of a standby.
    pub replication: Option<Replication>,
    /// Of those that are connected to this server.
    pub standbys: Vec<Standby>,
    pub slots: Vec<Slot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Primary,
    Standby,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Of clients.
    pub used: i64,
    /// `max_connections`.
    pub max: i32,
}

/// Prepared transactions, which are in doubt when they grow old.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    pub count: i64,
    pub oldest_seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Replication {
    /// The primary is connected and sends.
    pub streaming: bool,
    /// Received and not yet replayed.
    pub replay_lag_bytes: i64,
    /// Age of the last replayed transaction; 0 where all that the primary sent is replayed. None: nothing replayed yet.
    pub replay_lag_seconds: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standby {
    pub name: String,
    /// `streaming`, `catchup`, ... of `pg_stat_replication`.
    pub state: String,
    /// `async`, `sync`, `quorum`, `potential`.
    pub sync_state: String,
    /// Written here and not yet replayed there; none: the standby has not told.
    pub lag_bytes: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub name: String,
    /// `physical` or `logical`.
    pub kind: String,
    pub active: bool,
    /// WAL kept for it; none: it has reserved nothing yet, or has lost what it needs.
    pub retained_bytes: Option<i64>,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub wal_status: Option<String>,
}

/// The file system of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// For ordinary users.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl Status {
    pub fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// Asks over an open connection of a superuser. The error is what to tell a person.
    pub(crate) async fn ask(client: &Client) -> Result<Status, String> {
        let row = client.query_one(QUESTION, &[]).await.map_err(told)?;
        let text: String = row.try_get(0).map_err(told)?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}

/// The server's own words, where it said something.
pub(crate) fn told(error: tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{}: {}", said.severity(), said.message()),
        None => error.to_string(),
    }
}

impl Disk {
    /// Of the file system that holds `path`; none where it cannot be asked.
    pub(crate) fn of(path: &Path) -> Option<Disk> {
        let found = statvfs(path).ok()?;
        let block = found.fragment_size();
        Some(Disk {
            free_bytes: found.blocks_available().saturating_mul(block),
            total_bytes: found.blocks().saturating_mul(block),
        })
    }
}
