//! BEGIN, COMMIT, ROLLBACK and savepoints.

use std::time::Instant;

use wire::backend::Severity;

use super::super::fault::Fault;
use super::super::state::Session;
use super::super::transaction::{Characteristics, LogEntry, State};
use crate::error::RouterError;
use crate::plan::Isolation;
use crate::settings::quote_identifier;

impl Session {
    /// Nothing is sent: a shard joins at its first statement.
    pub(in crate::session) fn begin_transaction(
        &mut self,
        modes: &str,
        isolation: Option<Isolation>,
        start_transaction: bool,
    ) -> Result<(), Fault> {
        let command_tag = if start_transaction {
            "START TRANSACTION"
        } else {
            "BEGIN"
        };
        match self.transaction.state {
            State::Idle => {
                self.open(modes, isolation.unwrap_or(self.default_isolation));
            }
            _ if self.transaction.implicit => self.transaction.implicit = false,
            _ => {
                let already =
                    RouterError::new("25001", "there is already a transaction in progress");
                self.notice(Severity::Warning, &already);
            }
        }
        self.answer_complete(command_tag);
        Ok(())
    }

    fn open(&mut self, modes: &str, isolation: Isolation) {
        self.transaction.state = State::Open;
        self.transaction.isolation = isolation;
        self.transaction.implicit = false;
        self.transaction.modes = modes.trim().to_owned();
        self.shared.transaction_since.set(Some(Instant::now()));
    }

    /// After AND CHAIN: with the characteristics of the transaction before.
    fn open_alike(&mut self, characteristics: Characteristics) {
        self.open(&characteristics.modes, characteristics.isolation);
        self.transaction.log = characteristics.set;
    }

    pub(super) async fn commit_command(&mut self, chain: bool) -> Result<(), Fault> {
        if self.is_outside_block() {
            if chain {
                return Err(no_transaction_to_chain("COMMIT AND CHAIN").into());
            }
            self.warn_no_transaction();
        }
        let characteristics = self.transaction.characteristics();
        let failed = self.transaction.state == State::Failed;
        let lost = self.transaction.lost.take();
        if failed {
            self.roll_back().await;
            // "ROLLBACK" alone would not be noticed by a client that knows of no failure.
            if let Some(lost) = lost {
                return Err(Fault::Router(lost));
            }
        } else {
            self.commit().await?;
        }
        if chain {
            self.open_alike(characteristics);
        }
        self.answer_complete(if failed { "ROLLBACK" } else { "COMMIT" });
        Ok(())
    }

    pub(super) async fn rollback_command(&mut self, chain: bool) -> Result<(), Fault> {
        if self.is_outside_block() {
            if chain {
                return Err(no_transaction_to_chain("ROLLBACK AND CHAIN").into());
            }
            self.warn_no_transaction();
        }
        let characteristics = self.transaction.characteristics();
        self.roll_back().await;
        if chain {
            self.open_alike(characteristics);
        }
        self.answer_complete("ROLLBACK");
        Ok(())
    }

    /// No transaction that the client has begun.
    fn is_outside_block(&self) -> bool {
        self.transaction.state == State::Idle || self.transaction.implicit
    }

    fn warn_no_transaction(&mut self) {
        let none = RouterError::new("25P01", "there is no transaction in progress");
        self.notice(Severity::Warning, &none);
    }

    pub(super) async fn savepoint(&mut self, name: &str) -> Result<(), Fault> {
        self.require_transaction("SAVEPOINT")?;
        self.on_all_branches(&format!("SAVEPOINT {}", quote_identifier(name)))
            .await?;
        self.transaction
            .log
            .push(LogEntry::Savepoint(name.to_owned()));
        self.answer_complete("SAVEPOINT");
        Ok(())
    }

    pub(super) async fn release_savepoint(&mut self, name: &str) -> Result<(), Fault> {
        self.require_transaction("RELEASE SAVEPOINT")?;
        self.require_savepoint(name)?;
        self.on_all_branches(&format!("RELEASE SAVEPOINT {}", quote_identifier(name)))
            .await?;
        if let Some(at) = self.transaction.savepoint(name) {
            self.cursors.release(at);
        }
        self.transaction.release(name);
        self.answer_complete("RELEASE");
        Ok(())
    }

