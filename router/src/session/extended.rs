//! The extended query protocol: Parse, Bind, Describe, Execute, Close, Flush, Sync.
//!
//! While everything between two Syncs goes to one shard, messages are sent on as they come, under
//! the router's own statement names, and PostgreSQL's implicit transaction holds. When another
//! shard or the router itself is needed, what was sent is drained first and the implicit
//! transaction becomes an explicit one (PostgreSQL lets BEGIN do that with work already done).

use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use schema::oids::Direction;
use topology::ShardId;
use wire::frontend::{self, StatementOrPortal, tag as t, write};

use super::execute::Invocation;
use super::fault::Fault;
use super::oids::rows::RowOids;
use super::planning::OneShard;
use super::relay::Stopped;
use super::slots::{Answer, Slot};
use super::state::Session;
use super::transaction::State;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::{Action, Plan};
use crate::route::Arguments;

/// A client's prepared statement.
#[derive(Debug)]
pub struct Prepared {
    pub identity: Rc<StatementIdentity>,
    /// As shards get it, where the router fills in ids: parameters follow the client's own.
    pub rewritten: Option<Rc<StatementIdentity>>,
    pub plan: Rc<Plan>,
    /// Catalog version that `plan` was made under.
    pub version: u64,
    /// Made by SQL PREPARE, not by Parse.
    pub by_sql: bool,
}

impl Prepared {
    /// The statement as shards get it.
    pub fn sent(&self) -> &Rc<StatementIdentity> {
        self.rewritten.as_ref().unwrap_or(&self.identity)
    }

    /// COPY, in either direction.
    fn is_copy(&self) -> bool {
        let text = self.identity.text.trim_ascii_start().as_bytes();
        text.get(..4)
            .is_some_and(|word| word.eq_ignore_ascii_case(b"copy"))
    }

    /// How many parameters the client may hear of, where a shard knows more.
    fn own_parameters(&self) -> Option<u16> {
        let Action::ByKey(by_key) = &self.plan.action else {
            return None;
        };
        let rewrite = by_key.rewrite.as_ref()?;
        let own = super::execute::client_parameters(rewrite, &self.identity.types);
        Some(u16::try_from(own).unwrap_or(u16::MAX))
    }
}

/// In place of a catalog version: the plan depends on what only this session sees now (temporary
/// relations, the catalog of its open transaction), and is made anew each time.
const OWN_PLAN: u64 = u64::MAX;

/// A bound statement.
#[derive(Debug)]
pub enum Portal {
    /// It lives on this shard under its own name.
    OnShard {
        shard: ShardId,
        /// What must be rewritten in its rows.
        rows: Option<Rc<RowOids>>,
    },
    /// The router runs it: the whole Bind message is kept.
    Here {
        prepared: Rc<Prepared>,
        bind: Bytes,
        progress: Progress,
    },
}

/// How far a portal that the router runs has come.
#[derive(Debug)]
pub enum Progress {
    Fresh,
    /// It has run; what the client has not yet fetched.
    Fetched(super::execute::Remainder),
    /// It has run, and gives nothing more.
    Done,
}

/// State of the extended protocol.
#[derive(Debug, Default)]
pub struct Extended {
    pub named: FxHashMap<Box<[u8]>, Rc<Prepared>>,
    pub unnamed: Option<Rc<Prepared>>,
    portals: FxHashMap<Box<[u8]>, Portal>,
    unnamed_portal: Option<Portal>,
    /// What was bound last on a shard since the last Sync.
    bound: Option<Rc<Prepared>>,
    /// A Parse that was not yet sent: the Bind that follows tells the shard.
    waiting: Option<(Box<[u8]>, Rc<Prepared>)>,
    /// The branch with messages under way, not yet synced.
    active: Option<usize>,
    /// After an error all is skipped up to the next Sync.
    pub skipping: bool,
    /// The pipeline has failed: at Sync it is rolled back.
    pub(super) failed: bool,
}

impl Extended {
    pub fn get(&self, name: &[u8]) -> Option<&Rc<Prepared>> {
        if name.is_empty() {
            self.unnamed.as_ref()
        } else {
            self.named.get(name)
        }
    }

