//! What the router says itself: errors, notices, ReadyForQuery, command tags.

use std::time::{Duration, Instant};

use wire::backend::{Report, Severity, write};

use super::fault::{Fault, LOST, as_error, completion_unknown};
use super::state::Session;
use super::transaction::State;
use crate::config::PoolMode;
use crate::error::RouterError;
use crate::log::SlowStatement;
use crate::metrics::PlanKind;
use crate::plan::scatter::guard;
use crate::plan::{Action, Effect, Plan, SessionCommand};

impl Session {
    /// CommandComplete.
    pub(super) fn answer_complete(&mut self, command_tag: &str) {
        write::command_complete(&mut self.out, command_tag.as_bytes());
    }

    /// NOTICEs that go with a plan.
    pub(super) fn answer_notices(&mut self, plan: &Plan) {
        for notice in &plan.notices {
            self.notice(Severity::Notice, notice);
        }
    }

    pub(super) fn notice(&mut self, severity: Severity, notice: &RouterError) {
        let detail = notice.detail.as_deref().unwrap_or("");
        let report = Report {
            severity,
            sqlstate: notice.sqlstate,
            message: &notice.message,
            detail,
            hint: notice.hint.as_deref().unwrap_or(""),
            position: notice.position,
            routine: notice.id,
        };
        write::notice_response(&mut self.out, &report);
    }

    /// ReadyForQuery with the transaction's own status, and all that is still to be written.
    pub(super) async fn answer_ready(&mut self) -> Result<(), Fault> {
        if self.transaction.state == State::Idle && !self.transaction.branches.is_empty() {
            self.release().await;
        }
        if self.transaction.state == State::Failed {
            Box::pin(self.let_go_of_locks()).await;
        }
        let status = match self.transaction.state {
            State::Idle => wire::backend::TransactionStatus::Idle,
            State::Open => wire::backend::TransactionStatus::InTransaction,
            State::Failed => wire::backend::TransactionStatus::Failed,
        };
        write::ready_for_query(&mut self.out, status);
        self.flush().await
    }

    /// Ends a simple query that has failed: one error, then ReadyForQuery.
    pub(super) async fn answer_fault_and_ready(&mut self, fault: Fault) -> Result<(), Fault> {
        self.answer_fault(fault)?;
        self.fail_transaction().await;
        self.answer_ready().await
    }

    /// Writes the ErrorResponse of a fault into `out`. Faults that end the session come back.
    pub(super) fn answer_fault(&mut self, fault: Fault) -> Result<(), Fault> {
        if matches!(fault, Fault::ClientGone(_) | Fault::Fatal(_)) {
            return Err(fault);
        }
        self.slots.clear();
        match fault {
            Fault::Router(error) => {
                self.metrics.router_errors.increment();
                match self.unconfirmed_write().filter(|_| error.sqlstate == LOST) {
                    Some(shard) => {
                        let unknown = completion_unknown(shard);
                        error_response(&mut self.out, Severity::Error, &unknown);
                    }
                    None => error_response(&mut self.out, Severity::Error, &error),
                }
                Ok(())
            }
            Fault::Shard(bytes) => {
                let error = wire::backend::ErrorResponse::parse(&bytes[5..]).ok();
                if let Some(refusal) = error.as_ref().and_then(guard::refusal) {
                    return self.answer_fault(refusal.into());
                }
                self.metrics.shard_errors.increment();
                if error.is_some_and(|error| error.is_fatal()) {
                    self.out.extend_from_slice(&as_error(&bytes));
                    self.drop_broken_branches();
                    return Ok(());
                }
                match super::deadlock::told_instead(&self.shared, &bytes) {
                    Some(deadlock) => self.out.extend_from_slice(&deadlock),
                    None => self.out.extend_from_slice(&bytes),
                }
                Ok(())
            }
            Fault::AlreadyTold => Ok(()),
            end => Err(end),
        }
    }

    /// The shard whose connection broke after it was sent a write that commits by itself.
    fn unconfirmed_write(&self) -> Option<topology::ShardId> {
        if self.transaction.state != State::Idle {
            return None;
        }
        let mut branches = self.transaction.branches.iter();
        let lost = branches.find(|branch| branch.server.broken && branch.wrote && !branch.begun)?;
        Some(lost.server.shard)
    }

    /// A statement has failed: an explicit transaction is failed from now on, anything else is
    /// rolled back.
    pub(super) async fn fail_transaction(&mut self) {
        self.drop_broken_branches();
        match self.transaction.state {
            State::Open | State::Failed if self.transaction.implicit => {
                Box::pin(self.roll_back()).await;
            }
            State::Open | State::Failed => self.transaction.state = State::Failed,
            State::Idle => Box::pin(self.resynchronise()).await,
        }
    }

    /// After a fault in the extended protocol: told once, then all is skipped up to Sync.
    pub(super) async fn extended_fault(
        &mut self,
        fault: Fault,
        at_sync: bool,
    ) -> Result<(), Fault> {
        if matches!(fault, Fault::ClientGone(_) | Fault::Fatal(_)) {
            return Err(fault);
        }
        let fault = if self.drain_before_fault().await {
            fault
        } else {
            Fault::AlreadyTold
        };
        self.extended.abandon();
        self.answer_fault(fault)?;
        if at_sync {
            self.fail_transaction().await;
            return self.answer_ready().await;
        }
        self.extended.skipping = true;
        self.extended.failed = true;
        match self.transaction.state {
            State::Open if !self.transaction.implicit => self.transaction.state = State::Failed,
            _ => {}
        }
        self.drop_broken_branches();
        self.flush().await
    }

