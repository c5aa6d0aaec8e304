//! What isolation levels mean over several shards: snapshots of one moment, or the one shard that may be used.
//!
//! A REPEATABLE READ transaction opens its snapshots on all shards when its first statement reaches one, under a barrier:
//! 1. It leases a connection to every shard. From then on it waits for nobody who might wait for it.
//! 2. It closes the [gate](crate::gate), so that no commit of one shard follows from another one in between.
//! 3. It takes the lock on decisions on every shard (`oskol.hold_decisions`), the lowest shard first, so that two readers
//!    do not wait in a circle. Whoever decides holds the lock shared until its lead's commit is visible. So now every
//!    two-phase transaction is decided, and visible on its lead, or cannot be decided until the lock goes.
//! 4. Only now it reads what is prepared. What is prepared somewhere and decided elsewhere is committed there ([`crate::control::Control::finish_decided`]),
//!    by the reader itself if need be: its router may be dead.
//! 5. The snapshots are opened, and the lock and the gate let go.
//!
//! At 5 a transaction is committed on all its shards or on none: none is seen in part. Nothing is held by a router that is
//! not on the servers, too: locks go with the connections, and those of a router that stands still are ended
//! (`oskol.end_silent_holders`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use topology::ShardId;
use wire::backend::ErrorResponse;

use super::execute::Rows;
use super::fault::Fault;
use super::state::Session;
use super::transaction::State;
use crate::control::GlobalId;
use crate::error::RouterError;
use crate::plan::{Action, Copy, Isolation, Plan};
use crate::settings::quote_literal;

const RELEASE: &str = "SELECT oskol.release_decisions()";
const ROLL_BACK_AND_RELEASE: &str = "ROLLBACK;SELECT oskol.release_decisions()";
const LIST_PREPARED: &str = "SELECT gid FROM pg_catalog.pg_prepared_xacts
    WHERE database = pg_catalog.current_database() AND pg_catalog.starts_with(gid, 'oskol:')";
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Global transactions by the branch on whose shard they are prepared.
type Prepared = BTreeMap<usize, Vec<GlobalId>>;

/// How long a decided transaction is left to the router that is at it.
const OWN_ROUTERS_TURN: Duration = Duration::from_millis(50);

impl Session {
    /// Before `shards` join a transaction above READ COMMITTED.
    pub(super) async fn isolate(&mut self, shards: &[ShardId]) -> Result<(), Fault> {
        match self.transaction.isolation {
            Isolation::ReadCommitted => Ok(()),
            Isolation::RepeatableRead => self.open_snapshots().await,
            Isolation::Serializable => self.stay_on_one_shard(shards),
        }
    }

    /// Each shard keeps its own transactions apart, but none sees a circle of dependencies over several.
    fn stay_on_one_shard(&self, shards: &[ShardId]) -> Result<(), Fault> {
        let mut branches = self.transaction.branches.iter();
        let elsewhere = |shard: ShardId| shards.first() != Some(&shard);
        let is_second = branches.any(|branch| branch.isolated && elsewhere(branch.server.shard));
        if is_second || shards.len() > 1 {
            return Err(serializable_over_shards().into());
        }
        Ok(())
    }

    /// Outside a transaction block: a statement that reads on several shards gets a transaction of its own around it,
    /// where all of it is to see one moment.
    pub(super) fn read_at_one_moment(&mut self, plan: &Plan) -> Result<(), Fault> {
        if !spans_shards(&plan.action) {
            return Ok(());
        }
        if self.transaction.state != State::Idle {
            return self.check_block_reads(plan);
        }
        if self.default_isolation == Isolation::Serializable {
            return Err(serializable_over_shards().into());
        }
        let wanted = self.consistent_reads || self.default_isolation == Isolation::RepeatableRead;
        if wanted && !plan.effect.writes {
            self.open_around();
            self.transaction.isolation = Isolation::RepeatableRead;
            self.transaction.modes = "ISOLATION LEVEL REPEATABLE READ".into();
        }
        Ok(())
    }

    /// In a READ COMMITTED block the shards' snapshots of a statement cannot be those of one moment.
    fn check_block_reads(&self, plan: &Plan) -> Result<(), Fault> {
        let is_plain = self.transaction.isolation == Isolation::ReadCommitted;
        if self.consistent_reads && is_plain && !plan.effect.writes {
            return Err(consistent_read_in_block().into());
        }
        Ok(())
    }

    /// A pipeline that has run on one shard goes on on others. What that shard has seen is a snapshot of its own.
    pub(super) fn check_pipeline_isolation(&self) -> Result<(), Fault> {
        let shards = self.space.state.map.shards().len();
        if self.default_isolation == Isolation::RepeatableRead && shards > 1 {
            return Err(repeatable_pipeline().into());
        }
        Ok(())
    }

