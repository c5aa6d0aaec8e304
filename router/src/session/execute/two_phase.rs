//! Ending a transaction on all its shards: plainly where one shard wrote, else in two phases with
//! the last agent's decision.
//!
//! All but the lead run PREPARE TRANSACTION. The lead's own transaction inserts the decision row and
//! commits: that commit *is* the decision. Then COMMIT PREPARED everywhere else. Whatever dies in
//! between, any router finishes the rest from the decision row (see `control`).

mod doubt;

use std::time::Instant;

use sha2::{Digest, Sha256};

use super::super::deadlock;
use super::super::fault::Fault;
use super::super::shared::TwoPhase;
use super::super::state::Session;
use crate::backend::{QueryError, Server};
use crate::error::RouterError;
use crate::fault_point::{self, FaultPoint};
use crate::metrics::CommitKind;
use crate::settings::quote_literal;
use topology::ShardId;

/// What came of the lead's commit.
enum Decision {
    Committed,
    Refused(Fault),
    /// The connection broke between COMMIT and its answer.
    Unknown,
}

/// What a transaction has changed beyond rows.
struct Effects {
    catalog: bool,
    roles: bool,
    sequences: bool,
}

impl Session {
    /// Commits on all branches. On failure everything is rolled back and the first error returned.
    pub(in crate::session) async fn commit(&mut self) -> Result<(), Fault> {
        let effects = Effects {
            catalog: self.transaction.catalog_changed,
            roles: self.transaction.roles_changed,
            sequences: !self.transaction.reset_sequences.is_empty(),
        };
        if self.transaction.owes
            && let Err(fault) = Box::pin(self.settle_deferred()).await
        {
            self.drop_broken_branches();
            return Err(self.roll_back_for(fault).await);
        }
        let writers = self.writers();
        if let Err(fault) = self.check_guards(&writers).await {
            self.drop_broken_branches();
            return Err(self.roll_back_for(fault).await);
        }
        let began = Instant::now();
        let outcome = if writers.len() > 1 {
            self.commit_in_two_phases(&writers).await
        } else {
            self.commit_plainly(&writers).await
        };
        match outcome {
            Ok(()) => {
                if let Some(kind) = kind_of(&writers) {
                    self.metrics.committed(kind, began.elapsed());
                }
                self.close_transaction(true).await;
                self.after_commit(effects).await
            }
            Err(fault) => Err(self.roll_back_for(fault).await),
        }
    }

    /// A shard that has only locked rows has nothing to commit; but where it was lost its locks are, too.
    async fn check_guards(&mut self, writers: &[usize]) -> Result<(), Fault> {
        let branches = self.transaction.branches.iter().enumerate();
        let guards: Vec<usize> = branches
            .filter(|(index, branch)| branch.guards && branch.begun && !writers.contains(index))
            .map(|(index, _)| index)
            .collect();
        if !guards.is_empty() && !writers.is_empty() {
            self.run_at_once(&guards, "SELECT").await.into_result()?;
        }
        Ok(())
    }

    /// Tells the cluster of what a committed transaction has changed beyond rows.
    async fn after_commit(&mut self, effects: Effects) -> Result<(), Fault> {
        let control = &self.worker.control;
        if effects.roles {
            control.roles_changed();
        }
        if effects.catalog {
            // Leased ids of before are void then, too.
            control.catalog_changed(&self.database).await?;
            self.refresh_space();
        } else if effects.sequences {
            control.leases_void(&self.database).await?;
        }
        Ok(())
    }

    fn writers(&self) -> Vec<usize> {
        let begun = self.transaction.branches.iter().enumerate();
        begun
            .filter(|(_, branch)| branch.begun && branch.wrote)
            .map(|(index, _)| index)
            .collect()
    }

    /// At most one branch wrote: its COMMIT decides, the readers follow.
    async fn commit_plainly(&mut self, writers: &[usize]) -> Result<(), Fault> {
        if let Some(&writer) = writers.first() {
            self.pass_gate().await;
            self.commit_branch(writer).await?;
        }
        self.end_readers(writers).await;
        Ok(())
    }

