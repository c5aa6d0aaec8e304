//! Statements that the session itself answers or records.

use std::rc::Rc;

use super::super::fault::Fault;
use super::super::state::Session;
use super::super::transaction::{LogEntry, State};
use super::Invocation;
use crate::error::RouterError;
use crate::plan::{DiscardTarget, Isolation, Plan, SessionCommand};
use crate::settings::CHARACTERISTICS;

impl Session {
    pub(in crate::session) async fn session_command(
        &mut self,
        command: &SessionCommand,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        use SessionCommand as C;
        match command {
            C::Begin {
                modes,
                isolation,
                start_transaction,
            } => self.begin_transaction(modes, *isolation, *start_transaction),
            C::Commit { chain } => self.commit_command(*chain).await,
            C::Rollback { chain } => self.rollback_command(*chain).await,
            C::Savepoint(name) => self.savepoint(name).await,
            C::ReleaseSavepoint(name) => self.release_savepoint(name).await,
            C::RollbackToSavepoint(name) => self.rollback_to_savepoint(name).await,
            C::Set { name, local, text } => self.set_command(name, *local, text, invocation).await,
            C::SetFromParameter {
                name,
                local,
                parameter,
                ..
            } => {
                let value = text_parameter(invocation, *parameter)?;
                self.set_from_parameter(name, *local, &value, invocation)
                    .await
            }
            C::Reset { name } => self.reset_command(name, invocation).await,
            C::ResetAll => self.reset_all_command(invocation).await,
            C::SetTransaction {
                text,
                isolation,
                session,
            } => {
                self.set_transaction(text, *isolation, *session, invocation)
                    .await
            }
            C::SetConstraints { text } => self.set_constraints(text, invocation).await,
            C::Show { .. } => self.run_anywhere(invocation.text(), invocation).await,
            C::DiscardAll => self.discard_all(invocation).await,
            C::Discard(target) => self.discard(*target, invocation).await,
            C::Prepare {
                name,
                argument_types,
                text,
            } => self.sql_prepare(name, argument_types, text).await,
            C::Execute { name, arguments } => self.sql_execute(name, arguments, invocation).await,
            C::Deallocate(name) => self.sql_deallocate(name.as_deref()),
            C::DeclareCursor(declared) => self.declare_cursor(declared, plan, invocation).await,
            C::Fetch {
                cursor,
                step,
                is_move,
                text,
            } => {
                self.fetch(cursor, (*step, *is_move), text, invocation)
                    .await
            }
            C::AtCursor { cursor } => self.at_cursor(cursor, plan, invocation).await,
            C::CloseCursor(name) => self.close_cursor(name.as_deref(), invocation).await,
            C::Listen(_) | C::Unlisten(_) => self.run_at_home(plan, invocation).await,
            C::LockTable { text } => self.lock_table(text, invocation).await,
        }
    }

    /// On the home shard, with the reply for the client.
    pub(super) async fn run_at_home(
        &mut self,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let home = self.home();
        let index = self.joined(home).await?;
        self.note_effect(index, plan.effect);
        self.forward_text(index, invocation.text(), invocation)
            .await?;
        Ok(())
    }

    /// `SET TRANSACTION`: for the open transaction; before any shard has joined it is only noted.
    async fn set_transaction(
        &mut self,
        text: &str,
        isolation: Option<Isolation>,
        session: bool,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if session {
            return self
                .set_command(CHARACTERISTICS, false, text, invocation)
                .await;
        }
        self.run_on_all_joined(text, invocation).await?;
        if self.transaction.state != State::Idle {
            self.transaction
                .log
                .push(LogEntry::Characteristic(text.to_owned()));
            if let Some(isolation) = isolation {
                self.transaction.isolation = isolation;
            }
        }
        Ok(())
    }

    async fn set_constraints(
        &mut self,
        text: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if !self.transaction.owes || self.transaction.state != State::Open {
            return self.constraints_set(text, invocation).await;
        }
        // What is due from now on is looked into before the client is told.
        self.held_complete = Some(bytes::BytesMut::new());
        let outcome = self.constraints_set(text, invocation).await;
        let held = self.held_complete.take().unwrap_or_default();
        outcome?;
        let complete = match held.is_empty() {
            true => self.take_complete(),
            false => held,
        };
        Box::pin(self.settle()).await?;
        self.out.extend_from_slice(&complete);
        Ok(())
    }