    async fn open_snapshots(&mut self) -> Result<(), Fault> {
        let shards = self.space.state.map.shards().to_vec();
        if self.transaction.has_snapshots || shards.len() < 2 {
            return Ok(());
        }
        let started = Instant::now();
        let mut branches = Vec::with_capacity(shards.len());
        for shard in shards {
            branches.push(self.branch(shard).await?);
        }
        self.take_back(&branches).await?;
        let gate = self.worker.gate.close();
        let opened = self.open_under_barrier(&branches).await;
        self.let_decisions_go(&branches, opened.is_ok()).await;
        drop(gate);
        opened?;
        self.transaction.has_snapshots = true;
        self.metrics.snapshots(started.elapsed());
        Ok(())
    }

    /// Shards that have joined have run settings only, which are run again with the rest of the log.
    async fn take_back(&mut self, branches: &[usize]) -> Result<(), Fault> {
        for &index in branches {
            if self.transaction.branches[index].begun {
                self.finish_begin(index).await?;
                let branch = &mut self.transaction.branches[index];
                branch.begun = false;
                branch
                    .server
                    .query("ROLLBACK", &self.worker.parameters)
                    .await?;
            }
        }
        Ok(())
    }

    async fn open_under_barrier(&mut self, branches: &[usize]) -> Result<(), Fault> {
        self.hold_decisions(branches).await?;
        let prepared = self.prepared_transactions(branches).await?;
        let decided = self.decided(prepared).await?;
        self.see_finished(decided).await?;
        // The first statement that reads anything opens the snapshot.
        let begin = format!("{};SELECT 1", self.transaction.replay());
        for &index in branches {
            self.transaction.branches[index].begun = true;
        }
        self.run_at_once(branches, &begin).await.into_result()?;
        Ok(())
    }

    /// Keeps decisions out on all shards.
    async fn hold_decisions(&mut self, branches: &[usize]) -> Result<(), Fault> {
        let patience = self.worker.config.transactions.barrier_timeout;
        let hold = format!("SELECT oskol.hold_decisions({})", patience.as_millis());
        for &index in branches {
            self.transaction.branches[index].holds_decisions = true;
        }
        let (first, rest) = branches.split_at(1);
        let in_time = |fault| barrier_is_held(fault, patience);
        let held = self.run_at_once(first, &hold).await.into_result();
        held.map_err(in_time)?;
        let held = self.run_at_once(rest, &hold).await.into_result();
        held.map_err(in_time)?;
        Ok(())
    }

    /// What is prepared on each shard. To be read when decisions are kept out on all: what was prepared on one after it
    /// was read may else be decided on another before that is held.
    async fn prepared_transactions(&mut self, branches: &[usize]) -> Result<Prepared, Fault> {
        let listed = self
            .run_at_once(branches, LIST_PREPARED)
            .await
            .into_result()?;
        Ok(self.listed(listed))
    }

    fn listed(&self, held: Vec<(usize, Rows)>) -> Prepared {
        let mut prepared = Prepared::new();
        for (index, rows) in held {
            for row in &rows {
                let gid = row.first().cloned().flatten().unwrap_or_default();
                match gid.parse::<GlobalId>() {
                    Ok(id) if id.cluster == self.worker.config.cluster.name => {
                        prepared.entry(index).or_default().push(id);
                    }
                    // Another cluster's, or nobody's.
                    _ => {}
                }
            }
        }
        prepared
    }

    /// Those of `prepared` whose lead has committed.
    async fn decided(&mut self, mut prepared: Prepared) -> Result<Prepared, Fault> {
        let leads: BTreeSet<ShardId> = prepared.values().flatten().map(|id| id.lead).collect();
        for lead in leads {
            let led: Vec<String> = prepared
                .values()
                .flatten()
                .filter(|id| id.lead == lead)
                .map(GlobalId::to_string)
                .collect();
            let decided = self.decided_by(lead, &led).await?;
            for ids in prepared.values_mut() {
                ids.retain(|id| id.lead != lead || decided.contains(&id.to_string()));
            }
        }
        prepared.retain(|_, ids| !ids.is_empty());
        Ok(prepared)
    }

    async fn decided_by(
        &mut self,
        lead: ShardId,
        gids: &[String],
    ) -> Result<BTreeSet<String>, Fault> {
        let Some(index) = self.transaction.find(lead) else {
            tracing::error!(%lead, ?gids, "prepared transactions name a lead that is no shard");
            return Ok(BTreeSet::new());
        };
        let listed = list(gids);
        let sql = format!(
            "SELECT gid FROM oskol.decision WHERE outcome = 'commit' AND gid IN ({listed})"
        );
        self.values_of(index, &sql).await
    }