    /// COMMIT on one branch; PostgreSQL answers a failed transaction's COMMIT with ROLLBACK.
    async fn commit_branch(&mut self, index: usize) -> Result<(), Fault> {
        let branch = &mut self.transaction.branches[index];
        branch.begun = false;
        branch.server.queue_query(b"COMMIT");
        match last_tag(&mut branch.server, &self.worker.parameters).await {
            Ok(command_tag) if command_tag == "COMMIT" => Ok(()),
            Ok(_) => Err(rolled_back(branch.server.shard)),
            Err(QueryError::Refused(bytes)) => Err(Fault::Shard(bytes)),
            Err(QueryError::Server(error)) => {
                let shard = self.transaction.branches[index].server.shard;
                tracing::warn!(%shard, %error, "connection lost at COMMIT");
                Err(commit_unknown(shard).into())
            }
        }
    }

    /// Branches that only read are told to end; nothing depends on their answer.
    async fn end_readers(&mut self, writers: &[usize]) {
        let mut readers = Vec::new();
        for (index, branch) in self.transaction.branches.iter_mut().enumerate() {
            if branch.begun && !writers.contains(&index) {
                branch.begun = false;
                readers.push(index);
            }
        }
        if !readers.is_empty() {
            self.run_at_once(&readers, "COMMIT").await;
        }
    }

    async fn commit_in_two_phases(&mut self, writers: &[usize]) -> Result<(), Fault> {
        let outcome = self.prepare_and_decide(writers).await;
        self.shared.two_phase.take();
        outcome
    }

    /// For SHOW TRANSACTIONS.
    fn show_stage(&self, gid: &str, stage: &'static str) {
        let gid = gid.to_owned();
        self.shared.two_phase.replace(Some(TwoPhase { gid, stage }));
    }

    async fn prepare_and_decide(&mut self, writers: &[usize]) -> Result<(), Fault> {
        let lead = self.lead(writers)?;
        let lead_shard = self.transaction.branches[lead].server.shard;
        let gid = self.worker.control.next_gid(lead_shard, writers.len());
        let live = self.worker.control.live_transactions().enter(&gid);
        let others: Vec<usize> = writers
            .iter()
            .copied()
            .filter(|index| *index != lead)
            .collect();
        self.show_stage(&gid, "preparing");
        if let Err(fault) = self.prepare_all(&others, &gid).await {
            self.roll_back_prepared(&others, &gid).await;
            drop(live);
            // One that has lost its connection may be prepared, and holds its locks until then.
            self.worker.control.recover_soon();
            return Err(fault);
        }
        self.show_stage(&gid, "committing");
        match self.decide(lead, &gid).await {
            Decision::Committed => {}
            Decision::Refused(fault) => {
                self.roll_back_prepared(&others, &gid).await;
                return Err(fault);
            }
            Decision::Unknown => self.learn_decision(&others, &gid).await?,
        }
        self.finish_prepared(&others, &gid).await;
        self.end_readers(writers).await;
        self.metrics.two_phase_commits.increment();
        Ok(())
    }

    /// The branch that cannot PREPARE, else the first.
    fn lead(&self, writers: &[usize]) -> Result<usize, Fault> {
        let branches = &self.transaction.branches;
        let mut unpreparable = writers
            .iter()
            .filter(|index| branches[**index].unpreparable);
        let lead = unpreparable
            .next()
            .or(writers.first())
            .copied()
            .unwrap_or(0);
        if unpreparable.next().is_some() {
            return Err(RouterError::unsupported(
                "two-phase-twice-unpreparable",
                "cannot commit over several shards",
            )
            .detail("Two shards have used temporary objects, LISTEN or NOTIFY in this transaction.")
            .hint("Use them in transactions of their own.")
            .into());
        }
        Ok(lead)
    }

