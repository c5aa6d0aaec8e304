//! Bind, Describe, Execute and Close: portals, on a shard or run by the router itself.

use std::rc::Rc;

use bytes::Bytes;
use topology::ShardId;
use wire::frontend::{self, StatementOrPortal, write};

use super::super::execute::Invocation;
use super::super::fault::Fault;
use super::super::oids::rows::RowOids;
use super::super::planning::OneShard;
use super::super::slots::{Answer, Slot};
use super::super::state::Session;
use super::{Portal, Prepared, Progress, server_name};
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::Action;
use crate::route::Arguments;

impl Session {
    pub(in crate::session) async fn bind_message(&mut self, message: &[u8]) -> Result<(), Fault> {
        let bind = frontend::Bind::parse(&message[5..])?;
        let prepared = self.prepared_to_run(bind.statement)?;
        let parsed_now = self.take_waiting(bind.statement).await?;
        self.admit(&prepared.plan)?;
        self.choose_source(&prepared.plan, &prepared.identity.text);
        let prepared = if needs_types(&prepared, &bind) {
            Box::pin(self.with_types(bind.statement, &prepared)).await?
        } else {
            prepared
        };
        let arguments = Arguments::Bound {
            bind: &bind,
            types: &prepared.identity.types,
        };
        match self.one_shard(&prepared.plan, arguments) {
            OneShard::Shard(shard) => {
                let index = match self.activate(shard).await {
                    Err(fault) => {
                        let failed = self.bind_failed(message, parsed_now, &prepared, fault);
                        return Box::pin(failed).await;
                    }
                    done => done?,
                };
                self.bind_on_shard(index, &bind, prepared, parsed_now).await
            }
            OneShard::No => Box::pin(self.bind_here(message, &bind, prepared, parsed_now)).await,
        }
    }

    async fn bind_on_shard(
        &mut self,
        index: usize,
        bind: &frontend::Bind<'_>,
        prepared: Rc<Prepared>,
        parsed_now: bool,
    ) -> Result<(), Fault> {
        let shard = self.transaction.branches[index].server.shard;
        self.note_effect(index, prepared.plan.effect);
        self.ensure_prepared(index, &prepared.identity, parsed_now, bind.statement)?;
        let identity = &prepared.identity;
        let rows = self.send_bind(index, bind, identity, &[]).await?;
        self.extended
            .put_portal(bind.portal, Portal::OnShard { shard, rows });
        self.extended.bound = Some(prepared);
        Ok(())
    }

    /// The shard could not be had: another one, where the plan runs on any; or the one that the key is on by now.
    async fn bind_failed(
        &mut self,
        message: &[u8],
        parsed_now: bool,
        prepared: &Rc<Prepared>,
        fault: Fault,
    ) -> Result<(), Fault> {
        let bind = frontend::Bind::parse(&message[5..])?;
        if !self.may_route_again(&fault).await {
            let index = self.activate_elsewhere(&prepared.plan, fault).await?;
            return self
                .bind_on_shard(index, &bind, Rc::clone(prepared), parsed_now)
                .await;
        }
        let prepared = self.prepared_to_run(bind.statement)?;
        let arguments = Arguments::Bound {
            bind: &bind,
            types: &prepared.identity.types,
        };
        match self.one_shard(&prepared.plan, arguments) {
            OneShard::Shard(shard) => {
                let index = self.activate(shard).await?;
                self.bind_on_shard(index, &bind, prepared, parsed_now).await
            }
            OneShard::No => self.bind_here(message, &bind, prepared, parsed_now).await,
        }
    }

    /// The statement as if the client had declared the types that PostgreSQL infers; it is that from now on.
    async fn with_types(
        &mut self,
        name: &[u8],
        prepared: &Rc<Prepared>,
    ) -> Result<Rc<Prepared>, Fault> {
        self.take_over().await?;
        let types = self.inferred_types(&prepared.identity).await?;
        let identity = self.identity(&prepared.identity.text, &types);
        let typed = Rc::new(Prepared {
            rewritten: self.rewritten(&prepared.plan, &identity),
            identity,
            plan: Rc::clone(&prepared.plan),
            version: prepared.version,
            parameter_types: prepared.parameter_types.clone(),
        });
        self.extended.replace(name, &typed);
        Ok(typed)
    }

