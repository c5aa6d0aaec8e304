//! Who waits for whom on a shard, as its lock table tells.
//!
//! Takes a connection; gives one [`Wait`] for each pair of a waiting and a blocking backend. Knows backends of one
//! server only, and nothing of sessions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use topology::ShardId;

use super::CLUSTER_DATABASE;
use super::connections::Connections;
use super::error::ControlError;
use crate::admin::{LockParty, LockWait};

/// A server that takes longer to tell is left out of one look.
const LIMIT: Duration = Duration::from_secs(1);

/// A prepared transaction blocks as process 0; its locks are listed under a virtual transaction of its own.
const WAITS: &str = "
SELECT w.pid, b.pid, p.gid, (extract(epoch FROM w.waitstart) * 1000000)::int8,
    coalesce(extract(epoch FROM clock_timestamp() - w.waitstart), 0)::float8,
    w.mode || ' on ' || CASE w.locktype
        WHEN 'relation' THEN format('relation %s of database %s', w.relation, w.database)
        WHEN 'extend' THEN format('extension of relation %s of database %s', w.relation, w.database)
        WHEN 'page' THEN format('page %s of relation %s of database %s', w.page, w.relation, w.database)
        WHEN 'tuple' THEN format('tuple (%s,%s) of relation %s of database %s', w.page, w.tuple, w.relation, w.database)
        WHEN 'transactionid' THEN format('transaction %s', w.transactionid)
        WHEN 'virtualxid' THEN format('virtual transaction %s', w.virtualxid)
        WHEN 'object' THEN format('object %s of class %s of database %s', w.objid, w.classid, w.database)
        WHEN 'advisory' THEN format('advisory lock [%s,%s,%s,%s]', w.database, w.classid, w.objid, w.objsubid)
        ELSE w.locktype END,
    a.datname::text, a.usename::text, a.query,
    extract(epoch FROM clock_timestamp() - a.query_start)::float8,
    h.usename::text, h.state, h.query,
    extract(epoch FROM clock_timestamp() - coalesce(h.xact_start, p.prepared))::float8
FROM (SELECT * FROM pg_locks WHERE NOT granted ORDER BY waitstart LIMIT 500) w
JOIN pg_stat_activity a ON a.pid = w.pid
CROSS JOIN LATERAL (SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid) b
LEFT JOIN pg_stat_activity h ON h.pid = b.pid
LEFT JOIN LATERAL (
    SELECT x.gid, x.prepared FROM pg_locks l JOIN pg_prepared_xacts x
        ON l.virtualtransaction = '-1/' || x.transaction::text
    WHERE b.pid = 0 AND l.pid IS NULL AND l.granted AND l.locktype = w.locktype
    AND (l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid, l.classid, l.objid, l.objsubid)
        IS NOT DISTINCT FROM (w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid, w.classid,
            w.objid, w.objsubid)) p ON true
WHERE b.pid <> 0 OR p.gid IS NOT NULL";

/// Who holds up a waiting backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Blocker {
    /// `pg_stat_activity.pid`
    Backend(u32),
    /// A prepared transaction, by its name.
    Prepared(String),
}

/// A backend that waits for a lock, and one that it waits for.
#[derive(Debug, Clone)]
pub(crate) struct Wait {
    pub(crate) shard: ShardId,
    pub(crate) waiter: u32,
    pub(crate) blocker: Blocker,
    /// When the wait began, in microseconds of the server's clock: the same as long as it is the same wait.
    pub(crate) began: Option<i64>,
    pub(crate) waited: Duration,
    /// Mode and object, in the words of PostgreSQL's own deadlock reports.
    pub(crate) lock: String,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) statement: String,
    pub(crate) statement_age: Duration,
    pub(crate) blocker_user: Option<String>,
    pub(crate) blocker_state: Option<String>,
    pub(crate) blocker_statement: Option<String>,
    /// Of the blocking transaction.
    pub(crate) blocker_age: Option<Duration>,
}

impl Wait {
    pub(crate) fn shown(self) -> LockWait {
        let (process_id, gid) = match self.blocker {
            Blocker::Backend(process) => (Some(process), None),
            Blocker::Prepared(gid) => (None, Some(gid)),
        };
        let waiter = LockParty {
            process_id: Some(self.waiter),
            gid: None,
            user: Some(self.user),
            state: None,
            age: Some(self.statement_age),
            statement: Some(self.statement),
        };
        let blocker = LockParty {
            process_id,
            gid,
            user: self.blocker_user,
            state: self.blocker_state,
            age: self.blocker_age,
            statement: self.blocker_statement,
        };
        LockWait {
            shard: self.shard,
            database: self.database,
            lock: self.lock,
            waited: self.waited,
            waiter,
            blocker,
        }
    }
}

/// The waits on `shards`; one that does not answer has none, and is named with its error.
pub(crate) async fn waits(
    connections: &Arc<Connections>,
    shards: impl IntoIterator<Item = ShardId>,
) -> (Vec<Wait>, Vec<(ShardId, ControlError)>) {
    let asked = shards.into_iter().map(async |shard| {
        let waits = tokio::time::timeout(LIMIT, waits_on(connections, shard)).await;
        let late = |_| {
            Err(ControlError::Timeout {
                what: "a list of locks",
                limit: LIMIT,
            })
        };
        (shard, waits.unwrap_or_else(late))
    });
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for (shard, waits) in join_all(asked).await {
        match waits {
            Ok(waits) => all.extend(waits),
            Err(error) => failed.push((shard, error)),
        }
    }
    (all, failed)
}

async fn waits_on(
    connections: &Arc<Connections>,
    shard: ShardId,
) -> Result<Vec<Wait>, ControlError> {
    let connection = connections.get(shard, CLUSTER_DATABASE).await?;
    let rows = connection.query(WAITS, &[]).await;
    let rows = rows.map_err(connection.failed())?;
    Ok(rows.iter().map(|row| wait(shard, row)).collect())
}

fn wait(shard: ShardId, row: &tokio_postgres::Row) -> Wait {
    let text = |column: usize| row.get::<_, Option<String>>(column);
    // The server's clock may be set back.
    let age = |seconds: f64| Duration::from_secs_f64(seconds.max(0.0));
    let process = |column: usize| row.get::<_, i32>(column).cast_unsigned();
    Wait {
        shard,
        waiter: process(0),
        blocker: text(2).map_or_else(|| Blocker::Backend(process(1)), Blocker::Prepared),
        began: row.get(3),
        waited: age(row.get(4)),
        lock: text(5).unwrap_or_default(),
        database: text(6).unwrap_or_default(),
        user: text(7).unwrap_or_default(),
        statement: text(8).unwrap_or_default(),
        statement_age: age(row.get::<_, Option<f64>>(9).unwrap_or_default()),
        blocker_user: text(10),
        blocker_state: text(11),
        blocker_statement: text(12),
        blocker_age: row.get::<_, Option<f64>>(13).map(age),
    }
}