    /// PREPARE TRANSACTION on all of `others` at once.
    async fn prepare_all(&mut self, others: &[usize], gid: &str) -> Result<(), Fault> {
        let sql = format!("PREPARE TRANSACTION {}", quote_literal(gid));
        for (sent, &index) in others.iter().enumerate() {
            fault_point::pass(FaultPoint::Prepared(sent)).await;
            let server = &mut self.transaction.branches[index].server;
            server.queue_query(sql.as_bytes());
            // A lost connection is told when its answer is read, as the answers of the others must be.
            let _ = server.send().await;
        }
        let mut first = Ok(());
        for &index in others {
            let outcome = self.prepared_on(index).await;
            if first.is_ok() {
                first = outcome;
            }
        }
        first?;
        fault_point::pass(FaultPoint::Prepared(others.len())).await;
        Ok(())
    }

    /// Reads the answer to PREPARE. A transaction that had failed is rolled back by it, and says so
    /// only in its tag.
    async fn prepared_on(&mut self, index: usize) -> Result<(), Fault> {
        let branch = &mut self.transaction.branches[index];
        let command_tag = last_tag(&mut branch.server, &self.worker.parameters).await?;
        branch.begun = false;
        branch.prepared = command_tag == "PREPARE TRANSACTION";
        if branch.prepared {
            return Ok(());
        }
        Err(rolled_back(branch.server.shard))
    }

    /// The lead writes the decision and commits, in one message: a router that stops in between cannot hold the
    /// lock on decisions (`oskol.decide`).
    async fn decide(&mut self, lead: usize, gid: &str) -> Decision {
        let token = self
            .space
            .state
            .token_of(self.transaction.branches[lead].server.shard);
        let branch = &mut self.transaction.branches[lead];
        branch.begun = false;
        let (seal, gid) = (seal(&token, gid), quote_literal(gid));
        let decide = format!("SELECT oskol.decide({gid}, '{seal}');COMMIT");
        branch.server.queue_query(decide.as_bytes());
        if branch.server.send().await.is_err() {
            return Decision::Unknown;
        }
        fault_point::pass(FaultPoint::DecisionSent).await;
        match last_tag(&mut branch.server, &self.worker.parameters).await {
            Ok(command_tag) if command_tag == "COMMIT" => Decision::Committed,
            Ok(_) => Decision::Refused(
                RouterError::new("40000", "the transaction was rolled back by the lead shard")
                    .into(),
            ),
            Err(QueryError::Server(_)) => Decision::Unknown,
            Err(error) => Decision::Refused(error.into()),
        }
    }

    /// The decision is made: what cannot be reached now is finished by others.
    async fn finish_prepared(&mut self, others: &[usize], gid: &str) {
        let sql = format!("COMMIT PREPARED {}", quote_literal(gid));
        let left = self.end_prepared(others, &sql, FaultPoint::Finished).await;
        if !left.is_empty() {
            self.finish_elsewhere(left, gid).await;
        }
    }

    async fn roll_back_prepared(&mut self, others: &[usize], gid: &str) {
        let sql = format!("ROLLBACK PREPARED {}", quote_literal(gid));
        let prepared: Vec<usize> = others
            .iter()
            .copied()
            .filter(|index| self.transaction.branches[*index].prepared)
            .collect();
        let ended = self.end_prepared(&prepared, &sql, FaultPoint::RolledBack);
        if !ended.await.is_empty() {
            self.worker.control.recover_soon();
        }
    }

    /// Gives the shards where it is not known to be done.
    async fn end_prepared(
        &mut self,
        indexes: &[usize],
        sql: &str,
        point: fn(usize) -> FaultPoint,
    ) -> Vec<ShardId> {
        let mut left = Vec::new();
        for (sent, &index) in indexes.iter().enumerate() {
            fault_point::pass(point(sent)).await;
            let server = &mut self.transaction.branches[index].server;
            server.queue_query(sql.as_bytes());
            let _ = server.send().await;
        }
        for &index in indexes {
            let branch = &mut self.transaction.branches[index];
            branch.prepared = false;
            let ended = branch
                .server
                .rows_until_ready(&self.worker.parameters)
                .await;
            if let Err(error) = ended
                && !is_ended_elsewhere(&error)
            {
                branch.server.broken = true;
                let shard = branch.server.shard;
                tracing::warn!(%shard, %error, "left to recovery: {sql}");
                left.push(shard);
            }
        }
        fault_point::pass(point(indexes.len())).await;
        left
    }