    /// The client's name of the statement that servers know as `server_name`.
    pub(super) fn name_of(&self, server_name: &[u8]) -> Option<&[u8]> {
        let mut named = self.named.iter();
        let found = named.find(|(_, prepared)| *prepared.sent().server_name == *server_name);
        found.map(|(name, _)| &**name)
    }

    pub(super) fn put_portal(&mut self, name: &[u8], portal: Portal) {
        if name.is_empty() {
            self.unnamed_portal = Some(portal);
        } else {
            self.portals.insert(name.into(), portal);
        }
    }

    fn portal(&self, name: &[u8]) -> Option<&Portal> {
        if name.is_empty() {
            self.unnamed_portal.as_ref()
        } else {
            self.portals.get(name)
        }
    }

    pub(super) fn take_portal(&mut self, name: &[u8]) -> Option<Portal> {
        if name.is_empty() {
            self.unnamed_portal.take()
        } else {
            self.portals.remove(name)
        }
    }

    /// An error has ended the pipeline: what waited in it is forgotten.
    pub(super) fn abandon(&mut self) {
        self.active = None;
        if let Some((name, _)) = self.waiting.take() {
            self.named.remove(&name);
        }
    }

    pub(super) fn make_active(&mut self, index: usize) {
        self.active = Some(index);
    }

    /// The branch with messages under way.
    pub(super) fn active(&self) -> Option<usize> {
        self.active
    }

    /// A Parse waits to be sent, or a branch has messages that no Sync has followed.
    pub(super) fn is_under_way(&self) -> bool {
        self.active.is_some() || self.waiting.is_some()
    }

    /// Portals end with their transaction.
    pub fn forget_portals(&mut self) {
        self.unnamed_portal = None;
        if !self.portals.is_empty() {
            self.portals.clear();
        }
    }
}

impl Session {
    pub(super) async fn extended_message(&mut self, tag: u8, message: &[u8]) -> Result<(), Fault> {
        if self.extended.skipping && tag != t::SYNC {
            return Ok(());
        }
        let outcome = match tag {
            t::PARSE => self.parse_after_others(message).await,
            t::BIND => self.bind_message(message).await,
            t::DESCRIBE => self.describe_message(message).await,
            t::EXECUTE => self.execute_message(message).await,
            t::CLOSE => self.close_message(message).await,
            t::FLUSH => self.flush_message().await,
            _ => self.sync_message().await,
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(fault) => Box::pin(self.extended_fault(fault, tag == t::SYNC)).await,
        }
    }

    async fn parse_after_others(&mut self, message: &[u8]) -> Result<(), Fault> {
        if self.extended.waiting.is_some() {
            self.flush_waiting().await?;
        }
        self.parse_message(message)
    }

    fn parse_message(&mut self, message: &[u8]) -> Result<(), Fault> {
        let parse = frontend::Parse::parse(&message[5..])?;
        self.refresh_space();
        let text =
            std::str::from_utf8(parse.query).map_err(|_| super::simple::client_encoding())?;
        if !self.encoding_is_safe(text) {
            return Err(super::simple::client_encoding().into());
        }
        if !parse.name.is_empty() && self.extended.named.contains_key(parse.name) {
            return Err(already_exists(parse.name).into());
        }
        let plan = self.plan_text(text)?;
        self.check_not_failed(&plan)?;
        let types: smallvec::SmallVec<[u32; 8]> = parse.parameter_types.iter().collect();
        let identity = self.identity(text, &types);
        let prepared = Rc::new(Prepared {
            rewritten: self.rewritten(&plan, &identity),
            identity,
            plan,
            version: self.plan_version(),
            by_sql: false,
        });
        self.remember(parse.name, &prepared)?;
        self.extended.waiting = Some((parse.name.into(), prepared));
        Ok(())
    }

    /// The identity of a text under the catalog of now.
    pub(super) fn identity(&self, text: &str, types: &[u32]) -> Rc<StatementIdentity> {
        let space = self.current_space();
        if let Some(known) = space.identity(text, types) {
            return known;
        }
        let identity = match &self.transaction.private {
            Some(_) => self.worker.own_statement(text, types),
            None => self.worker.statement(text, types, space.state.version),
        };
        space.keep_identity(&identity);
        identity
    }