    /// A statement that the router runs itself, or whose text it changes.
    pub(in crate::session) async fn bind_here(
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
            if !super::super::execute::tells_its_mistakes(&prepared.plan) {
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
    pub(in crate::session) async fn send_bind(
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

    pub(in crate::session) async fn describe_message(
        &mut self,
        message: &[u8],
    ) -> Result<(), Fault> {
        let describe = frontend::Describe::parse(&message[5..])?;
        if describe.kind == StatementOrPortal::Statement {
            return Box::pin(self.describe_statement(describe.name)).await;
        }
        if let Some(kept) = std::str::from_utf8(describe.name)
            .ok()
            .and_then(|name| self.cursors.kept(name))
        {
            self.answer(Answer::Messages(kept.description.clone()));
            return Ok(());
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

    pub(in crate::session) async fn describe_statement(
        &mut self,
        name: &[u8],
    ) -> Result<(), Fault> {
        let prepared = self.prepared_to_run(name)?;
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
        self.choose_source(&prepared.plan, &prepared.identity.text);
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

    pub(in crate::session) async fn execute_message(
        &mut self,
        message: &[u8],
    ) -> Result<(), Fault> {
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

    pub(in crate::session) async fn execute_here(
        &mut self,
        name: &[u8],
        max_rows: i32,
    ) -> Result<(), Fault> {
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
        self.admit(&prepared.plan)?;
        self.choose_source(&prepared.plan, &prepared.identity.text);
        let progress = match progress {
            Progress::Fresh => self.run_portal(&prepared, &bind, max_rows).await?,
            Progress::Fetched(rest) => {
                Progress::Fetched(self.more_rows(rest, at_most(max_rows)).await?)
            }
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
    pub(in crate::session) async fn run_portal(
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
        self.finished(started, super::super::answer::kind(&plan), text);
        outcome?;
        Ok(self
            .remainder
            .take()
            .map_or(Progress::Done, Progress::Fetched))
    }

    /// A cursor made by SQL DECLARE, which the protocol may describe and close as a portal of its name.
    pub(in crate::session) fn declared_cursor(&self, name: &[u8]) -> Option<Portal> {
        let name = std::str::from_utf8(name).ok()?;
        let shard = self.cursors.shard(name)?;
        Some(Portal::OnShard { shard, rows: None })
    }

    /// The shard that a cursor named in SQL lives on, if there is such a cursor.
    pub(in crate::session) fn shard_of_cursor(&self, name: &str) -> Option<ShardId> {
        let bound = self.extended.portals.get(name.as_bytes());
        match bound.or(self.declared_cursor(name.as_bytes()).as_ref()) {
            Some(Portal::OnShard { shard, .. }) => Some(*shard),
            _ => None,
        }
    }

    pub(in crate::session) async fn close_message(&mut self, message: &[u8]) -> Result<(), Fault> {
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
}

pub(in crate::session) fn is_forwarded(prepared: &Prepared) -> bool {
    match &prepared.plan.action {
        Action::AnyShard | Action::Home => true,
        Action::ByKey(by_key) => by_key.rewrite.is_none() || prepared.rewritten.is_some(),
        _ => false,
    }
}

pub(in crate::session) fn at_most(max_rows: i32) -> Option<usize> {
    usize::try_from(max_rows).ok().filter(|rows| *rows > 0)
}

pub(in crate::session) fn ran_already(name: &[u8]) -> RouterError {
    let name = String::from_utf8_lossy(name);
    RouterError::new("55000", format!("portal \"{name}\" cannot be run"))
}

pub(in crate::session) fn no_such_portal(name: &[u8]) -> RouterError {
    let name = String::from_utf8_lossy(name);
    RouterError::new("34000", format!("portal \"{name}\" does not exist"))
}

/// A parameter that chooses the shard came in binary, and only PostgreSQL can tell what it is.
fn needs_types(prepared: &Prepared, bind: &frontend::Bind<'_>) -> bool {
    prepared.plan.shared_keys.iter().any(|number| {
        let index = usize::from(*number).wrapping_sub(1);
        let declared = prepared.identity.types.get(index);
        let sent = bind.parameter(index);
        declared.is_none_or(|oid| *oid == 0)
            && matches!(sent, Some((wire::Format::Binary, Some(_))))
    })
}
