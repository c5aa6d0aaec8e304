//! Passing a shard's replies on to the client: the hot path.
//!
//! Messages are looked at by header only. What the client is to see as it is goes from the server's
//! read buffer straight to the client's socket.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use schema::oids::{Direction, OidMap};
use wire::backend::{RowDescription, tag};

use super::fault::Fault;
use super::oids::rows::RowOids;
use super::slots::{Slot, skip_to_ready};
use super::state::Session;
use crate::backend::{Server, ServerError};

/// Bytes gathered for the client before they are written.
pub(super) const WRITE_ABOVE: usize = 32 * 1024;

/// Where relaying stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// All expected replies have come.
    Done,
    /// The shard waits for COPY data.
    CopyIn,
}

/// What one look at the read buffer came to.
enum Look {
    /// Something is missing: read more.
    More,
    Stop(Stopped),
}

impl Session {
    /// Passes replies of branch `index` on until every slot is filled, or COPY data is wanted.
    pub(super) async fn relay(&mut self, index: usize) -> Result<Stopped, Fault> {
        loop {
            match self.look(index)? {
                Look::Stop(stopped) => {
                    self.forward(index).await?;
                    return Ok(stopped);
                }
                Look::More => {
                    self.forward(index).await?;
                    self.wait_for_server(index).await?;
                }
            }
        }
    }

    /// Writes to the client what `look` has released.
    async fn forward(&mut self, index: usize) -> Result<(), Fault> {
        let released = std::mem::take(&mut self.released);
        let server = &mut self.transaction.branches[index].server;
        if self.out.is_empty() {
            if released > 0 {
                write_all(&mut self.client, &server.inbuf[..released]).await?;
                self.metrics.bytes_sent.add(released as u64);
            }
        } else {
            self.out.extend_from_slice(&server.inbuf[..released]);
            let wanted = self.slots.is_empty() || self.out.len() > WRITE_ABOVE;
            if wanted && !self.hold_output {
                write_all(&mut self.client, &self.out).await?;
                self.metrics.bytes_sent.add(self.out.len() as u64);
                self.out.clear();
            }
        }
        server.inbuf.advance(released);
        Ok(())
    }

    /// Walks over the messages that are there. Leaves the number of bytes at the start of the read
    /// buffer that may go to the client in `released`.
    fn look(&mut self, index: usize) -> Result<Look, Fault> {
        let mut position = 0;
        loop {
            while let Some(Slot::Answer(answer)) = self.slots.front() {
                let server = &mut self.transaction.branches[index].server;
                take_into(&mut self.out, server, &mut position);
                self.out.extend_from_slice(answer.bytes());
                self.slots.pop_front();
            }
            if self.slots.is_empty() {
                self.released = position;
                return Ok(Look::Stop(Stopped::Done));
            }
            let server = &mut self.transaction.branches[index].server;
            if self.passing > 0 {
                let there = self.passing.min(server.inbuf.len() - position);
                self.passing -= there;
                position += there;
            }
            let header = header_at(server, position)?;
            let Some(header) = header else {
                self.released = position;
                return Ok(Look::More);
            };
            let there = server.inbuf.len() - position;
            if there < header.length {
                if self.may_pass_in_parts(header.tag, there) {
                    self.passing = header.length - there;
                    position += there;
                }
                self.released = position;
                return Ok(Look::More);
            }
            if let Some(stopped) = self.relay_message(index, &mut position, header)? {
                self.released = position;
                return Ok(Look::Stop(stopped));
            }
        }
    }

    /// Long rows and COPY data are passed on while they come in.
    fn may_pass_in_parts(&self, tag: u8, there: usize) -> bool {
        const WORTH_IT: usize = 16 * 1024;
        matches!(tag, tag::DATA_ROW | tag::COPY_DATA) && there > WORTH_IT && !self.rewrites_rows
    }