    /// The catalog version that plans made now are good for.
    pub(super) fn plan_version(&self) -> u64 {
        if self.transaction.private.is_some() || self.plans_are_own() {
            OWN_PLAN
        } else {
            self.space.state.version
        }
    }

    pub(super) fn remember(&mut self, name: &[u8], prepared: &Rc<Prepared>) -> Result<(), Fault> {
        if name.is_empty() {
            self.extended.unnamed = Some(Rc::clone(prepared));
            return Ok(());
        }
        let limit = self.worker.config.limits.client_prepared_statements;
        if self.extended.named.len() >= limit {
            return Err(RouterError::new("53400", format!("more than {limit} prepared statements"))
                .hint("Close statements that are no longer used, or raise limits.client_prepared_statements.")
                .into());
        }
        self.extended.named.insert(name.into(), Rc::clone(prepared));
        Ok(())
    }

    /// The statement of that name, planned for the catalog of now.
    pub(super) fn prepared(&mut self, name: &[u8]) -> Result<Rc<Prepared>, Fault> {
        self.refresh_space();
        let known = self
            .extended
            .get(name)
            .ok_or_else(|| no_such_statement(name))?;
        let known = Rc::clone(known);
        if known.version == self.plan_version() && known.version != OWN_PLAN {
            return Ok(known);
        }
        let plan = self.plan_text(&known.identity.text)?;
        let renewed = Rc::new(Prepared {
            identity: Rc::clone(&known.identity),
            rewritten: self.rewritten(&plan, &known.identity),
            plan,
            version: self.plan_version(),
            by_sql: known.by_sql,
        });
        if name.is_empty() {
            self.extended.unnamed = Some(Rc::clone(&renewed));
        } else {
            self.extended.named.insert(name.into(), Rc::clone(&renewed));
        }
        Ok(renewed)
    }

    async fn bind_message(&mut self, message: &[u8]) -> Result<(), Fault> {
        let bind = frontend::Bind::parse(&message[5..])?;
        let prepared = self.prepared(bind.statement)?;
        let parsed_now = self.take_waiting(bind.statement).await?;
        self.check_not_failed(&prepared.plan)?;
        let arguments = Arguments::Bound {
            bind: &bind,
            types: &prepared.identity.types,
        };
        match self.one_shard(&prepared.plan, arguments) {
            OneShard::Shard(shard) => {
                let index = self.activate(shard).await?;
                self.note_effect(index, prepared.plan.effect);
                self.ensure_prepared(index, &prepared.identity, parsed_now, bind.statement)?;
                let identity = &prepared.identity;
                let rows = self.send_bind(index, &bind, identity, &[]).await?;
                self.extended
                    .put_portal(bind.portal, Portal::OnShard { shard, rows });
                self.extended.bound = Some(prepared);
                Ok(())
            }
            OneShard::No => Box::pin(self.bind_here(message, &bind, prepared, parsed_now)).await,
        }
    }

    /// A statement that the router runs itself, or whose text it changes.
    async fn bind_here(
        &mut self,
        message: &[u8],
        bind: &frontend::Bind<'_>,
        prepared: Rc<Prepared>,
        parsed_now: bool,
    ) -> Result<(), Fault> {
        if let Action::Refuse(error) = &prepared.plan.action {
            return Err(error.clone().into());
        }
        if let Some(portal) = self.bind_with_ids(bind, &prepared, parsed_now).await? {
            self.extended.put_portal(bind.portal, portal);
            self.extended.bound = Some(prepared);
            return Ok(());
        }
        if parsed_now {
            if !super::execute::tells_its_mistakes(&prepared.plan) {
                self.check_on_a_shard(&prepared).await?;
            }
            self.answer(Answer::ParseComplete);
        }
        self.answer(Answer::BindComplete);
        let kept = Bytes::copy_from_slice(message);
        self.extended.put_portal(
            bind.portal,
            Portal::Here {
                prepared,
                bind: kept,
                progress: Progress::Fresh,
            },
        );
        Ok(())
    }

