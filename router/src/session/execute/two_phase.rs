//! Ending a transaction on all its shards: plainly where one shard wrote, else in two phases with
//! the last agent's decision.
//!
//! All but the lead run PREPARE TRANSACTION. The lead's own transaction inserts the decision row and
//! commits: that commit *is* the decision. Then COMMIT PREPARED everywhere else. Whatever dies in
//! between, any router finishes the rest from the decision row (see `control`).

use super::super::fault::Fault;
use super::super::shared::TwoPhase;
use super::super::state::Session;
use crate::backend::{QueryError, Server};
use crate::error::RouterError;
use crate::settings::quote_literal;

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
        let writers = self.writers();
        let outcome = if writers.len() > 1 {
            self.commit_in_two_phases(&writers).await
        } else {
            self.commit_plainly(&writers).await
        };
        match outcome {
            Ok(()) => {
                self.close_transaction(true).await;
                self.after_commit(effects).await
            }
            Err(fault) => {
                self.roll_back().await;
                Err(fault)
            }
        }
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
                Err(
                    RouterError::new("08007", "the connection to a shard broke while committing")
                        .detail(format!(
                            "It is not known whether shard {shard} has committed."
                        ))
                        .hint("Read the rows again before you repeat the transaction.")
                        .into(),
                )
            }
        }
    }

    /// Branches that only read are told to end; nothing depends on their answer.
    async fn end_readers(&mut self, writers: &[usize]) {
        for index in 0..self.transaction.branches.len() {
            let branch = &mut self.transaction.branches[index];
            if branch.begun && !writers.contains(&index) {
                branch.begun = false;
                let _ = branch.server.query("COMMIT", &self.worker.parameters).await;
            }
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
            return Err(fault);
        }
        self.show_stage(&gid, "committing");
        match self.decide(lead, &gid).await {
            Decision::Committed => {}
            Decision::Refused(fault) => {
                self.roll_back_prepared(&others, &gid).await;
                return Err(fault);
            }
            Decision::Unknown => {
                self.abandon_prepared(&others);
                return Err(in_doubt(&gid));
            }
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
        for &index in others {
            let server = &mut self.transaction.branches[index].server;
            server.queue_query(sql.as_bytes());
            server.send().await?;
        }
        let mut first = Ok(());
        for &index in others {
            let outcome = self.prepared_on(index).await;
            if first.is_ok() {
                first = outcome;
            }
        }
        first
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

    /// The lead writes the decision and commits, in one write.
    async fn decide(&mut self, lead: usize, gid: &str) -> Decision {
        let branch = &mut self.transaction.branches[lead];
        branch.begun = false;
        let decide = format!("SELECT oskol.decide({})", quote_literal(gid));
        branch.server.queue_query(decide.as_bytes());
        branch.server.queue_query(b"COMMIT");
        let decided = branch
            .server
            .rows_until_ready(&self.worker.parameters)
            .await;
        let committed = last_tag(&mut branch.server, &self.worker.parameters).await;
        match (decided, committed) {
            (Ok(_), Ok(command_tag)) if command_tag == "COMMIT" => Decision::Committed,
            (Err(QueryError::Server(_)), _) | (_, Err(QueryError::Server(_))) => Decision::Unknown,
            (Err(error), _) => Decision::Refused(error.into()),
            (_, Err(error)) => Decision::Refused(error.into()),
            (Ok(_), Ok(_)) => Decision::Refused(
                RouterError::new("40000", "the transaction was rolled back by the lead shard")
                    .into(),
            ),
        }
    }

    /// The decision is made: what cannot be reached now is finished by recovery.
    async fn finish_prepared(&mut self, others: &[usize], gid: &str) {
        let sql = format!("COMMIT PREPARED {}", quote_literal(gid));
        self.end_prepared(others, &sql).await;
    }

    async fn roll_back_prepared(&mut self, others: &[usize], gid: &str) {
        let sql = format!("ROLLBACK PREPARED {}", quote_literal(gid));
        let prepared: Vec<usize> = others
            .iter()
            .copied()
            .filter(|index| self.transaction.branches[*index].prepared)
            .collect();
        self.end_prepared(&prepared, &sql).await;
    }

    async fn end_prepared(&mut self, indexes: &[usize], sql: &str) {
        for &index in indexes {
            let server = &mut self.transaction.branches[index].server;
            server.queue_query(sql.as_bytes());
            let _ = server.send().await;
        }
        for &index in indexes {
            let branch = &mut self.transaction.branches[index];
            branch.prepared = false;
            if let Err(error) = branch
                .server
                .rows_until_ready(&self.worker.parameters)
                .await
            {
                branch.server.broken = true;
                let shard = branch.server.shard;
                tracing::warn!(%shard, %error, "left to recovery: {sql}");
            }
        }
    }

    /// Nobody knows what the lead did: the prepared branches are left to recovery.
    fn abandon_prepared(&mut self, others: &[usize]) {
        for &index in others {
            self.transaction.branches[index].prepared = false;
        }
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

/// Reads one simple query's reply for its command tag.
async fn last_tag(
    server: &mut Server,
    intern: &crate::settings::Interner<crate::settings::Parameters>,
) -> Result<String, QueryError> {
    let mut command_tag = String::new();
    let mut refusal = None;
    loop {
        let message = server.message(intern).await?;
        match message.tag {
            b'C' => {
                let text = message.body().strip_suffix(b"\0").unwrap_or(message.body());
                command_tag = String::from_utf8_lossy(text).into_owned();
            }
            b'E' => refusal = Some(message.bytes),
            b'Z' => break,
            _ => {}
        }
    }
    refusal.map_or(Ok(command_tag), |bytes| Err(QueryError::Refused(bytes)))
}

/// The shard had failed the transaction before, and says so only in its command tag.
fn rolled_back(shard: topology::ShardId) -> Fault {
    RouterError::new("40000", "the transaction was rolled back on a shard")
        .detail(format!("Shard {shard} could not commit."))
        .hint("Run the transaction again.")
        .into()
}

/// SQLSTATE 08007: the client cannot be told what became of its transaction.
fn in_doubt(gid: &str) -> Fault {
    RouterError::new("08007", "the outcome of the transaction is not known")
        .detail(format!(
            "The connection to the lead shard broke while it decided on {gid}."
        ))
        .hint("SHOW TRANSACTIONS in the admin database tells the outcome once it is known.")
        .into()
}