    /// One whole message at `position`.
    fn relay_message(
        &mut self,
        index: usize,
        position: &mut usize,
        header: wire::header::Header,
    ) -> Result<Option<Stopped>, Fault> {
        let length = header.length;
        match header.tag {
            tag::DATA_ROW => {
                if self.rewrites_rows {
                    self.rewrite_row(index, *position, length);
                }
                *position += length;
            }
            tag::COPY_DATA | tag::COPY_DONE | tag::NOTICE_RESPONSE => {
                *position += length;
            }
            tag::PARSE_COMPLETE => {
                let hidden = matches!(
                    self.slots.pop_front(),
                    Some(Slot::Parse { hidden: true, .. })
                );
                self.pass_or_hide(index, position, length, hidden);
            }
            tag::BIND_COMPLETE => {
                let hidden = matches!(self.slots.pop_front(), Some(Slot::Bind { hidden: true }));
                self.pass_or_hide(index, position, length, hidden);
            }
            tag::CLOSE_COMPLETE => {
                let hidden = matches!(self.slots.pop_front(), Some(Slot::Close { hidden: true }));
                self.pass_or_hide(index, position, length, hidden);
            }
            tag::COMMAND_COMPLETE | tag::EMPTY_QUERY_RESPONSE | tag::PORTAL_SUSPENDED => {
                self.end_of_command(index, position, length);
            }
            tag::ROW_DESCRIPTION | tag::NO_DATA | tag::PARAMETER_DESCRIPTION => {
                self.description(index, position, header)?;
            }
            tag::READY_FOR_QUERY => self.ready(index, position, length),
            tag::ERROR_RESPONSE => {
                self.leave_if_fatal(index, position, length)?;
                self.name_statement(index, position, length);
                self.error_passed(index);
            }
            tag::PARAMETER_STATUS => self.parameter_status(index, position, length),
            tag::COPY_IN_RESPONSE => {
                *position += length;
                return Ok(Some(Stopped::CopyIn));
            }
            _ => *position += length,
        }
        Ok(None)
    }

    fn pass_or_hide(&mut self, index: usize, position: &mut usize, length: usize, hidden: bool) {
        if hidden {
            self.hide(index, position, length);
        } else {
            *position += length;
        }
    }

    /// Drops the message at `position`; what came before it goes to the output buffer.
    fn hide(&mut self, index: usize, position: &mut usize, length: usize) {
        let server = &mut self.transaction.branches[index].server;
        take_into(&mut self.out, server, position);
        server.inbuf.advance(length);
    }

    fn end_of_command(&mut self, index: usize, position: &mut usize, length: usize) {
        if self.held_complete.is_some() {
            self.hold_complete(index, position, length);
            return;
        }
        match self.slots.front() {
            Some(Slot::Execute { hidden, .. }) => {
                let hidden = *hidden;
                self.slots.pop_front();
                self.pass_or_hide(index, position, length, hidden);
            }
            _ => *position += length,
        }
    }

    /// The statement ends only when the router says so: its CommandComplete is kept.
    #[cold]
    fn hold_complete(&mut self, index: usize, position: &mut usize, length: usize) {
        let hidden = matches!(self.slots.front(), Some(Slot::Execute { hidden: true, .. }));
        if matches!(self.slots.front(), Some(Slot::Execute { .. })) {
            self.slots.pop_front();
        }
        let server = &mut self.transaction.branches[index].server;
        take_into(&mut self.out, server, position);
        let complete = server.inbuf.split_to(length);
        if !hidden {
            self.held_complete = Some(complete);
        }
    }