    /// Sends a Bind under the server's name of the statement; gives what must be rewritten in its
    /// rows.
    pub(super) async fn send_bind(
        &mut self,
        index: usize,
        bind: &frontend::Bind<'_>,
        identity: &StatementIdentity,
        appended: &[(wire::Format, Option<&[u8]>)],
    ) -> Result<Option<Rc<RowOids>>, Fault> {
        if self.translates(index) {
            return Box::pin(self.bind_translated(index, bind, identity, appended)).await;
        }
        let server = &mut self.transaction.branches[index].server;
        let name = server_name(identity, bind.statement);
        bind.rewrite(&mut server.outbuf, bind.portal, name, appended)?;
        self.slots.push_back(Slot::Bind { hidden: false });
        Ok(None)
    }

    /// Has the statement prepared on the branch. `parsed_now`: the client waits for ParseComplete.
    ///
    /// A client's unnamed statement stays unnamed on the server, so that one-off texts do not fill
    /// its memory; the same text twice in a row is not parsed again.
    pub(super) fn ensure_prepared(
        &mut self,
        index: usize,
        identity: &Rc<StatementIdentity>,
        parsed_now: bool,
        client_name: &[u8],
    ) -> Result<(), Fault> {
        let version = self.space.state.version;
        let server = &mut self.transaction.branches[index].server;
        let there = if client_name.is_empty() {
            let unnamed = server.prepared.unnamed.as_ref();
            unnamed.is_some_and(|(known, at)| Rc::ptr_eq(known, identity) && *at == version)
        } else {
            server.prepared.touch(identity.number)
        };
        if there {
            if parsed_now {
                self.slots.push_back(Slot::Answer(Answer::ParseComplete));
            }
            return Ok(());
        }
        if client_name.is_empty() {
            server.prepared.unnamed = Some((Rc::clone(identity), version));
        } else if let Some(evicted) = server.prepared.insert(identity.number) {
            let name = format!("o{evicted}");
            write::close(
                &mut server.outbuf,
                StatementOrPortal::Statement,
                name.as_bytes(),
            );
            self.slots.push_back(Slot::Close { hidden: true });
        }
        let space = self.transaction.private.as_ref().unwrap_or(&self.space);
        let server = &mut self.transaction.branches[index].server;
        let oids = space.oids(server.shard);
        let name = server_name(identity, client_name);
        let types = identity.types.iter();
        let types =
            types.map(|oid| oids.map_or(*oid, |map| map.type_oid(*oid, Direction::FromHome)));
        write::parse(&mut server.outbuf, name, identity.text.as_bytes(), types)?;
        self.slots.push_back(Slot::Parse {
            number: identity.number,
            hidden: !parsed_now,
        });
        Ok(())
    }

    /// Whether a Parse of this statement is still to be answered. One of another statement is sent
    /// to any shard first.
    async fn take_waiting(&mut self, name: &[u8]) -> Result<bool, Fault> {
        match self.extended.waiting.take() {
            None => Ok(false),
            Some((waiting, _)) if &*waiting == name => Ok(true),
            Some(other) => {
                Box::pin(self.send_waiting(other)).await?;
                Ok(false)
            }
        }
    }

    /// Sends a Parse whose statement is not bound at once.
    async fn send_waiting(
        &mut self,
        (name, prepared): (Box<[u8]>, Rc<Prepared>),
    ) -> Result<(), Fault> {
        if !is_forwarded(&prepared) {
            if let Action::Refuse(error) = &prepared.plan.action {
                self.extended.named.remove(&name);
                return Err(error.clone().into());
            }
            self.check_on_a_shard(&prepared).await?;
            self.answer(Answer::ParseComplete);
            return Ok(());
        }
        let index = self.activate_for_description(&prepared).await?;
        self.ensure_prepared(index, prepared.sent(), true, &name)
    }

    pub(super) async fn flush_waiting(&mut self) -> Result<(), Fault> {
        match self.extended.waiting.take() {
            Some(waiting) => Box::pin(self.send_waiting(waiting)).await,
            None => Ok(()),
        }
    }

    /// The branch in use, else that of the shard which the plan needs in any case.
    async fn activate_for_description(&mut self, prepared: &Prepared) -> Result<usize, Fault> {
        match self.extended.active {
            Some(index) => Ok(index),
            None => {
                let needs_home =
                    matches!(prepared.plan.action, Action::Home | Action::Temporary(_));
                let shard = if needs_home {
                    self.home()
                } else {
                    self.any_shard()
                };
                self.activate(shard).await
            }
        }
    }

