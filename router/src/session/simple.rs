//! The simple query protocol.

use std::rc::Rc;

use topology::ShardId;

use super::fault::{Fault, LOST};
use super::planning::OneShard;
use super::relay::Stopped;
use super::slots::Slot;
use super::state::Session;
use super::transaction::State;
use crate::error::RouterError;
use crate::metrics::{CommitKind, PlanKind};
use crate::parse::{self, Statement};
use crate::plan::{Action, Effect, Plan, SessionCommand};
use crate::route::Arguments;

impl Session {
    /// One Query message. The usual statement of a known shape, with one key, is sent on at once.
    pub(super) async fn simple_query(&mut self, message: &[u8]) -> Result<(), Fault> {
        self.refresh_space();
        if self.dumps
            && let Some(text) = query_text(message).and_then(super::dump::changed)
        {
            let mut changed = bytes::BytesMut::new();
            wire::frontend::write::query(&mut changed, text.as_bytes());
            return Box::pin(self.other_query(&changed)).await;
        }
        if self.in_pipeline() {
            return Box::pin(self.query_in_pipeline(message)).await;
        }
        if let Some((shard, plan)) = self.known_shape(message) {
            let started = self.started();
            let outcome = self.forward_query(shard, message, &plan).await;
            let text = message.get(5..).unwrap_or_default();
            self.finished(started, PlanKind::SingleShard, text);
            return match outcome {
                Ok(()) => Ok(()),
                Err(fault) => Box::pin(self.query_failed(message, fault)).await,
            };
        }
        match self.known_text(message) {
            Some(plan) if self.commits_one_branch(&plan) => self.forward_commit(message).await,
            Some(plan) if self.begins(&plan) => self.answer_begin(&plan).await,
            _ => Box::pin(self.other_query(message)).await,
        }
    }

    /// Ends a Query that one shard was to answer: it is routed again, or the client is told.
    async fn query_failed(&mut self, message: &[u8], fault: Fault) -> Result<(), Fault> {
        match self.may_route_again(&fault).await {
            true => self.other_query(message).await,
            false => self.answer_fault_and_ready(fault).await,
        }
    }

    /// Extended messages were sent that no Sync has followed.
    fn in_pipeline(&self) -> bool {
        let around = self.transaction.implicit && self.transaction.state != State::Idle;
        around || self.extended.is_under_way()
    }

    /// A Query in place of Sync: PostgreSQL answers what came before it, and the string belongs to
    /// the pipeline's implicit transaction and ends it.
    async fn query_in_pipeline(&mut self, message: &[u8]) -> Result<(), Fault> {
        match self.take_over().await {
            Ok(()) => self.other_query(message).await,
            // All is skipped up to Sync: the Query, too.
            Err(fault) => self.extended_fault(fault, false).await,
        }
    }

    /// The plan of the whole text, where it was planned before.
    fn known_text(&self, message: &[u8]) -> Option<Rc<Plan>> {
        if !self.temporaries.is_empty() {
            return None;
        }
        let text = query_text(message).filter(|text| self.encoding_is_safe(text))?;
        self.current_space()
            .by_text(text.trim_ascii().trim_end_matches(';'))
    }

    /// BEGIN outside a transaction.
    fn begins(&self, plan: &Plan) -> bool {
        let begin = matches!(plan.action, Action::Session(SessionCommand::Begin { .. }));
        begin && self.transaction.state == State::Idle
    }

    async fn answer_begin(&mut self, plan: &Plan) -> Result<(), Fault> {
        if let Action::Session(SessionCommand::Begin {
            modes,
            isolation,
            start_transaction,
        }) = &plan.action
        {
            self.begin_transaction(modes, *isolation, *start_transaction)?;
        }
        self.answer_ready().await
    }

    /// COMMIT of a transaction that lives on one shard: that shard's own COMMIT is all of it.
    fn commits_one_branch(&self, plan: &Plan) -> bool {
        let transaction = &self.transaction;
        matches!(
            plan.action,
            Action::Session(SessionCommand::Commit { chain: false })
        ) && transaction.ends_on_one_branch()
    }

