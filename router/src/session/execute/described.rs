//! Statements that the router runs itself, in the extended protocol: describing them, and ending
//! their pipeline.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use schema::oids::OidMap;
use topology::ShardId;
use wire::Format;
use wire::backend::{RowDescription, tag};
use wire::frontend::{Bind, StatementOrPortal, write};

use super::super::extended::Prepared;
use super::super::fault::Fault;
use super::super::oids::Described;
use super::super::relay::rewrite_description;
use super::super::slots::Answer;
use super::super::state::Session;
use super::super::transaction::State;
use crate::backend::prepared::StatementIdentity;
use crate::backend::{Message, QueryError};
use crate::merge::Column;
use crate::plan::{Action, Plan, SessionCommand};

/// What a shard says of a statement.
pub(super) struct Description {
    /// ParameterDescription.
    pub parameters: Bytes,
    /// RowDescription or NoData.
    pub rows: Bytes,
}

impl Description {
    fn translated(self, oids: Option<&OidMap>) -> Result<Self, Fault> {
        let translate = |message: Bytes| {
            if oids.is_none() || matches!(message.first(), None | Some(&tag::NO_DATA)) {
                return Ok(message);
            }
            let mut out = BytesMut::new();
            rewrite_description(&mut out, message[0], &message, oids, None)?;
            Ok::<_, Fault>(out.freeze())
        };
        Ok(Self {
            parameters: translate(self.parameters)?,
            rows: translate(self.rows)?,
        })
    }
}

impl Session {
    /// Describe for a statement, or for a portal with its Bind.
    pub(in crate::session) async fn describe_here(
        &mut self,
        prepared: &Rc<Prepared>,
        bind: Option<&Bytes>,
    ) -> Result<(), Fault> {
        if is_silent(prepared) && !has_own_parameters(prepared) {
            let mut message = BytesMut::new();
            if bind.is_none() {
                wire::backend::write::parameter_description(&mut message, []);
            }
            wire::backend::write::no_data(&mut message);
            self.answer(Answer::Messages(message.freeze()));
            return Ok(());
        }
        self.take_over().await?;
        let description = match self.kept_description(&prepared.plan) {
            Some(description) => description,
            None => {
                let shard = self.shard_to_describe(&prepared.plan);
                self.ask_description(&prepared.identity, shard).await?
            }
        };
        match bind {
            None => {
                self.out.extend_from_slice(&description.parameters);
                self.out.extend_from_slice(&description.rows);
            }
            Some(bind) => write_in_formats(&mut self.out, &description.rows, bind)?,
        }
        Ok(())
    }

    /// The router itself knows the columns of FETCH from a cursor whose rows it keeps.
    fn kept_description(&self, plan: &Plan) -> Option<Description> {
        let Action::Session(SessionCommand::Fetch {
            cursor, is_move, ..
        }) = &plan.action
        else {
            return None;
        };
        let kept = self.cursors.kept(cursor)?;
        let mut parameters = BytesMut::new();
        wire::backend::write::parameter_description(&mut parameters, []);
        let mut rows = kept.description.clone();
        if *is_move {
            let mut none = BytesMut::new();
            wire::backend::write::no_data(&mut none);
            rows = none.freeze();
        }
        Some(Description {
            parameters: parameters.freeze(),
            rows,
        })
    }

    /// The home shard, but for what only one shard knows: a cursor.
    fn shard_to_describe(&self, plan: &Plan) -> ShardId {
        let home = self.home();
        match &plan.action {
            Action::Session(SessionCommand::Fetch { cursor, .. }) => {
                self.shard_of_cursor(cursor).unwrap_or(home)
            }
            _ => home,
        }
    }

    /// Has a shard parse and describe the statement's text; in the home shard's oids.
    pub(super) async fn ask_description(
        &mut self,
        identity: &StatementIdentity,
        shard: ShardId,
    ) -> Result<Description, Fault> {
        let index = self.joined(shard).await?;
        self.finish_begin(index).await?;
        let branch = &mut self.transaction.branches[index];
        let server = &mut branch.server;
        server.prepared.unnamed = None;
        let types = identity.types.iter().copied();
        write::parse(&mut server.outbuf, b"", identity.text.as_bytes(), types)?;
        write::describe(&mut server.outbuf, StatementOrPortal::Statement, b"");
        write::sync(&mut server.outbuf);
        let mut description = Description {
            parameters: Bytes::new(),
            rows: Bytes::new(),
        };
        let mut refusal = None;
        loop {
            let message = server.message(&self.worker.parameters).await?;
            match message.tag {
                tag::PARAMETER_DESCRIPTION => description.parameters = message.bytes,
                tag::ROW_DESCRIPTION | tag::NO_DATA => description.rows = message.bytes,
                tag::ERROR_RESPONSE => refusal = Some(message.bytes),
                tag::READY_FOR_QUERY => break,
                _ => {}
            }
        }
        if let Some(bytes) = refusal {
            return Err(QueryError::Refused(bytes).into());
        }
        if shard != self.home() {
            return description.translated(self.current_space().oids(shard));
        }
        self.keep_description(identity, &description)?;
        Ok(description)
    }

    /// For Binds of the statement to shards with other oids.
    fn keep_description(
        &self,
        identity: &StatementIdentity,
        description: &Description,
    ) -> Result<(), Fault> {
        let number = self.number_to_describe(identity);
        if number == 0 {
            return Ok(());
        }
        let mut described = Described::default();
        for message in [&description.parameters, &description.rows] {
            if let Some(tag) = message.first() {
                described.note(*tag, &message[5..], None)?;
            }
        }
        self.current_space().keep_described(number, described);
        Ok(())
    }