    /// Makes the branch of `shard` the one that messages go to.
    pub(super) async fn activate(&mut self, shard: ShardId) -> Result<usize, Fault> {
        if let Some(active) = self.extended.active {
            if self.transaction.branches[active].server.shard == shard {
                return Ok(active);
            }
            Box::pin(self.leave_active(active)).await?;
        }
        let index = self.joined(shard).await?;
        self.extended.active = Some(index);
        self.transaction.branches[index].unsynced = true;
        Ok(index)
    }

    /// Another shard, or the router, takes over: what is under way is drained, and a transaction of
    /// the server's own becomes an explicit one.
    async fn leave_active(&mut self, active: usize) -> Result<(), Fault> {
        if self.transaction.state == State::Idle {
            self.open_around();
            self.begin(active);
        }
        self.drain(active).await?;
        self.extended.active = None;
        Ok(())
    }

    /// Waits for the replies under way, without Sync.
    pub(super) async fn drain(&mut self, active: usize) -> Result<(), Fault> {
        if self.slots.is_empty() {
            return Ok(());
        }
        write::flush(&mut self.transaction.branches[active].server.outbuf);
        self.failed = false;
        self.relay(active).await?;
        if self.failed {
            Err(Fault::AlreadyTold)
        } else {
            Ok(())
        }
    }

    /// Before the router itself answers: everything sent so far is answered first.
    pub(super) async fn take_over(&mut self) -> Result<(), Fault> {
        self.flush_waiting().await?;
        match self.extended.active {
            Some(active) => self.leave_active(active).await,
            None => Ok(()),
        }
    }

    /// An answer of the router's, in its place among the shard's.
    pub(super) fn answer(&mut self, answer: Answer) {
        if self.slots.is_empty() {
            self.out.extend_from_slice(answer.bytes());
        } else {
            self.slots.push_back(Slot::Answer(answer));
        }
    }

    async fn describe_message(&mut self, message: &[u8]) -> Result<(), Fault> {
        let describe = frontend::Describe::parse(&message[5..])?;
        if describe.kind == StatementOrPortal::Statement {
            return Box::pin(self.describe_statement(describe.name)).await;
        }
        let declared = self.declared_cursor(describe.name);
        match self.extended.portal(describe.name).or(declared.as_ref()) {
            Some(Portal::OnShard { shard, .. }) => {
                let index = self.activate(*shard).await?;
                self.transaction.branches[index]
                    .server
                    .outbuf
                    .extend_from_slice(message);
                self.slots.push_back(Slot::DescribePortal { hidden: false });
                Ok(())
            }
            Some(Portal::Here { prepared, bind, .. }) => {
                let (prepared, bind) = (Rc::clone(prepared), bind.clone());
                Box::pin(self.describe_here(&prepared, Some(&bind))).await
            }
            None => Err(no_such_portal(describe.name).into()),
        }
    }

    async fn describe_statement(&mut self, name: &[u8]) -> Result<(), Fault> {
        let prepared = self.prepared(name)?;
        let parsed_now = self.take_waiting(name).await?;
        if let Action::Refuse(error) = &prepared.plan.action {
            return Err(error.clone().into());
        }
        if !is_forwarded(&prepared) {
            if parsed_now {
                self.check_on_a_shard(&prepared).await?;
                self.answer(Answer::ParseComplete);
            }
            return self.describe_here(&prepared, None).await;
        }
        let index = self.activate_for_description(&prepared).await?;
        self.ensure_prepared(index, prepared.sent(), parsed_now, name)?;
        let server = &mut self.transaction.branches[index].server;
        let server_name = server_name(prepared.sent(), name);
        write::describe(
            &mut server.outbuf,
            StatementOrPortal::Statement,
            server_name,
        );
        self.slots.push_back(Slot::DescribeStatement {
            parameters: prepared.own_parameters(),
            hidden: false,
            number: self.number_to_describe(prepared.sent()),
        });
        Ok(())
    }