    /// Refuses all but the end of a failed transaction, as PostgreSQL does; notes what of the statement matters when
    /// the transaction's connections are given back.
    pub(super) fn admit(&self, plan: &Plan) -> Result<(), Fault> {
        if plan.effect.leaves_state {
            self.transaction.leaves_state.set(true);
        }
        if plan.effect.reads_session_sequences
            && self.worker.config.pool.mode == PoolMode::Transaction
        {
            return Err(session_sequence().into());
        }
        if self.transaction.state != State::Failed || ends_transaction(plan) {
            return Ok(());
        }
        if let Some(lost) = self.transaction.lost.take() {
            return Err(Fault::Router(lost));
        }
        let text =
            "current transaction is aborted, commands ignored until end of transaction block";
        Err(RouterError::new("25P02", text).into())
    }

    /// Records what a statement does to the branch it runs on.
    pub(super) fn note_effect(&mut self, index: usize, effect: Effect) {
        let branch = &mut self.transaction.branches[index];
        branch.wrote |= effect.writes;
        branch.unpreparable |= effect.unpreparable;
        if effect.writes {
            self.must_tell_collects(index);
        }
        self.pinned |= effect.pins;
    }

    /// The start of a statement, for the metrics.
    pub(super) fn started(&self) -> Instant {
        Instant::now()
    }

    /// The end of a statement, good or bad. `text`: its own, or that of the client's string.
    pub(super) fn finished(&self, started: Instant, kind: PlanKind, text: &[u8]) {
        let elapsed = started.elapsed();
        self.metrics.query(kind, elapsed);
        // An open transaction is counted where it ends; SET, COMMIT and the like are none.
        if self.transaction.state == State::Idle && kind != PlanKind::Session {
            self.metrics.transaction(elapsed);
        }
        if elapsed > self.worker.slow_above {
            self.log_slow(elapsed, kind, text);
        }
    }

    #[cold]
    fn log_slow(&self, elapsed: Duration, kind: PlanKind, text: &[u8]) {
        self.metrics.slow_statements.increment();
        let text = String::from_utf8_lossy(text);
        SlowStatement {
            text: text.trim_end_matches('\0'),
            elapsed,
            session: self.shared.id.0,
            user: &self.shared.user,
            database: &self.shared.database,
            plan: kind.name(),
            // A statement of one shard has given its connection back already.
            shards: self.transaction.branches.len().max(1),
        }
        .log();
    }
}

/// An ErrorResponse of the router's own; the stable id also ends the DETAIL.
pub(super) fn error_response(out: &mut bytes::BytesMut, severity: Severity, error: &RouterError) {
    let detail = match (&error.detail, error.id) {
        (Some(detail), "") => detail.clone(),
        (Some(detail), id) => format!("{detail} [{id}]"),
        (None, "") => String::new(),
        (None, id) => format!("[{id}]"),
    };
    let report = Report {
        severity,
        sqlstate: error.sqlstate,
        message: &error.message,
        detail: &detail,
        hint: error.hint.as_deref().unwrap_or(""),
        position: error.position,
        routine: error.id,
    };
    write::error_response(out, &report);
}

/// With transaction pooling the connection may have served another client in between, whose value
/// would be the answer.
fn session_sequence() -> RouterError {
    RouterError::unsupported(
        "session-sequence",
        "currval and lastval of a local table's sequence need a session of their own",
    )
    .detail("Server connections pass between clients from one transaction to the next.")
    .hint("Use INSERT ... RETURNING or nextval, or set pool.mode = \"session\".")
}

/// What PostgreSQL takes in a failed transaction.
fn ends_transaction(plan: &Plan) -> bool {
    matches!(
        plan.action,
        Action::Session(
            SessionCommand::Commit { .. }
                | SessionCommand::Rollback { .. }
                | SessionCommand::RollbackToSavepoint(_)
        )
    )
}

/// The label of a plan in the metrics.
pub(super) fn kind(plan: &Plan) -> PlanKind {
    match &plan.action {
        Action::Session(_) => PlanKind::Session,
        Action::AnyShard => PlanKind::AnyShard,
        Action::Home | Action::Temporary(_) => PlanKind::Home,
        Action::ByKey(_) => PlanKind::SingleShard,
        Action::Split(_) => PlanKind::Split,
        Action::Scatter(scatter) if scatter.routes.any() => PlanKind::ByEntry,
        Action::Scatter(_) => PlanKind::Scatter,
        Action::Gather(_) => PlanKind::Gather,
        Action::InsertRows(_) | Action::InParts(_) | Action::Upsert(_) => PlanKind::Split,
        Action::Broadcast(_) => PlanKind::Broadcast,
        Action::Ddl(_) => PlanKind::Ddl,
        Action::Copy(_) => PlanKind::Copy,
        Action::Cluster(_) => PlanKind::Cluster,
        Action::Explain(_) => PlanKind::Explain,
        Action::WithEntries(inner) => kind(inner),
        Action::Refuse(_) => PlanKind::Refused,
    }
}
