//! Parse: statements by name, and having them prepared on the shard that needs them.

use std::rc::Rc;

use schema::oids::Direction;
use wire::frontend::{self, StatementOrPortal, write};

use super::super::fault::Fault;
use super::super::slots::{Answer, Slot};
use super::super::state::Session;
use super::portals::is_forwarded;
use super::{OWN_PLAN, Prepared};
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::Action;

impl Session {
    pub(in crate::session) async fn parse_after_others(
        &mut self,
        message: &[u8],
    ) -> Result<(), Fault> {
        if self.extended.waiting.is_some() {
            self.flush_waiting().await?;
        }
        self.parse_message(message)
    }

    pub(in crate::session) fn parse_message(&mut self, message: &[u8]) -> Result<(), Fault> {
        let parse = frontend::Parse::parse(&message[5..])?;
        self.refresh_space();
        let text = std::str::from_utf8(parse.query)
            .map_err(|_| super::super::simple::client_encoding())?;
        if !self.encoding_is_safe(text) {
            return Err(super::super::simple::client_encoding().into());
        }
        if !parse.name.is_empty() && self.extended.named.contains_key(parse.name) {
            return Err(already_exists(parse.name).into());
        }
        let plan = self.plan_text(text)?;
        self.admit(&plan)?;
        let types: smallvec::SmallVec<[u32; 8]> = parse.parameter_types.iter().collect();
        let identity = self.identity(text, &types);
        let prepared = Rc::new(Prepared {
            rewritten: self.rewritten(&plan, &identity),
            identity,
            plan,
            version: self.plan_version(),
            parameter_types: None,
        });
        self.remember(parse.name, &prepared)?;
        self.extended.waiting = Some((parse.name.into(), prepared));
        Ok(())
    }

    /// The identity of a text under the catalog of now.
    pub(in crate::session) fn identity(&self, text: &str, types: &[u32]) -> Rc<StatementIdentity> {
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
    pub(in crate::session) fn plan_version(&self) -> u64 {
        if self.transaction.private.is_some() || self.plans_are_own() {
            OWN_PLAN
        } else {
            self.space.state.version
        }
    }

    pub(in crate::session) fn remember(
        &mut self,
        name: &[u8],
        prepared: &Rc<Prepared>,
    ) -> Result<(), Fault> {
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
    pub(in crate::session) fn prepared(&mut self, name: &[u8]) -> Result<Rc<Prepared>, Fault> {
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
            parameter_types: known.parameter_types.clone(),
        });
        self.extended.replace(name, &renewed);
        Ok(renewed)
    }

    /// Has the statement prepared on the branch. `parsed_now`: the client waits for ParseComplete.
    ///
    /// A client's unnamed statement stays unnamed on the server, so that one-off texts do not fill
    /// its memory; the same text twice in a row is not parsed again.
    pub(in crate::session) fn ensure_prepared(
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
    pub(in crate::session) async fn take_waiting(&mut self, name: &[u8]) -> Result<bool, Fault> {
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
    pub(in crate::session) async fn send_waiting(
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
        self.choose_source(&prepared.plan, &prepared.identity.text);
        let index = self.activate_for_description(&prepared).await?;
        self.ensure_prepared(index, prepared.sent(), true, &name)
    }

    pub(in crate::session) async fn flush_waiting(&mut self) -> Result<(), Fault> {
        match self.extended.waiting.take() {
            Some(waiting) => Box::pin(self.send_waiting(waiting)).await,
            None => Ok(()),
        }
    }
}

pub(in crate::session) fn already_exists(name: &[u8]) -> RouterError {
    let name = String::from_utf8_lossy(name);
    RouterError::new(
        "42P05",
        format!("prepared statement \"{name}\" already exists"),
    )
}

pub(in crate::session) fn no_such_statement(name: &[u8]) -> RouterError {
    if name.is_empty() {
        return RouterError::new("26000", "unnamed prepared statement does not exist");
    }
    let name = String::from_utf8_lossy(name);
    RouterError::new(
        "26000",
        format!("prepared statement \"{name}\" does not exist"),
    )
}

pub(in crate::session) fn server_name<'a>(
    identity: &'a StatementIdentity,
    client_name: &[u8],
) -> &'a [u8] {
    if client_name.is_empty() {
        b""
    } else {
        &identity.server_name
    }
}