    async fn forward_commit(&mut self, message: &[u8]) -> Result<(), Fault> {
        self.failed = false;
        if self.transaction.branches[0].wrote {
            self.pass_gate().await;
        }
        self.slots.push_back(Slot::query(false));
        let branch = &mut self.transaction.branches[0];
        let wrote = branch.wrote;
        branch.server.queue_query_message(message);
        branch.server.count_statement();
        let began = self.started();
        match self.relay(0).await {
            Ok(_) => {
                if wrote && !self.failed {
                    self.metrics
                        .committed(CommitKind::OneShard, began.elapsed());
                }
                self.after_ready(0).await;
                Ok(())
            }
            Err(fault) => Box::pin(self.commit_lost(fault)).await,
        }
    }

    /// The connection broke while its shard committed: the transaction is over, one way or the other.
    async fn commit_lost(&mut self, fault: Fault) -> Result<(), Fault> {
        let branch = &self.transaction.branches[0];
        let fault = match fault {
            Fault::Router(error) if branch.wrote && error.sqlstate == LOST => {
                super::execute::commit_unknown(branch.server.shard).into()
            }
            other => other,
        };
        self.answer_fault(fault)?;
        self.drop_broken_branches();
        self.roll_back().await;
        self.answer_ready().await
    }

    /// Finds the plan by the text's shape, and the shard by its key.
    fn known_shape(&self, message: &[u8]) -> Option<(ShardId, Rc<Plan>)> {
        if self.transaction.state == State::Failed || !self.temporaries.is_empty() {
            return None;
        }
        let text = query_text(message)?;
        if !self.encoding_is_safe(text) {
            return None;
        }
        let mut shape = self.worker.shape.borrow_mut();
        shape.read(text).ok()?;
        let plan = self.current_space().by_shape(&shape.key)?;
        if self.asks_standbys() {
            self.choose_source(&plan, text);
        }
        let arguments = Arguments::Shape {
            text,
            literals: &shape.literals,
        };
        match self.one_shard(&plan, arguments) {
            OneShard::Shard(shard) if !plan.effect.pins => {
                self.worker.metrics.plan_cache_hits.increment();
                Some((shard, plan))
            }
            _ => None,
        }
    }

    /// Sends the Query as it is to one shard and passes the reply on.
    async fn forward_query(
        &mut self,
        shard: ShardId,
        message: &[u8],
        plan: &Plan,
    ) -> Result<(), Fault> {
        let effect = plan.effect;
        let index = match self.joined(shard).await {
            Err(fault) => Box::pin(self.joined_elsewhere(plan, fault)).await?,
            done => done?,
        };
        if effect.writes {
            self.pass_gate_alone().await;
        }
        self.slots.push_back(Slot::query(false));
        let branch = &mut self.transaction.branches[index];
        branch.wrote |= effect.writes;
        branch.unpreparable |= effect.unpreparable;
        branch.server.queue_query_message(message);
        branch.server.count_statement();
        match self.relay(index).await? {
            Stopped::CopyIn => self.begin_copy(index),
            Stopped::Done => self.after_ready(index).await,
        }
        Ok(())
    }

    /// The shard's ReadyForQuery has gone to the client: follow what it says.
    pub(super) async fn after_ready(&mut self, index: usize) {
        match self.transaction.branches[index].server.status {
            b'I' => {
                if self.transaction.state == State::Idle {
                    self.release().await;
                } else {
                    Box::pin(self.transaction_ended_by_shard()).await;
                }
            }
            b'E' => {
                self.transaction.state = State::Failed;
                if self.transaction.branches.len() > 1 {
                    Box::pin(self.let_go_of_locks()).await;
                }
            }
            _ => {}
        }
    }

    /// Everything but a single known statement.
    async fn other_query(&mut self, message: &[u8]) -> Result<(), Fault> {
        let before = self.out.len();
        let mut outcome = self.query_string(message).await;
        if let Err(fault) = &outcome
            && self.out.len() == before
            && Box::pin(self.may_route_again(fault)).await
        {
            outcome = self.query_string(message).await;
        }
        match outcome {
            Ok(()) if self.copy.is_some() => Ok(()),
            Ok(()) => self.answer_ready().await,
            Err(fault) => self.answer_fault_and_ready(fault).await,
        }
    }

    /// Runs the statements of a Query; all but the ReadyForQuery.
    async fn query_string(&mut self, message: &[u8]) -> Result<(), Fault> {
        let text = query_text(message).ok_or_else(|| self.unreadable_text(message))?;
        if !self.encoding_is_safe(text) {
            return Err(client_encoding().into());
        }
        let mut statements = parse::parse(text)?;
        match statements.len() {
            0 => {
                wire::backend::write::empty_query_response(&mut self.out);
                Ok(())
            }
            1 => {
                let statement = statements.remove(0);
                let plan = self.plan_simple(text, &statement);
                self.simple_statement(&statement, &plan, false).await?;
                self.commit_implicit().await
            }
            _ => self.several_statements(message, &statements).await,
        }
    }