    async fn constraints_set(
        &mut self,
        text: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        self.run_on_all_joined(text, invocation).await?;
        if self.transaction.state != State::Idle {
            self.transaction
                .log
                .push(LogEntry::Statement(text.to_owned()));
        }
        Ok(())
    }

    async fn discard_all(&mut self, invocation: &Invocation<'_>) -> Result<(), Fault> {
        if self.transaction.state != State::Idle {
            let text = "DISCARD ALL cannot run inside a transaction block";
            return Err(RouterError::new("25001", text).into());
        }
        self.extended.named.clear();
        self.extended.unnamed = None;
        self.last_ids.clear();
        self.last_id = None;
        self.temporaries.clear();
        self.cursors.clear();
        self.settings = Rc::clone(&self.base);
        let home = self.home();
        let index = match self.pinned {
            true => self.joined(home).await?,
            false => self.joined_anywhere().await?,
        };
        self.forward_text(index, invocation.text(), invocation)
            .await?;
        let server = &mut self.transaction.branches[index].server;
        server.prepared.clear();
        server.settings = self.worker.plain_settings();
        self.apply_settings(index).await?;
        self.tell_parameters(index);
        self.pinned = false;
        self.followed_changed().await
    }

    async fn discard(
        &mut self,
        target: DiscardTarget,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        match target {
            DiscardTarget::Plans => self.answer_complete("DISCARD PLANS"),
            DiscardTarget::Sequences => {
                self.last_ids.clear();
                self.last_id = None;
                self.answer_complete("DISCARD SEQUENCES");
            }
            DiscardTarget::Temporary => {
                let home = self.home();
                let index = self.joined(home).await?;
                self.forward_text(index, invocation.text(), invocation)
                    .await?;
                self.temporaries.clear();
            }
        }
        Ok(())
    }

    /// LOCK TABLE on every shard, in shard order, so that two of them cannot lock crosswise.
    async fn lock_table(&mut self, text: &str, invocation: &Invocation<'_>) -> Result<(), Fault> {
        if self.transaction.state == State::Idle {
            self.require_transaction("LOCK TABLE")?;
        }
        let shards = self.space.state.map.shards().to_vec();
        for (position, shard) in shards.iter().enumerate() {
            let index = self.joined(*shard).await?;
            if position + 1 == shards.len() {
                self.forward_text(index, text, invocation).await?;
            } else {
                self.run_quietly(index, text).await?;
            }
        }
        Ok(())
    }

    /// Runs a statement of the router's own on one branch.
    pub(in crate::session) async fn run_quietly(
        &mut self,
        index: usize,
        sql: &str,
    ) -> Result<Vec<Vec<Option<String>>>, Fault> {
        self.finish_begin(index).await?;
        let branch = &mut self.transaction.branches[index];
        let outcome = branch.server.query(sql, &self.worker.parameters).await;
        if branch.server.status == b'E' {
            self.transaction.state = State::Failed;
        }
        Ok(outcome?)
    }

    /// `BEGIN` that was queued ahead of the client's message is run now, on its own.
    pub(in crate::session) async fn finish_begin(&mut self, index: usize) -> Result<(), Fault> {
        if self.slots.is_empty() {
            return Ok(());
        }
        wire::frontend::write::sync(&mut self.transaction.branches[index].server.outbuf);
        self.slots
            .push_back(super::super::slots::Slot::Sync { hidden: true });
        self.failed = false;
        self.relay(index).await?;
        if self.failed {
            Err(Fault::AlreadyTold)
        } else {
            Ok(())
        }
    }
}

fn text_parameter(invocation: &Invocation<'_>, number: u16) -> Result<String, Fault> {
    let Invocation::Extended { bind, .. } = invocation else {
        return Err(RouterError::new("08P01", "a parameter without a Bind").into());
    };
    let value = bind.parameter(usize::from(number).saturating_sub(1));
    match value {
        Some((_, Some(bytes))) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        _ => Ok(String::new()),
    }
}