    /// Returns when what was decided is committed on its shards. Its router is about to do that; if it does not,
    /// somebody must.
    async fn see_finished(&mut self, mut decided: Prepared) -> Result<(), Fault> {
        let until = Instant::now() + OWN_ROUTERS_TURN;
        while !decided.is_empty() && Instant::now() < until {
            let indexes: Vec<usize> = decided.keys().copied().collect();
            for index in indexes {
                let gids: Vec<String> = decided[&index].iter().map(GlobalId::to_string).collect();
                let sql = format!(
                    "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE gid IN ({})",
                    list(&gids)
                );
                let left = self.values_of(index, &sql).await?;
                if let Some(ids) = decided.get_mut(&index) {
                    ids.retain(|id| left.contains(&id.to_string()));
                }
            }
            decided.retain(|_, ids| !ids.is_empty());
        }
        if decided.is_empty() {
            return Ok(());
        }
        let shard = |index: &usize| self.transaction.branches[*index].server.shard;
        let left = decided
            .iter()
            .flat_map(|(index, ids)| ids.iter().map(move |id| (shard(index), id.to_string())));
        let patience = self.worker.config.transactions.barrier_timeout;
        let control = &self.worker.control;
        control
            .finish_decided(self.database.name(), left.collect(), patience)
            .await?;
        Ok(())
    }

    /// The first column of a statement of the router's own, outside any transaction.
    async fn values_of(&mut self, index: usize, sql: &str) -> Result<BTreeSet<String>, Fault> {
        let server = &mut self.transaction.branches[index].server;
        let rows = server.query(sql, &self.worker.parameters).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .collect())
    }

    /// A connection that cannot be asked to let go is closed, which does it as well.
    async fn let_decisions_go(&mut self, branches: &[usize], opened: bool) {
        let sql = if opened {
            RELEASE
        } else {
            ROLL_BACK_AND_RELEASE
        };
        let released = self.run_at_once(branches, sql).await;
        for (index, _) in released.done {
            self.transaction.branches[index].holds_decisions = false;
        }
        for &index in branches {
            let branch = &mut self.transaction.branches[index];
            branch.begun = opened;
            branch.server.broken |= branch.holds_decisions;
        }
    }

    /// Before a statement that writes is sent to one shard: outside a transaction it commits.
    pub(super) async fn pass_gate_alone(&self) {
        if self.transaction.state == State::Idle {
            self.pass_gate().await;
        }
    }

    /// Before a commit of writes is sent to one shard.
    pub(super) async fn pass_gate(&self) {
        if self.worker.gate.is_closed() {
            self.metrics.gate_waits.increment();
            let limit = self.worker.config.transactions.barrier_timeout;
            Box::pin(self.worker.gate.pass(limit)).await;
        }
    }
}

/// Whether a statement with this plan reads on more than one shard. What is done beside entries is looked at by itself.
fn spans_shards(action: &Action) -> bool {
    match action {
        Action::Scatter(_) | Action::Gather(_) | Action::Split(_) => true,
        Action::ByKey(by_key) => by_key.rewrite.is_none(),
        Action::Copy(copy) => matches!(copy, Copy::ToWritten(_) | Copy::ToConcatenated(_)),
        _ => false,
    }
}

/// As literals of a list.
fn list(gids: &[String]) -> String {
    let literals: Vec<String> = gids.iter().map(|gid| quote_literal(gid)).collect();
    literals.join(",")
}

fn barrier_is_held(fault: Fault, patience: Duration) -> Fault {
    match &fault {
        Fault::Shard(message) if is_lock_timeout(message) => RouterError::new(
            LOCK_NOT_AVAILABLE,
            "cannot open snapshots on all shards",
        )
        .detail(format!(
            "Others hold the barrier for longer than {patience:?} (transactions.barrier_timeout)."
        ))
        .hint("Run the transaction again.")
        .into(),
        _ => fault,
    }
}

fn is_lock_timeout(message: &[u8]) -> bool {
    let body = message.get(5..).unwrap_or_default();
    ErrorResponse::parse(body).is_ok_and(|error| error.sqlstate() == LOCK_NOT_AVAILABLE)
}

fn consistent_read_in_block() -> RouterError {
    RouterError::unsupported(
        "consistent-read-in-block",
        "a READ COMMITTED transaction cannot read several shards at one moment",
    )
    .detail("oskol.cross_shard_reads is 'consistent', and the statement reads on several shards.")
    .hint("Use BEGIN ISOLATION LEVEL REPEATABLE READ, or SET LOCAL oskol.cross_shard_reads = 'plain'.")
}

fn repeatable_pipeline() -> RouterError {
    RouterError::unsupported(
        "repeatable-read-pipeline",
        "a pipeline of REPEATABLE READ statements cannot use several shards",
    )
    .detail("Its first statement has been run with a snapshot of one shard alone.")
    .hint("Begin the transaction with BEGIN, or end each statement with Sync.")
}

fn serializable_over_shards() -> RouterError {
    RouterError::unsupported(
        "serializable-over-shards",
        "a SERIALIZABLE transaction cannot use several shards",
    )
    .detail("Each shard keeps its own transactions serializable, but a circle of dependencies over several would not be seen.")
    .hint("Use REPEATABLE READ, whose snapshots over all shards are of one moment, and lock rows where you must (SELECT ... FOR UPDATE); or bind all statements to one key.")
}