    fn description(
        &mut self,
        index: usize,
        position: &mut usize,
        header: wire::header::Header,
    ) -> Result<(), Fault> {
        let slot = self.slots.front();
        let (parameters, hidden, number) = match slot {
            Some(Slot::DescribeStatement {
                parameters,
                hidden,
                number,
            }) => (*parameters, *hidden, *number),
            Some(Slot::DescribePortal { hidden }) => (None, *hidden, 0),
            _ => (None, false, 0),
        };
        let described = matches!(
            slot,
            Some(Slot::DescribeStatement { .. } | Slot::DescribePortal { .. })
        );
        if described && header.tag != tag::PARAMETER_DESCRIPTION {
            self.slots.pop_front();
        }
        let space = self.transaction.private.as_ref().unwrap_or(&self.space);
        let server = &mut self.transaction.branches[index].server;
        let oids = space.oids(server.shard);
        let body = &server.inbuf[*position + 5..*position + header.length];
        if number != 0 {
            space.note_described(number, header.tag, body, oids)?;
        }
        if let Some(oids) = oids.filter(|_| header.tag == tag::ROW_DESCRIPTION) {
            // Rows follow, but for a description that the client has asked for.
            if let Some(Slot::Query { rows, .. } | Slot::Execute { rows, .. }) =
                self.slots.front_mut().filter(|_| hidden || !described)
            {
                *rows = RowOids::of(&RowDescription::parse(body)?, oids).map(Rc::new);
                self.rewrites_rows |= rows.is_some();
            }
        }
        if hidden {
            self.hide(index, position, header.length);
            return Ok(());
        }
        if (oids.is_none() && parameters.is_none()) || header.tag == tag::NO_DATA {
            *position += header.length;
            return Ok(());
        }
        take_into(&mut self.out, server, position);
        let message = server.inbuf.split_to(header.length);
        rewrite_description(&mut self.out, header.tag, &message, oids, parameters)
    }

    fn ready(&mut self, index: usize, position: &mut usize, length: usize) {
        let hidden = match self.slots.pop_front() {
            Some(Slot::Sync { hidden }) => hidden,
            Some(Slot::Query { hide_ready, .. }) => hide_ready,
            _ => false,
        };
        let branch = &mut self.transaction.branches[index];
        self.rewrites_rows = false;
        branch.errored = false;
        branch.server.status = branch.server.inbuf[*position + 5];
        self.pass_or_hide(index, position, length, hidden);
    }

    /// The server ends the connection: no other reply will come, and the client's session goes on without it.
    fn leave_if_fatal(
        &mut self,
        index: usize,
        position: &mut usize,
        length: usize,
    ) -> Result<(), Fault> {
        let server = &mut self.transaction.branches[index].server;
        let body = &server.inbuf[*position + 5..*position + length];
        if !wire::backend::ErrorResponse::parse(body).is_ok_and(|error| error.is_fatal()) {
            return Ok(());
        }
        take_into(&mut self.out, server, position);
        server.broken = true;
        Err(Fault::Shard(server.inbuf.split_to(length).freeze()))
    }

    /// An error, with the client's own name of the statement that it is about.
    fn name_statement(&mut self, index: usize, position: &mut usize, length: usize) {
        let server = &mut self.transaction.branches[index].server;
        let message = &server.inbuf[*position..*position + length];
        let changed = super::deadlock::told_instead(&self.shared, message)
            .or_else(|| super::statement_names::with_own_name(message, &self.extended));
        match changed {
            None => *position += length,
            Some(changed) => {
                take_into(&mut self.out, server, position);
                server.inbuf.advance(length);
                self.out.extend_from_slice(&changed);
            }
        }
    }

    /// The client has been told of an error: replies that will not come are forgotten.
    fn error_passed(&mut self, index: usize) {
        self.failed = true;
        self.metrics.shard_errors.increment();
        let branch = &mut self.transaction.branches[index];
        branch.errored = branch.unsynced;
        let server = &mut branch.server;
        for slot in &self.slots {
            match slot {
                Slot::Parse { number, .. } => server.prepared.remove(*number),
                Slot::Sync { .. } | Slot::Query { .. } => break,
                _ => {}
            }
        }
        server.prepared.unnamed = None;
        let before_query = !matches!(self.slots.front(), Some(Slot::Query { .. }));
        skip_to_ready(&mut self.slots);
        if before_query && matches!(self.slots.front(), Some(Slot::Query { .. })) {
            // A message ahead of a simple query failed: the query is skipped up to a Sync.
            wire::frontend::write::sync(&mut server.outbuf);
        }
    }