    async fn execute_message(&mut self, message: &[u8]) -> Result<(), Fault> {
        let execute = frontend::Execute::parse(&message[5..])?;
        match self.extended.portal(execute.portal) {
            Some(Portal::OnShard { shard, rows }) => {
                let rows = rows.clone();
                let index = self.activate(*shard).await?;
                let server = &mut self.transaction.branches[index].server;
                server.outbuf.extend_from_slice(message);
                server.count_statement();
                self.rewrites_rows |= rows.is_some();
                self.slots.push_back(Slot::Execute {
                    hidden: false,
                    rows,
                });
                if self
                    .extended
                    .bound
                    .as_ref()
                    .is_some_and(|bound| bound.is_copy())
                {
                    // PostgreSQL tells at once that it wants data; the client may wait for that.
                    return Box::pin(self.flush_message()).await;
                }
                Ok(())
            }
            Some(Portal::Here { .. }) => {
                Box::pin(self.execute_here(execute.portal, execute.max_rows)).await
            }
            None => Err(no_such_portal(execute.portal).into()),
        }
    }

    async fn execute_here(&mut self, name: &[u8], max_rows: i32) -> Result<(), Fault> {
        if let Some(Portal::Here { prepared, .. }) = self.extended.portal(name) {
            let prepared = Rc::clone(prepared);
            if self.commit_in_pipeline(&prepared) {
                return Ok(());
            }
        }
        self.take_over().await?;
        let Some(Portal::Here {
            prepared,
            bind,
            progress,
        }) = self.extended.take_portal(name)
        else {
            return Err(no_such_portal(name).into());
        };
        self.check_not_failed(&prepared.plan)?;
        let progress = match progress {
            Progress::Fresh => self.run_portal(&prepared, &bind, max_rows).await?,
            Progress::Fetched(rest) => Progress::Fetched(self.more_rows(rest, at_most(max_rows))?),
            Progress::Done => return Err(ran_already(name).into()),
        };
        let portal = Portal::Here {
            prepared,
            bind,
            progress,
        };
        self.extended.put_portal(name, portal);
        Ok(())
    }

    /// The first Execute of a portal that the router runs.
    async fn run_portal(
        &mut self,
        prepared: &Rc<Prepared>,
        bind: &Bytes,
        max_rows: i32,
    ) -> Result<Progress, Fault> {
        self.answer_notices(&prepared.plan);
        let parsed = frontend::Bind::parse(&bind[5..])?;
        let invocation = Invocation::Extended {
            identity: &prepared.identity,
            bind: &parsed,
            max_rows: at_most(max_rows),
        };
        let plan = Rc::clone(&prepared.plan);
        if matches!(&plan.action, Action::Session(command) if command.changes_settings()) {
            // What follows in the pipeline may fail, and takes the setting back.
            self.open_around();
        }
        let started = self.started();
        let outcome = self.execute(&plan, &invocation, false).await;
        let text = prepared.identity.text.as_bytes();
        self.finished(started, super::answer::kind(&plan), text);
        outcome?;
        Ok(self
            .remainder
            .take()
            .map_or(Progress::Done, Progress::Fetched))
    }

    /// A cursor made by SQL DECLARE, which the protocol may describe and close as a portal of its name.
    fn declared_cursor(&self, name: &[u8]) -> Option<Portal> {
        let name = std::str::from_utf8(name).ok()?;
        let shard = *self.cursors.get(name)?;
        Some(Portal::OnShard { shard, rows: None })
    }

    /// The shard that a cursor named in SQL lives on, if there is such a cursor.
    pub(super) fn shard_of_cursor(&self, name: &str) -> Option<ShardId> {
        let bound = self.extended.portals.get(name.as_bytes());
        match bound.or(self.declared_cursor(name.as_bytes()).as_ref()) {
            Some(Portal::OnShard { shard, .. }) => Some(*shard),
            _ => None,
        }
    }

    async fn close_message(&mut self, message: &[u8]) -> Result<(), Fault> {
        let close = frontend::Close::parse(&message[5..])?;
        self.flush_waiting().await?;
        match close.kind {
            StatementOrPortal::Statement => {
                if close.name.is_empty() {
                    self.extended.unnamed = None;
                } else {
                    self.extended.named.remove(close.name);
                }
            }
            StatementOrPortal::Portal => {
                let declared = self.declared_cursor(close.name);
                let portal = self.extended.take_portal(close.name).or(declared);
                if let Ok(name) = std::str::from_utf8(close.name) {
                    self.cursors.remove(name);
                }
                if let Some(Portal::OnShard { shard, .. }) = portal {
                    let index = self.activate(shard).await?;
                    self.transaction.branches[index]
                        .server
                        .outbuf
                        .extend_from_slice(message);
                    self.slots.push_back(Slot::Close { hidden: false });
                    return Ok(());
                }
            }
        }
        self.answer(Answer::CloseComplete);
        Ok(())
    }

