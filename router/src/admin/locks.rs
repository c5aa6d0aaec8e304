//! Who waits for a lock on any shard, as SHOW LOCKS is told of it.

use std::time::Duration;

use futures_util::future::BoxFuture;
use topology::ShardId;

use crate::error::RouterError;

/// A backend that waits for a lock, and one that it waits for.
#[derive(Debug, Clone)]
pub struct LockWait {
    pub shard: ShardId,
    pub database: String,
    /// Mode and object.
    pub lock: String,
    pub waited: Duration,
    pub waiter: LockParty,
    pub blocker: LockParty,
}

/// A backend, or a prepared transaction.
#[derive(Debug, Clone)]
pub struct LockParty {
    /// `pg_stat_activity.pid`; none: prepared.
    pub process_id: Option<u32>,
    /// Of a prepared transaction.
    pub gid: Option<String>,
    pub user: Option<String>,
    /// As in `pg_stat_activity`.
    pub state: Option<String>,
    /// Of the waiter's statement, of the blocker's transaction.
    pub age: Option<Duration>,
    /// Its last statement, as it was sent.
    pub statement: Option<String>,
}

/// Lists the waits of all shards.
pub trait LockWaits: Send + Sync {
    /// Of those that answer.
    fn lock_waits(&self) -> BoxFuture<'_, Result<Vec<LockWait>, RouterError>>;
}