    /// Rolls back because of a fault; gives what the client is to be told of it.
    pub(in crate::session) async fn roll_back_for(&mut self, fault: Fault) -> Fault {
        let fault = deadlock::told(&self.shared, fault);
        self.roll_back().await;
        fault
    }

    /// ROLLBACK on every branch; one that cannot is closed, which rolls back as well.
    pub(in crate::session) async fn roll_back(&mut self) {
        for index in 0..self.transaction.branches.len() {
            let branch = &mut self.transaction.branches[index];
            if branch.server.broken || (!branch.begun && branch.server.status == b'I') {
                continue;
            }
            branch.begun = false;
            let outcome = branch
                .server
                .query("ROLLBACK", &self.worker.parameters)
                .await;
            branch.server.broken |= outcome.is_err();
        }
        self.close_transaction(false).await;
    }
}

/// None: nothing was written.
fn kind_of(writers: &[usize]) -> Option<CommitKind> {
    match writers.len() {
        0 => None,
        1 => Some(CommitKind::OneShard),
        _ => Some(CommitKind::TwoPhase),
    }
}

/// A reader of all shards, or recovery, has done it already.
fn is_ended_elsewhere(error: &QueryError) -> bool {
    let QueryError::Refused(message) = error else {
        return false;
    };
    let body = message.get(5..).unwrap_or_default();
    wire::backend::ErrorResponse::parse(body)
        .is_ok_and(|error| error.sqlstate() == wire::sqlstate::UNDEFINED_OBJECT)
}

/// Reads one simple query's reply for its last command tag.
async fn last_tag(
    server: &mut Server,
    intern: &crate::settings::Interner<crate::settings::Parameters>,
) -> Result<String, QueryError> {
    let mut command_tag = String::new();
    let mut refusal = None;
    loop {
        let message = match server.message(intern).await {
            Ok(message) => message,
            // The server has said why it ends, and so that it has not committed.
            Err(_) if refusal.is_some() => break,
            Err(error) => return Err(error.into()),
        };
        match message.tag {
            b'C' => {
                let text = message.body().strip_suffix(b"\0").unwrap_or(message.body());
                command_tag = String::from_utf8_lossy(text).into_owned();
            }
            // The last words of a connection that ends do not undo what it has done before.
            b'E' if !ends_transaction(&command_tag) => refusal = Some(message.bytes),
            b'Z' => break,
            _ => {}
        }
    }
    refusal.map_or(Ok(command_tag), |bytes| Err(QueryError::Refused(bytes)))
}

fn ends_transaction(command_tag: &str) -> bool {
    ["COMMIT", "ROLLBACK", "PREPARE"]
        .iter()
        .any(|verb| command_tag.starts_with(verb))
}

/// The shard had failed the transaction before, and says so only in its command tag.
fn rolled_back(shard: ShardId) -> Fault {
    RouterError::new("40000", "the transaction was rolled back on a shard")
        .detail(format!("Shard {shard} could not commit."))
        .hint("Run the transaction again.")
        .into()
}

/// SQLSTATE 08007: COMMIT was sent to the only shard that had written, and no answer came.
pub(in crate::session) fn commit_unknown(shard: ShardId) -> RouterError {
    RouterError::new("08007", "the connection to a shard broke while committing")
        .detail(format!(
            "It is not known whether shard {shard} has committed."
        ))
        .hint("Read the rows again before you repeat the transaction.")
}

/// What proves to the lead that a router decides this transaction, in hexadecimal digits.
fn seal(token: &str, gid: &str) -> String {
    let digest = Sha256::digest(format!("{token}/{gid}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