    pub(super) async fn flush_message(&mut self) -> Result<(), Fault> {
        self.flush_waiting().await?;
        if let Some(active) = self.extended.active {
            write::flush(&mut self.transaction.branches[active].server.outbuf);
            self.failed = false;
            if self.relay(active).await? == Stopped::CopyIn {
                self.begin_copy(active);
            }
            if self.failed {
                return Err(Fault::AlreadyTold);
            }
        }
        self.flush().await
    }

    async fn sync_message(&mut self) -> Result<(), Fault> {
        if self.extended.waiting.is_some() {
            self.flush_waiting().await?;
        }
        self.extended.skipping = false;
        let Some(active) = self.extended.active.take() else {
            return Box::pin(self.sync_here()).await;
        };
        let hidden = self.transaction.implicit;
        let branch = &mut self.transaction.branches[active];
        branch.unsynced = false;
        write::sync(&mut branch.server.outbuf);
        self.slots.push_back(Slot::Sync { hidden });
        self.failed = false;
        let started = self.started();
        let relayed = self.relay(active).await;
        if let Some(prepared) = self.extended.bound.take() {
            let text = prepared.identity.text.as_bytes();
            self.finished(started, super::answer::kind(&prepared.plan), text);
        }
        let stopped = relayed?;
        if stopped == Stopped::CopyIn {
            // While it waits for data PostgreSQL ignores Sync; the client sends another one after it.
            self.slots.pop_back();
            self.extended.active = Some(active);
            self.transaction.branches[active].unsynced = true;
            self.begin_copy(active);
            return Ok(());
        }
        if hidden {
            self.extended.failed |= self.failed;
            return Box::pin(self.sync_here()).await;
        }
        self.after_sync(active).await
    }

    pub(super) async fn after_sync(&mut self, active: usize) -> Result<(), Fault> {
        if self.transaction.state == State::Idle {
            self.extended.forget_portals();
        }
        self.after_ready(active).await;
        Ok(())
    }
}

/// Whether one text goes to one shard once its key is known: the client's own, or that with ids.
fn is_forwarded(prepared: &Prepared) -> bool {
    match &prepared.plan.action {
        Action::AnyShard | Action::Home => true,
        Action::ByKey(by_key) => by_key.rewrite.is_none() || prepared.rewritten.is_some(),
        _ => false,
    }
}

/// The client's unnamed statement is the server's unnamed one; others have the router's names.
pub(super) fn server_name<'a>(identity: &'a StatementIdentity, client_name: &[u8]) -> &'a [u8] {
    if client_name.is_empty() {
        b""
    } else {
        &identity.server_name
    }
}

fn already_exists(name: &[u8]) -> RouterError {
    let name = String::from_utf8_lossy(name);
    RouterError::new(
        "42P05",
        format!("prepared statement \"{name}\" already exists"),
    )
}

pub(super) fn no_such_statement(name: &[u8]) -> RouterError {
    if name.is_empty() {
        return RouterError::new("26000", "unnamed prepared statement does not exist");
    }
    let name = String::from_utf8_lossy(name);
    RouterError::new(
        "26000",
        format!("prepared statement \"{name}\" does not exist"),
    )
}

/// The row limit of an Execute message; `None`: all rows.
fn at_most(max_rows: i32) -> Option<usize> {
    usize::try_from(max_rows).ok().filter(|rows| *rows > 0)
}

/// As PostgreSQL says it of a portal that has run to its end.
fn ran_already(name: &[u8]) -> RouterError {
    let name = String::from_utf8_lossy(name);
    RouterError::new("55000", format!("portal \"{name}\" cannot be run"))
}

fn no_such_portal(name: &[u8]) -> RouterError {
    let name = String::from_utf8_lossy(name);
    RouterError::new("34000", format!("portal \"{name}\" does not exist"))
}
