//! Finishes global transactions whose router has left them: killed, or cut off from a shard.
//!
//! Safe at any time, by anyone, without clocks: the outcome is what `oskol.decision` on the lead says,
//! and a recovery that finds none writes 'abort' there under the same primary key, so a late lead
//! cannot commit any more. Ages only tell whether a transaction is worth looking at.

mod listed;

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use topology::ShardId;

use super::CLUSTER_DATABASE;
use super::connections::Connections;
use super::error::ControlError;
use super::exclusion::{forget_the_dead, lives};
use super::gid::LiveTransactions;
use super::outcome::{self, Outcome};
use crate::admin::Board;
use crate::metrics::Metrics;
use listed::{InDoubt, list};

/// A transaction prepared for so long is taken up even if its router lives, in seconds.
const STALE: f64 = 60.0;
/// Longest try to finish one transaction; a shard that hangs does not keep the others in doubt.
const FINISH_LIMIT: Duration = Duration::from_secs(5);
/// Transactions being finished at a time.
const AT_ONCE: usize = 4;
/// In seconds: longer in doubt is worth an operator's look.
const ALERT_AFTER: f64 = 60.0;
const ALERT_EVERY: Duration = Duration::from_secs(60);
/// Until then no decision is removed: one that is not there was not made.
const SETTLE_WITHIN: Duration = Duration::from_secs(240);
/// Committed decisions stay this long after they were needed last: a router that lost its connection
/// to the lead asks for the outcome within a fraction of it.
const KEEP_COMMITTED: &str = "interval '5 minutes'";
/// An 'abort' keeps out a late lead; it goes only when no transaction of its time is left, too.
const KEEP_ABORTED: &str = "interval '1 day'";
/// Decisions removed in one statement.
const SWEEP: i64 = 10_000;

/// What recovery works with.
pub(crate) struct Recovery {
    pub(crate) connections: Arc<Connections>,
    pub(crate) cluster: String,
    pub(crate) router: u32,
    pub(crate) live: Arc<LiveTransactions>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) board: Arc<Board>,
    /// When the log was last told of transactions that stay in doubt.
    pub(crate) alerted: Mutex<Option<Instant>>,
}

impl Recovery {
    /// One look at all shards. Gives the databases in which something was finished.
    pub(crate) async fn run(&self) -> BTreeSet<String> {
        let listed = list(&self.connections, &self.cluster).await;
        let living = self.living_routers().await;
        let is_left = |found: &&InDoubt| self.is_left(found, living.as_ref());
        let left: Vec<&InDoubt> = listed.transactions.values().filter(is_left).collect();
        self.show(&left);
        let mut outcomes = Vec::with_capacity(left.len());
        for some in left.chunks(AT_ONCE) {
            let mut tries = Vec::with_capacity(some.len());
            for transaction in some {
                tries.push(self.finish_in_time(transaction));
            }
            outcomes.extend(join_all(tries).await);
        }
        let (mut finished, mut remaining) = (BTreeSet::new(), Vec::new());
        for (transaction, outcome) in left.into_iter().zip(outcomes) {
            let gid = &transaction.gid;
            match outcome {
                Ok(outcome) => {
                    self.count(outcome);
                    self.board.settle_unknown(gid, outcome.name());
                    finished.insert(transaction.database.clone());
                    tracing::info!(%gid, ?outcome, "finished a transaction in doubt");
                }
                Err(error) => {
                    tracing::debug!(%gid, %error, "a transaction in doubt cannot be finished yet");
                    remaining.push((transaction, error));
                }
            }
        }
        self.show(&remaining.iter().map(|(left, _)| *left).collect::<Vec<_>>());
        self.alert(&remaining);
        self.learn_unknown().await;
        finished
    }

    fn show(&self, left: &[&InDoubt]) {
        let oldest = left.iter().map(|left| left.age).fold(0.0, f64::max);
        let control = &self.metrics.control;
        control.in_doubt.set(left.len() as u64);
        control.in_doubt_oldest_seconds.set(oldest as u64);
        self.board
            .set_in_doubt(left.iter().map(|left| left.shown()).collect());
    }