    /// The mistakes of a statement that no shard sees as it is are told when it is run.
    pub(in crate::session) async fn check_on_a_shard(
        &mut self,
        prepared: &Rc<Prepared>,
    ) -> Result<(), Fault> {
        let known = self.kept_description(&prepared.plan).is_some();
        if known || is_silent(prepared) || self.transaction.state == State::Failed {
            return Ok(());
        }
        self.take_over().await?;
        if matches!(prepared.plan.action, Action::Gather(_)) {
            // It is needed again when the statement is run.
            return self.original_of(&prepared.identity).await.map(|_| ());
        }
        let shard = self.shard_to_describe(&prepared.plan);
        let checked = self.ask_description(&prepared.identity, shard).await;
        checked.map(|_| ())
    }

    /// The types of a statement's parameters, in the home shard's oids.
    pub(in crate::session) async fn described_types(
        &mut self,
        identity: &StatementIdentity,
    ) -> Result<Vec<u32>, Fault> {
        if let Some(known) = self.known_description(identity) {
            return Ok(known.parameters.clone());
        }
        let home = self.home();
        let description = self.ask_description(identity, home).await?;
        let body = description.parameters.get(5..).unwrap_or_default();
        let parameters = wire::backend::ParameterDescription::parse(body)?;
        Ok(parameters.types.iter().collect())
    }

    /// COMMIT in a pipeline of one shard goes along with it: no further round trip.
    pub(in crate::session) fn commit_in_pipeline(&mut self, prepared: &Prepared) -> bool {
        let plain = matches!(
            prepared.plan.action,
            Action::Session(SessionCommand::Commit { chain: false })
        );
        if !plain
            || !self.transaction.ends_on_one_branch()
            || self.extended.active().is_some_and(|active| active != 0)
        {
            return false;
        }
        self.extended.make_active(0);
        self.transaction.branches[0].unsynced = true;
        self.queue_commit(0);
        true
    }

    /// Sync with no messages under way on a shard: ends what the router itself has opened.
    pub(in crate::session) async fn sync_here(&mut self) -> Result<(), Fault> {
        for index in 0..self.transaction.branches.len() {
            self.resynchronise_branch(index).await;
        }
        self.slots.clear();
        if self.transaction.implicit && self.transaction.state != State::Idle {
            let lost = self.transaction.state == State::Failed;
            let failed = std::mem::take(&mut self.extended.failed) || lost;
            if failed {
                self.roll_back().await;
            } else if let Err(fault) = self.commit().await {
                self.answer_fault(fault)?;
            }
        }
        self.extended.failed = false;
        if self.transaction.state == State::Idle {
            self.extended.forget_portals();
        }
        self.answer_ready().await
    }
}

/// Running it tells its mistakes as well as parsing it ahead would: it needs no check of its own
/// when it is bound at once.
pub(in crate::session) fn tells_its_mistakes(plan: &Plan) -> bool {
    matches!(
        plan.action,
        Action::Scatter(_) | Action::Split(_) | Action::ByKey(_) | Action::Broadcast(_)
    )
}

/// The router answers it without any shard, and it returns no rows.
fn is_silent(prepared: &Prepared) -> bool {
    match &prepared.plan.action {
        Action::Session(command) => {
            !matches!(
                command,
                SessionCommand::Show { .. }
                    | SessionCommand::Fetch { .. }
                    | SessionCommand::Execute { .. }
                    | SessionCommand::SetFromParameter { .. }
            ) && !prepared.plan.effect.returns_rows
        }
        Action::Ddl(_) => !prepared.plan.effect.returns_rows,
        Action::Refuse(_) => true,
        _ => false,
    }
}

/// Silent statements that may have parameters.
fn has_own_parameters(prepared: &Prepared) -> bool {
    matches!(
        prepared.plan.action,
        Action::Session(SessionCommand::DeclareCursor(_) | SessionCommand::AtCursor { .. })
    )
}

/// The columns that a portal's description (or NoData) tells of.
pub(super) fn columns(message: &Message) -> Result<Vec<Column>, Fault> {
    match message.tag {
        tag::ROW_DESCRIPTION => Ok(Column::of_portal(&RowDescription::parse(message.body())?)),
        _ => Ok(Vec::new()),
    }
}

/// A statement's row description with the formats that the Bind has asked for.
fn write_in_formats(out: &mut BytesMut, rows: &[u8], bind: &[u8]) -> Result<(), Fault> {
    if rows.first() != Some(&tag::ROW_DESCRIPTION) {
        out.extend_from_slice(rows);
        return Ok(());
    }
    let bind = Bind::parse(&bind[5..])?;
    let formats = bind.result_formats();
    out.extend_from_slice(&in_formats(rows, |column| formats.of(column))?);
    Ok(())
}

/// A whole RowDescription message with each column in the format that `format` tells.
pub(super) fn in_formats(rows: &[u8], format: impl Fn(usize) -> Format) -> Result<BytesMut, Fault> {
    let description = RowDescription::parse(&rows[5..])?;
    let fields = description.fields().enumerate();
    let fields = fields.map(|(index, field)| wire::backend::Field {
        format: format(index),
        ..field
    });
    let mut out = BytesMut::new();
    wire::backend::write::row_description(&mut out, fields.collect::<Vec<_>>());
    Ok(out)
}