    pub(super) async fn rollback_to_savepoint(&mut self, name: &str) -> Result<(), Fault> {
        self.require_transaction("ROLLBACK TO SAVEPOINT")?;
        self.require_savepoint(name)?;
        self.on_all_branches(&format!("ROLLBACK TO SAVEPOINT {}", quote_identifier(name)))
            .await?;
        self.transaction.cut_log(name);
        self.cursors.roll_back_to(self.transaction.log.len());
        self.transaction.state = State::Open;
        self.transaction.has_let_go = false;
        // The lock may have been taken after the savepoint, and is gone then.
        self.transaction.catalog_locked = false;
        if self.transaction.private.is_some() {
            self.reload_private_catalog().await?;
        }
        self.read_temporaries_at_savepoint().await?;
        self.answer_complete("ROLLBACK");
        Ok(())
    }

    fn require_savepoint(&self, name: &str) -> Result<(), Fault> {
        let known = |entry: &LogEntry| matches!(entry, LogEntry::Savepoint(n) if n == name);
        if self.transaction.log.iter().any(known) {
            return Ok(());
        }
        Err(RouterError::new("3B001", format!("savepoint \"{name}\" does not exist")).into())
    }

    pub(super) fn require_transaction(&self, command: &str) -> Result<(), Fault> {
        if self.is_outside_block() {
            let text = format!("{command} can only be used in transaction blocks");
            return Err(RouterError::new("25P01", text).into());
        }
        Ok(())
    }

    /// Runs a statement of the router's own on every shard that has joined.
    pub(crate) async fn on_all_branches(&mut self, sql: &str) -> Result<(), Fault> {
        for branch in &mut self.transaction.branches {
            branch.server.queue_query(sql.as_bytes());
            branch.server.send().await?;
        }
        let mut first = Ok(());
        for index in 0..self.transaction.branches.len() {
            let server = &mut self.transaction.branches[index].server;
            let outcome = server.rows_until_ready(&self.worker.parameters).await;
            if first.is_ok() {
                first = outcome.map(|_| ()).map_err(Fault::from);
            }
        }
        first
    }

    /// A multi-statement string or a statement on several shards needs a transaction around it.
    pub(crate) fn open_around(&mut self) {
        if self.transaction.state == State::Idle {
            self.transaction.state = State::Open;
            self.transaction.implicit = true;
            self.transaction.isolation = self.default_isolation;
            self.shared.transaction_since.set(Some(Instant::now()));
        }
    }

    /// As [`Self::open_around`]. What DDL plans with is read after it has got the lock: not with an older snapshot.
    pub(super) fn open_around_ddl(&mut self) {
        if self.transaction.state == State::Idle
            && self.default_isolation != Isolation::ReadCommitted
        {
            self.open_around();
            self.transaction.isolation = Isolation::ReadCommitted;
            self.transaction.modes = "ISOLATION LEVEL READ COMMITTED".into();
        }
        self.open_around();
    }

    /// The transaction is over on every branch: what lasts is kept, what was its own is forgotten.
    pub(crate) async fn close_transaction(&mut self, committed: bool) {
        if let Some(since) = self.shared.transaction_since.take() {
            self.metrics.transaction(since.elapsed());
        }
        let ended = std::mem::take(&mut self.transaction);
        self.transaction.branches = ended.branches;
        self.transaction.reserve_right = ended.reserve_right;
        self.transaction.leaves_state = ended.leaves_state;
        self.extended.forget_portals();
        self.cursors.end_transaction(committed);
        if committed {
            self.note_settings_of_branches(&ended.settings);
            self.keep_settings(ended.settings);
        }
        if ended.temporaries_touched {
            self.read_temporaries_at_end().await;
        }
        if ended.followed_touched {
            self.read_followed_again().await;
        }
        self.release().await;
    }

    /// The only branch has ended the transaction by itself (COMMIT was sent on, or failed there).
    pub(in crate::session) async fn transaction_ended_by_shard(&mut self) {
        let committed = !self.failed;
        self.close_transaction(committed).await;
    }
}

fn no_transaction_to_chain(command: &str) -> RouterError {
    RouterError::new(
        "25P01",
        format!("{command} can only be used in transaction blocks"),
    )
}