    /// Plans a single statement and keeps the plan by shape where that is sound.
    fn plan_simple(&self, text: &str, statement: &Statement) -> Rc<Plan> {
        if self.temporaries.is_empty()
            && let Some(plan) = self.current_space().by_text(&statement.text)
        {
            return plan;
        }
        let plan = self.plan_statement(statement);
        if self.temporaries.is_empty() {
            self.current_space().keep_text(&statement.text, &plan);
            let mut shape = self.worker.shape.borrow_mut();
            if plan.by_shape && shape.read(text).is_ok() {
                self.current_space().keep_shape(&shape.key, &plan);
            }
        }
        plan
    }

    /// One statement of a simple query; its reply without ReadyForQuery.
    pub(super) async fn simple_statement(
        &mut self,
        statement: &Statement,
        plan: &Rc<Plan>,
        in_string: bool,
    ) -> Result<(), Fault> {
        self.admit(plan)?;
        self.choose_source(plan, &statement.text);
        self.answer_notices(plan);
        let started = self.started();
        let outcome = match self.one_shard(plan, Arguments::Whole) {
            OneShard::Shard(shard) => {
                let index = match self.joined(shard).await {
                    Err(fault) => Box::pin(self.joined_elsewhere(plan, fault)).await?,
                    done => done?,
                };
                self.note_effect(index, plan.effect);
                if plan.effect.writes {
                    self.pass_gate_alone().await;
                }
                let server = &mut self.transaction.branches[index].server;
                server.queue_query(in_place(statement).as_bytes());
                server.count_statement();
                self.relay_query(index).await
            }
            OneShard::No => {
                let invocation = super::execute::Invocation::Simple {
                    text: &statement.text,
                };
                self.execute(plan, &invocation, in_string).await
            }
        };
        let text = statement.text.as_bytes();
        self.finished(started, super::answer::kind(plan), text);
        outcome
    }

    /// Passes on the reply to a Query whose ReadyForQuery the router sends itself.
    pub(super) async fn relay_query(&mut self, index: usize) -> Result<(), Fault> {
        self.slots.push_back(Slot::query(true));
        self.failed = false;
        if self.relay(index).await? == Stopped::CopyIn {
            self.flush().await?;
            self.begin_copy(index);
            return Ok(());
        }
        self.after_ready(index).await;
        if self.failed {
            Err(Fault::AlreadyTold)
        } else {
            Ok(())
        }
    }

    /// `a; b; c`: one implicit transaction around all that is not inside an explicit one.
    async fn several_statements(
        &mut self,
        message: &[u8],
        statements: &[Statement],
    ) -> Result<(), Fault> {
        if let Some((shard, effect)) = self.all_on_one_shard(statements) {
            let index = self.joined(shard).await?;
            self.note_effect(index, effect);
            if effect.writes {
                self.pass_gate_alone().await;
            }
            let started = self.started();
            let server = &mut self.transaction.branches[index].server;
            server.queue_query_message(message);
            server.count_statement();
            let outcome = self.relay_query(index).await;
            let text = message.get(5..).unwrap_or_default();
            self.finished(started, PlanKind::SingleShard, text);
            return outcome;
        }
        for statement in statements {
            let plan = self.plan_statement(statement);
            self.open_implicit(&plan);
            if let Err(fault) = self.simple_statement(statement, &plan, true).await {
                return Err(self.abort_implicit(fault).await);
            }
            if self.copy.is_some() {
                return Err(RouterError::unsupported(
                    "copy-in-string",
                    "COPY FROM STDIN in a string of several statements is not supported",
                )
                .detail(
                    "The other statements of the string need several shards or the router itself.",
                )
                .hint("Send COPY as a statement of its own.")
                .into());
            }
        }
        self.commit_implicit().await
    }

