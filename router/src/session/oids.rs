//! Types made by users have other oids on other shards; a client knows the home shard's. Here is what
//! a session does about the oids inside of what it binds and of the rows it gets: where a shard has
//! other oids, and only there, it must know the types of a statement's parameters and columns.

pub(super) mod parameters;
pub(super) mod rows;

use std::rc::Rc;

use schema::oids::{Direction, OidMap};
use topology::ShardId;
use wire::backend::{ParameterDescription, RowDescription, tag};
use wire::frontend::{Bind, StatementOrPortal, write};
use wire::{Format, ProtocolError};

use super::extended::server_name;
use super::fault::Fault;
use super::slots::Slot;
use super::state::Session;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use parameters::may_hold_oids;
use rows::RowOids;

/// The types of a statement's parameters and columns, in the home shard's oids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    pub parameters: Vec<u32>,
    pub columns: Vec<u32>,
}

impl Described {
    /// Takes in what one message of a shard's description tells.
    pub fn note(
        &mut self,
        tag: u8,
        body: &[u8],
        oids: Option<&OidMap>,
    ) -> Result<(), ProtocolError> {
        let home = |oid: u32| oids.map_or(oid, |map| map.type_oid(oid, Direction::ToHome));
        match tag {
            tag::PARAMETER_DESCRIPTION => {
                let described = ParameterDescription::parse(body)?;
                self.parameters = described.types.iter().map(home).collect();
            }
            tag::ROW_DESCRIPTION => {
                let described = RowDescription::parse(body)?;
                self.columns = described
                    .fields()
                    .map(|field| home(field.type_oid))
                    .collect();
            }
            _ => self.columns.clear(),
        }
        Ok(())
    }
}

impl Session {
    /// Whether the branch's shard has other oids than the client knows.
    pub(super) fn translates(&self, index: usize) -> bool {
        self.has_other_oids(self.transaction.branches[index].server.shard)
    }

    pub(super) fn has_other_oids(&self, shard: ShardId) -> bool {
        self.current_space().oids(shard).is_some()
    }

    /// The number under which a statement's description is worth being kept; 0: it is not.
    pub(super) fn number_to_describe(&self, identity: &StatementIdentity) -> u64 {
        if self.current_space().translates() && !self.plans_are_own() {
            identity.number
        } else {
            0
        }
    }

    /// How the statement was described before, for everybody.
    pub(super) fn known_description(&self, identity: &StatementIdentity) -> Option<Rc<Described>> {
        match self.number_to_describe(identity) {
            0 => None,
            number => self.current_space().described(number),
        }
    }

    /// Sends a Bind to a shard with other oids; gives what must be rewritten in its rows.
    pub(super) async fn bind_translated(
        &mut self,
        index: usize,
        bind: &Bind<'_>,
        identity: &StatementIdentity,
        appended: &[(Format, Option<&[u8]>)],
    ) -> Result<Option<Rc<RowOids>>, Fault> {
        let described = if needs_types(bind) {
            self.described_in_pipeline(index, identity, bind.statement)
                .await?
        } else {
            Rc::default()
        };
        let space = Rc::clone(self.current_space());
        let server = &mut self.transaction.branches[index].server;
        let Some(oids) = space.oids(server.shard) else {
            return Err(no_description().into());
        };
        let name = server_name(identity, bind.statement);
        let own: Vec<_> = bind.parameters().collect();
        match parameters::translated(&own, &described.parameters, oids) {
            None => bind.rewrite(&mut server.outbuf, bind.portal, name, appended)?,
            Some(own) => {
                let own = own
                    .iter()
                    .map(|(format, value)| (*format, value.as_deref()));
                let all: Vec<_> = own.chain(appended.iter().copied()).collect();
                let formats: Vec<Format> = bind.result_formats().iter().collect();
                write::bind(&mut server.outbuf, bind.portal, name, &all, &formats)?;
            }
        }
        self.slots.push_back(Slot::Bind { hidden: false });
        let formats = bind.result_formats();
        let columns = described.columns.iter().enumerate();
        let columns = columns.map(|(column, type_)| (*type_, formats.of(column)));
        Ok(RowOids::of_columns(columns, oids).map(Rc::new))
    }

    /// What the branch's shard says of a statement that it has prepared, unless it is known: what is
    /// under way is answered first, and stays in the shard's implicit transaction.
    async fn described_in_pipeline(
        &mut self,
        index: usize,
        identity: &StatementIdentity,
        client_name: &[u8],
    ) -> Result<Rc<Described>, Fault> {
        if let Some(known) = self.known_description(identity) {
            return Ok(known);
        }
        let server = &mut self.transaction.branches[index].server;
        let name = server_name(identity, client_name);
        write::describe(&mut server.outbuf, StatementOrPortal::Statement, name);
        self.slots.push_back(Slot::DescribeStatement {
            parameters: None,
            hidden: true,
            number: identity.number,
        });
        self.drain(index).await?;
        let described = self.current_space().described(identity.number);
        if self.number_to_describe(identity) == 0 {
            // With this session's temporary relations it may mean something else than for others.
            self.current_space().forget_described(identity.number);
        }
        described.ok_or_else(|| no_description().into())
    }

    /// Types of the parameters that the client has bound, where `translates` and they may hold oids;
    /// else what it has declared.
    pub(super) async fn bound_types(
        &mut self,
        translates: bool,
        identity: &Rc<StatementIdentity>,
        bind: &Bind<'_>,
    ) -> Result<Vec<u32>, Fault> {
        let undeclared = |(index, parameter)| {
            may_hold_oids(parameter) && identity.types.get(index).is_none_or(|type_| *type_ == 0)
        };
        if translates && bind.parameters().enumerate().any(undeclared) {
            return self.described_types(identity).await;
        }
        Ok(identity.types.to_vec())
    }

    /// The row at `position` of the branch's read buffer gets the home shard's oids.
    pub(super) fn rewrite_row(&mut self, index: usize, position: usize, length: usize) {
        let rows = match self.slots.front() {
            Some(
                Slot::Execute {
                    rows: Some(rows), ..
                }
                | Slot::Query {
                    rows: Some(rows), ..
                },
            ) => rows,
            _ => return,
        };
        let space = self.transaction.private.as_ref().unwrap_or(&self.space);
        let server = &mut self.transaction.branches[index].server;
        if let Some(oids) = space.oids(server.shard) {
            rows.rewrite_in_place(oids, &mut server.inbuf[position + 5..position + length]);
        }
    }
}

/// Whether oids may be in what is bound, or in the rows asked for.
fn needs_types(bind: &Bind<'_>) -> bool {
    gives_binary_rows(bind) || bind.parameters().any(may_hold_oids)
}

pub(super) fn gives_binary_rows(bind: &Bind<'_>) -> bool {
    bind.result_formats()
        .iter()
        .any(|format| format == Format::Binary)
}

/// A shard has not described a statement, or its map is gone: neither follows the protocol.
fn no_description() -> RouterError {
    RouterError::new(
        wire::sqlstate::PROTOCOL_VIOLATION,
        "a shard has not described a statement",
    )
}
