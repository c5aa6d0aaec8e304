//! Finishes global transactions whose router has left them: killed, or cut off from a shard.
//!
//! Safe at any time, by anyone, without clocks: the outcome is what `oskol.decision` on the lead says,
//! and a recovery that finds none writes 'abort' there under the same primary key, so a late lead
//! cannot commit any more. Ages only tell whether a transaction is worth looking at.

mod listed;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use topology::ShardId;

use super::CLUSTER_DATABASE;
use super::connections::{Connections, Lent};
use super::error::ControlError;
use super::gid::{GlobalId, LiveTransactions};
use super::watch::SILENCE;
use crate::admin::Board;
use crate::metrics::Metrics;
use listed::{InDoubt, list};

/// A transaction prepared for so long is taken up even if its router lives, in seconds.
const STALE: f64 = 60.0;
/// Committed decisions stay this long after they were needed last: a router that lost its connection
/// to the lead asks for the outcome within a fraction of it.
const KEEP_COMMITTED: &str = "interval '5 minutes'";
/// An 'abort' keeps out a late lead; it goes only when no transaction of its time is left, too.
const KEEP_ABORTED: &str = "interval '1 day'";
/// Decisions removed in one statement.
const SWEEP: i64 = 10_000;
const UNDEFINED_OBJECT: &str = "42704";

/// How a global transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    Aborted,
}

/// What recovery works with.
pub(crate) struct Recovery {
    pub(crate) connections: Arc<Connections>,
    pub(crate) cluster: String,
    pub(crate) router: u32,
    pub(crate) live: Arc<LiveTransactions>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) board: Arc<Board>,
}

impl Recovery {
    /// One look at all shards. Gives the databases in which something was finished.
    pub(crate) async fn run(&self) -> BTreeSet<String> {
        let listed = list(&self.connections, &self.cluster).await;
        let living = self.living_routers().await;
        let is_left = |found: &&InDoubt| self.is_left(found, living.as_ref());
        let left: Vec<&InDoubt> = listed.transactions.values().filter(is_left).collect();
        self.metrics.control.in_doubt.set(left.len() as u64);
        let (mut finished, mut remaining) = (BTreeSet::new(), Vec::new());
        for transaction in left {
            let gid = &transaction.gid;
            match self.finish(transaction).await {
                Ok(outcome) => {
                    self.count(outcome);
                    finished.insert(transaction.database.clone());
                    tracing::info!(%gid, ?outcome, "finished a transaction in doubt");
                }
                Err(error) => {
                    remaining.push(transaction.shown());
                    tracing::warn!(%gid, %error, "a transaction in doubt cannot be finished yet");
                }
            }
        }
        self.metrics.control.in_doubt.set(remaining.len() as u64);
        self.board.set_in_doubt(remaining);
        finished
    }

    /// The outcome of a transaction, which is an abort from now on if it was open.
    pub(crate) async fn settle(
        &self,
        database: &str,
        id: &GlobalId,
    ) -> Result<Outcome, ControlError> {
        let lead = self.connections.get(id.lead, database).await?;
        let row = lead
            .query_one("SELECT oskol.settle($1)", &[&id.to_string()])
            .await;
        Ok(match row.map_err(lead.failed())?.get(0) {
            "commit" => Outcome::Committed,
            _ => Outcome::Aborted,
        })
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
            for shard in self.connections.shards() {
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
        let sql =
            format!("SELECT id FROM oskol.routers WHERE heartbeat > clock_timestamp() - {SILENCE}");
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

    async fn finish(&self, transaction: &InDoubt) -> Result<Outcome, ControlError> {
        let outcome = self.settle(&transaction.database, &transaction.id).await?;
        for shard in &transaction.shards {
            let connection = self.connections.get(*shard, &transaction.database).await?;
            end_branch(&connection, &transaction.gid, outcome).await?;
        }
        Ok(outcome)
    }

    fn count(&self, outcome: Outcome) {
        match outcome {
            Outcome::Committed => self.metrics.control.recovered_commits.increment(),
            Outcome::Aborted => self.metrics.control.recovered_aborts.increment(),
        }
    }
}

/// Looks again, as someone else may have been quicker, and then does what was decided.
async fn end_branch(connection: &Lent, gid: &str, outcome: Outcome) -> Result<(), ControlError> {
    let failed = connection.failed();
    let listed = "SELECT count(*) FROM pg_prepared_xacts
        WHERE gid = $1 AND database = current_database()";
    if connection
        .query_one(listed, &[&gid])
        .await
        .map_err(&failed)?
        .get::<_, i64>(0)
        == 0
    {
        return Ok(());
    }
    let verb = match outcome {
        Outcome::Committed => "COMMIT",
        Outcome::Aborted => "ROLLBACK",
    };
    // A parsed id has no character that needs quoting.
    match connection
        .batch_execute(&format!("{verb} PREPARED '{gid}'"))
        .await
    {
        // Ended by someone else between the two statements: with the same outcome, as both read it from
        // the same row.
        Err(error)
            if error
                .code()
                .is_some_and(|code| code.code() == UNDEFINED_OBJECT) =>
        {
            Ok(())
        }
        ended => ended.map_err(failed),
    }
}