    /// All statements are plain and go to one shard: then the string is sent as it is.
    fn all_on_one_shard(&self, statements: &[Statement]) -> Option<(ShardId, Effect)> {
        let mut shard = None;
        let mut effect = Effect::default();
        let mut may_lag = self.asks_standbys();
        for statement in statements {
            let plan = self.plan_statement(statement);
            may_lag = may_lag && self.may_run_on_standby(&plan, &statement.text);
            if !plan.notices.is_empty()
                || plan.effect.pins
                || self.transaction.state == State::Failed
                || self.admit(&plan).is_err()
            {
                return None;
            }
            let OneShard::Shard(target) = self.one_shard(&plan, Arguments::Whole) else {
                return None;
            };
            let is_free = matches!(plan.action, crate::plan::Action::AnyShard);
            if !is_free && *shard.get_or_insert(target) != target {
                return None;
            }
            effect.writes |= plan.effect.writes;
            effect.unpreparable |= plan.effect.unpreparable;
        }
        if self.asks_standbys() {
            self.choose(may_lag);
        }
        Some((shard.unwrap_or_else(|| self.any_shard()), effect))
    }

    /// Around statements of a string there is a transaction, unless they end or begin one themselves.
    fn open_implicit(&mut self, plan: &Plan) {
        let Action::Session(command) = &plan.action else {
            return self.open_around();
        };
        if !command.is_transaction_control() {
            self.open_around();
        }
    }

    /// The string ends: what it has opened is committed, and only then its last statement has
    /// succeeded.
    pub(super) async fn commit_implicit(&mut self) -> Result<(), Fault> {
        let is_open = self.transaction.implicit && self.transaction.state == State::Open;
        if !is_open || self.copy.is_some() {
            return Ok(());
        }
        let complete = self.take_complete();
        self.commit().await?;
        self.out.extend_from_slice(&complete);
        Ok(())
    }

    /// Takes back the CommandComplete at the end of what waits for the client.
    pub(super) fn take_complete(&mut self) -> bytes::BytesMut {
        let mut position = 0;
        while let Ok(Some(header)) =
            wire::header::peek(&self.out[position..], wire::header::MAX_MESSAGE)
        {
            let end = position + header.length;
            if end == self.out.len() && header.tag == wire::backend::tag::COMMAND_COMPLETE {
                return self.out.split_off(position);
            }
            if end >= self.out.len() {
                break;
            }
            position = end;
        }
        bytes::BytesMut::new()
    }

    /// A statement of the string has failed: what it has opened is rolled back.
    async fn abort_implicit(&mut self, fault: Fault) -> Fault {
        if self.transaction.implicit {
            self.drop_broken_branches();
            return self.roll_back_for(fault).await;
        }
        fault
    }

    /// The text of a Query in another encoding than UTF-8 cannot be read exactly.
    fn unreadable_text(&self, message: &[u8]) -> Fault {
        if message.last() != Some(&0) {
            return wire::frontend::Query::parse(&message[5..])
                .err()
                .map_or_else(|| client_encoding().into(), Fault::from);
        }
        client_encoding().into()
    }

    /// Statements are read as UTF-8 with `standard_conforming_strings` on; otherwise only ASCII, or
    /// text without a backslash, reads the same.
    pub(super) fn encoding_is_safe(&self, text: &str) -> bool {
        (self.utf8 || text.is_ascii()) && (self.conforming_strings || !text.contains('\\'))
    }

    pub(super) fn client_encoding_is_utf8(&self) -> bool {
        self.told
            .values
            .get("client_encoding")
            .is_none_or(|name| name == "UTF8")
    }
}

/// The statement's text with as many spaces ahead as there was other text, so that the positions in
/// a shard's errors are those of the client's own string.
fn in_place(statement: &Statement) -> std::borrow::Cow<'_, str> {
    const LONGEST: usize = 64 * 1024;
    match usize::try_from(statement.characters_before) {
        Ok(before) if before > 0 && before < LONGEST => {
            format!("{:before$}{}", "", statement.text).into()
        }
        _ => statement.text.as_str().into(),
    }
}

/// The text of a Query message, where it is UTF-8.
fn query_text(message: &[u8]) -> Option<&str> {
    let text = message.get(5..)?.strip_suffix(b"\0")?;
    std::str::from_utf8(text)
        .ok()
        .filter(|text| !text.as_bytes().contains(&0))
}

pub(super) fn client_encoding() -> RouterError {
    RouterError::unsupported(
        "client-encoding",
        "this statement cannot be read exactly with the session's settings",
    )
    .detail(
        "The router reads statements as UTF-8 with standard_conforming_strings on, to find their keys \
         and names; this one has characters outside ASCII, or backslashes.",
    )
    .hint(
        "SET client_encoding TO 'UTF8' and standard_conforming_strings TO on, or pass the value as a \
         parameter.",
    )
}