    /// Something is wrong that does not mend itself: rows stay locked.
    fn alert(&self, remaining: &[(&InDoubt, ControlError)]) {
        let oldest = remaining
            .iter()
            .max_by(|one, other| one.0.age.total_cmp(&other.0.age));
        let Some((oldest, error)) = oldest.filter(|(left, _)| left.age > ALERT_AFTER) else {
            return;
        };
        let mut last = self.alerted.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= ALERT_EVERY) {
            *last = Some(Instant::now());
            tracing::error!(
                count = remaining.len(),
                oldest_seconds = oldest.age as u64,
                gid = %oldest.gid,
                %error,
                "transactions are in doubt for more than a minute, and keep their locks"
            );
        }
    }

    /// What became of those whose clients could not be told.
    async fn learn_unknown(&self) {
        for unknown in self.board.unknown() {
            let Ok(id) = unknown.gid.parse() else {
                continue;
            };
            let too_late = unknown.since.elapsed() > SETTLE_WITHIN;
            let asked = async {
                if unknown.outcome.is_some() {
                    Ok(None)
                } else if too_late {
                    outcome::decided(&self.connections, &unknown.database, &id).await
                } else {
                    let settled = outcome::settle(&self.connections, &unknown.database, &id);
                    settled.await.map(Some)
                }
            };
            match tokio::time::timeout(FINISH_LIMIT, asked).await {
                Ok(Ok(Some(outcome))) => self.board.settle_unknown(&unknown.gid, outcome.name()),
                Ok(Ok(None)) if unknown.outcome.is_none() => {
                    self.board.settle_unknown(&unknown.gid, "forgotten");
                }
                _ => {}
            }
        }
    }

    /// Removes routers that nobody will hear of any more from `databases`.
    pub(crate) async fn forget_routers(&self, databases: &[String]) {
        for database in databases {
            if let Err(error) = forget_the_dead(&self.connections, database).await {
                tracing::debug!(database, %error, "routers that are no more stay listed");
            }
        }
    }

    /// Removes decisions that nobody needs any more from `databases`; nothing unless every shard tells
    /// what it has prepared.
    pub(crate) async fn sweep(&self, databases: &[String]) {
        // The lists are read before the decisions: whatever has a decision was prepared before it.
        let listed = list(&self.connections, &self.cluster).await;
        if !listed.complete {
            return;
        }
        let gids: Vec<&str> = listed
            .transactions
            .values()
            .map(|found| &*found.gid)
            .collect();
        for database in databases {
            for shard in self.connections.shards().iter() {
                if let Err(error) = self.sweep_shard(shard.id, database, &gids).await {
                    tracing::debug!(shard = %shard.id, %error, "old decisions stay");
                }
            }
        }
    }

    async fn sweep_shard(
        &self,
        shard: ShardId,
        database: &str,
        listed: &[&str],
    ) -> Result<(), ControlError> {
        let connection = self.connections.get(shard, database).await?;
        let sql = format!(
            "DELETE FROM oskol.decision WHERE gid IN (
                SELECT d.gid FROM oskol.decision d WHERE d.gid <> ALL ($1)
                AND CASE d.outcome WHEN 'commit' THEN d.decided < clock_timestamp() - {KEEP_COMMITTED}
                ELSE d.decided < clock_timestamp() - {KEEP_ABORTED} AND NOT EXISTS (
                    SELECT FROM pg_stat_activity a WHERE a.xact_start <= d.decided) END
                LIMIT {SWEEP})"
        );
        connection
            .execute(&sql, &[&listed])
            .await
            .map_err(connection.failed())?;
        Ok(())
    }

    /// Routers that give signs of life; `None` when the home shard does not tell.
    async fn living_routers(&self) -> Option<HashSet<u32>> {
        let home = self.connections.get_home(CLUSTER_DATABASE).await.ok()?;
        let sql = format!("SELECT id FROM oskol.routers r WHERE {}", lives());
        let rows = home.query(&sql, &[]).await.ok()?;
        // Numbers come from a sequence of 32 bits.
        Some(rows.iter().map(|row| row.get::<_, i64>(0) as u32).collect())
    }

    /// Nobody is busy with it any more, as far as one can tell.
    fn is_left(&self, found: &InDoubt, living: Option<&HashSet<u32>>) -> bool {
        if found.id.router == self.router {
            // It was made live before it was listed, so it has ended or was given up since.
            return !self.live.contains(&found.gid);
        }
        let is_silent = living.is_some_and(|living| !living.contains(&found.id.router));
        is_silent || found.age > STALE
    }

    async fn finish_in_time(&self, left: &InDoubt) -> Result<Outcome, ControlError> {
        let shards: Vec<ShardId> = left.shards.iter().copied().collect();
        let finished = outcome::finish(&self.connections, &left.database, &left.id, &shards);
        let late = |_| {
            Err(ControlError::Timeout {
                what: "the end of a transaction in doubt",
                limit: FINISH_LIMIT,
            })
        };
        tokio::time::timeout(FINISH_LIMIT, finished)
            .await
            .unwrap_or_else(late)
    }

    fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Committed => self.metrics.control.recovered_commits.increment(),
            Outcome::Aborted => self.metrics.control.recovered_aborts.increment(),
        }
    }
}

/// Finishes what is prepared in `database` of `shard`, before there is a [`Recovery`]. Only where no living router can have made it.
pub(crate) async fn settle_left(
    connections: &Arc<Connections>,
    cluster: &str,
    database: &str,
    shard: ShardId,
) -> Result<(), ControlError> {
    let listed = list(connections, cluster).await;
    let is_left = |left: &InDoubt| left.database == database && left.shards.contains(&shard);
    for left in listed.transactions.into_values().filter(is_left) {
        let shards: Vec<ShardId> = left.shards.iter().copied().collect();
        let outcome = outcome::finish(connections, database, &left.id, &shards).await?;
        let gid = &left.gid;
        tracing::info!(%gid, ?outcome, "finished a transaction in doubt");
    }
    Ok(())
}