    fn parameter_status(&mut self, index: usize, position: &mut usize, length: usize) {
        let server = &mut self.transaction.branches[index].server;
        let body = server.inbuf[*position + 5..*position + length].to_vec();
        server.note(tag::PARAMETER_STATUS, &body, &self.worker.parameters);
        let known = Rc::clone(&server.parameters);
        self.told = known;
        *position += length;
    }

    /// Waits for bytes from the server; a client that goes away meanwhile ends the wait.
    pub(super) async fn wait_for_server(&mut self, index: usize) -> Result<(), Fault> {
        let server = &mut self.transaction.branches[index].server;
        let client = &self.client;
        let outcome = poll_fn(|cx| poll_either(server, client, cx)).await;
        match outcome {
            Either::Server(result) => result.map_err(|error| {
                server.broken = true;
                ServerError::Lost(server.shard, error).into()
            }),
            Either::ClientGone => Err(Fault::ClientGone(
                std::io::ErrorKind::ConnectionReset.into(),
            )),
        }
    }
}

enum Either {
    Server(std::io::Result<()>),
    ClientGone,
}

fn poll_either(
    server: &mut Server,
    client: &crate::stream::Stream,
    cx: &mut Context<'_>,
) -> Poll<Either> {
    if let Poll::Ready(result) = server.poll_exchange(cx) {
        return Poll::Ready(Either::Server(result));
    }
    if client_is_gone(client, cx) {
        return Poll::Ready(Either::ClientGone);
    }
    Poll::Pending
}

/// Whether the client has closed its side. Cheap while nothing comes from the client.
pub(super) fn client_is_gone(client: &crate::stream::Stream, cx: &mut Context<'_>) -> bool {
    let Some(tcp) = client.tcp() else {
        return false;
    };
    let mut byte = [0];
    let mut peek = tokio::io::ReadBuf::new(&mut byte);
    match tcp.poll_peek(cx, &mut peek) {
        Poll::Ready(Ok(count)) => count == 0,
        Poll::Ready(Err(_)) => true,
        Poll::Pending => false,
    }
}

/// Moves what lies before `position` to `out`; `position` then is 0.
fn take_into(out: &mut BytesMut, server: &mut Server, position: &mut usize) {
    if *position > 0 {
        out.extend_from_slice(&server.inbuf[..*position]);
        server.inbuf.advance(*position);
        *position = 0;
    }
}

fn header_at(
    server: &mut Server,
    position: usize,
) -> Result<Option<wire::header::Header>, ServerError> {
    wire::header::peek(&server.inbuf[position..], wire::header::MAX_MESSAGE).map_err(|error| {
        server.broken = true;
        ServerError::Protocol(server.shard, error)
    })
}

/// Writes a description with oids as the home shard has them, and without the parameters that the
/// router has appended.
pub(super) fn rewrite_description(
    out: &mut BytesMut,
    tag: u8,
    message: &[u8],
    oids: Option<&OidMap>,
    parameters: Option<u16>,
) -> Result<(), Fault> {
    let type_ = |oid: u32| oids.map_or(oid, |map| map.type_oid(oid, Direction::ToHome));
    if tag == tag::PARAMETER_DESCRIPTION {
        let described = wire::backend::ParameterDescription::parse(&message[5..])?;
        let count = parameters.map_or(usize::MAX, usize::from);
        described.rewrite_oids(out, count, type_);
    } else {
        let table = |oid: u32| oids.map_or(oid, |map| map.relation_oid(oid, Direction::ToHome));
        RowDescription::parse(&message[5..])?.rewrite_oids(out, table, type_);
    }
    Ok(())
}

/// Writes all of `bytes` to the client.
pub(super) async fn write_all(
    client: &mut crate::stream::Stream,
    bytes: &[u8],
) -> Result<(), Fault> {
    client.send(bytes).await.map_err(Fault::ClientGone)
}
