//! Asking several shards at once: each is sent its statement, then they are read as their messages
//! are needed.
//!
//! All shards work at the same time. The one whose message is needed is read; the others are read
//! ahead within a bound, so that an error of theirs is noticed, and beyond it TCP holds them back.
//! Takes statements and branches; gives messages. Must never know how rows are merged.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use schema::oids::Direction;
use smallvec::SmallVec;
use tokio::time::Instant;
use topology::ShardId;
use wire::backend::{ErrorResponse, tag};
use wire::frontend::{StatementOrPortal, write};
use wire::{Format, ProtocolError};

use super::super::cleanup::RECOVERY_LIMIT;
use super::super::collecting::queue_collect;
use super::super::fault::Fault;
use super::super::lease::queue_begin;
use super::super::oids::parameters;
use super::super::relay::client_is_gone;
use super::super::slots::{Slot, Slots};
use super::super::state::Session;
use super::super::transaction::{Branch, State};
use crate::backend::prepared::StatementIdentity;
use crate::backend::{Message, Server, ServerError};
use crate::plan::Isolation;
use crate::settings::{Interner, Parameters};

/// Bytes read ahead from a shard whose rows are not yet needed.
const READ_AHEAD: usize = 64 * 1024;
/// After an error elsewhere: how long a shard may take to end by itself before it is cancelled.
const GRACE: Duration = Duration::from_millis(5);
/// How soon a cancel is repeated: one that comes before the statement does nothing.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// What one shard is to run.
pub(in crate::session) struct Request<'a> {
    /// Text, and types of its parameters in the home shard's oids.
    pub identity: &'a Rc<StatementIdentity>,
    /// Keep it prepared on the connection under its own number.
    pub named: bool,
    pub parameters: &'a [(Format, Option<&'a [u8]>)],
    /// Of the parameters, in the home shard's oids; 0 or none where no oid can be inside.
    pub types: &'a [u32],
    /// None for text, one for all columns, or one each.
    pub result_formats: &'a [Format],
}

/// Which of a shard's notices the client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Notices {
    All,
    /// Not those of parsing, which another shard has told already.
    WhenRun,
    /// Another shard does just the same.
    No,
}

/// One shard at work on its statement.
#[derive(Debug)]
pub(in crate::session) struct Asked {
    /// Index among the transaction's branches.
    pub branch: usize,
    pub notices: Notices,
    /// Replies to what goes ahead of the statement, up to its BindComplete.
    slots: Slots,
    received: VecDeque<Message>,
    received_bytes: usize,
    /// ReadyForQuery has come, or never will.
    ready: bool,
    error: Option<Bytes>,
}

impl Session {
    /// The branches of `shards` (ascending), each in the open transaction if there is one. All are
    /// leased before anything is sent. Plain BEGINs are left to [`Self::ask`].
    pub(in crate::session) async fn join_all(
        &mut self,
        shards: &[ShardId],
    ) -> Result<SmallVec<[usize; 8]>, Fault> {
        if self.transaction.isolation != Isolation::ReadCommitted {
            Box::pin(self.isolate(shards)).await?;
        }
        let mut branches = SmallVec::new();
        let stands_alone =
            self.transaction.state == State::Idle && self.transaction.branches.is_empty();
        for shard in shards {
            let index = match self.branch(*shard).await {
                // Nothing was sent on those that are leased.
                Err(fault) if stands_alone => {
                    self.release().await;
                    return Err(fault);
                }
                index => index?,
            };
            self.transaction.branches[index].isolated =
                self.transaction.isolation != Isolation::ReadCommitted;
            let replays = self.transaction.state != State::Idle
                && !self.transaction.branches[index].begun
                && !self.transaction.begins_plainly();
            if replays {
                self.replay(index).await?;
            }
            branches.push(index);
        }
        Ok(branches)
    }

    /// Queues a statement on a branch; it goes out when any of those asked is read.
    pub(in crate::session) fn ask(
        &mut self,
        index: usize,
        request: &Request<'_>,
    ) -> Result<Asked, Fault> {
        self.ask_part(index, request, 0)
    }

    /// As [`Self::ask`], for at most `max_rows` rows (0: all), after which PortalSuspended comes.
    pub(in crate::session) fn ask_part(
        &mut self,
        index: usize,
        request: &Request<'_>,
        max_rows: i32,
    ) -> Result<Asked, Fault> {
        let in_transaction = self.transaction.state != State::Idle;
        let version = self.space.state.version;
        let space = self.transaction.private.as_ref().unwrap_or(&self.space);
        let branch = &mut self.transaction.branches[index];
        let oids = space.oids(branch.server.shard);
        let type_ = |oid: u32| oids.map_or(oid, |map| map.type_oid(oid, Direction::FromHome));
        let mut slots = Slots::new();
        if in_transaction && !branch.begun {
            queue_begin(branch, &mut slots);
        }
        if branch.must_be_told {
            let token = self.space.state.token_of(branch.server.shard);
            queue_collect(branch, &token, self.transaction.collects, &mut slots);
        }
        let translated =
            oids.and_then(|oids| parameters::translated(request.parameters, request.types, oids));
        let queued = match &translated {
            None => queue(branch, request, max_rows, version, &type_, &mut slots),
            Some(translated) => {
                let parameters = translated.iter();
                let parameters: Vec<_> = parameters
                    .map(|(format, value)| (*format, value.as_deref()))
                    .collect();
                let request = Request {
                    parameters: &parameters,
                    ..*request
                };
                queue(branch, &request, max_rows, version, &type_, &mut slots)
            }
        };
        if let Err(error) = queued {
            branch.server.broken = true;
            return Err(error.into());
        }
        Ok(Asked {
            branch: index,
            notices: Notices::All,
            slots,
            received: VecDeque::new(),
            received_bytes: 0,
            ready: false,
            error: None,
        })
    }

    /// The next message of the shard at `position`: RowDescription or NoData, then DataRows, then
    /// CommandComplete; `None` after it. An error of any shard asked is the error of all.
    pub(in crate::session) async fn next_message(
        &mut self,
        asked: &mut [Asked],
        position: usize,
    ) -> Result<Option<Message>, Fault> {
        loop {
            if let Some(message) = asked[position].pop() {
                return Ok(Some(message));
            }
            if let Some(error) = asked.iter_mut().find_map(|one| one.error.take()) {
                return Err(Fault::Shard(error));
            }
            if asked[position].ready {
                return Ok(None);
            }
            self.hear(asked, position).await?;
        }
    }

    /// The next message of any shard asked, with its position, in the order in which they come; `None`: all
    /// have come to their end.
    pub(in crate::session) async fn next_of_any(
        &mut self,
        asked: &mut [Asked],
    ) -> Result<Option<(usize, Message)>, Fault> {
        loop {
            if let Some(error) = asked.iter_mut().find_map(|one| one.error.take()) {
                return Err(Fault::Shard(error));
            }
            for (position, one) in asked.iter_mut().enumerate() {
                if let Some(message) = one.pop() {
                    return Ok(Some((position, message)));
                }
            }
            let Some(open) = asked.iter().position(|one| !one.ready) else {
                return Ok(None);
            };
            self.hear(asked, open).await?;
        }
    }

    /// Waits until something has come, and sorts it in.
    async fn hear(&mut self, asked: &mut [Asked], wanted: usize) -> Result<(), Fault> {
        let branches = &mut self.transaction.branches;
        let client = &self.client;
        poll_fn(|cx| {
            if let Poll::Ready(result) = poll_any(branches, asked, Some(wanted), cx) {
                return Poll::Ready(result.map_err(Fault::from));
            }
            if client_is_gone(client, cx) {
                let gone = std::io::ErrorKind::ConnectionReset.into();
                return Poll::Ready(Err(Fault::ClientGone(gone)));
            }
            Poll::Pending
        })
        .await?;
        for one in asked {
            let server = &mut self.transaction.branches[one.branch].server;
            one.sort_in(server, &self.worker.parameters, &mut self.out)?;
        }
        Ok(())
    }

    /// The statement will not be finished: what still runs is cancelled, and every connection is in
    /// step again afterwards, or marked as broken.
    pub(in crate::session) async fn call_off(&mut self, asked: &mut [Asked]) {
        let deadline = Instant::now() + RECOVERY_LIMIT;
        let mut quiet = tokio::time::timeout(GRACE, self.read_off(asked))
            .await
            .is_ok();
        while !quiet && Instant::now() < deadline {
            self.cancel_running(asked).await;
            quiet = tokio::time::timeout(CANCEL_AGAIN, self.read_off(asked))
                .await
                .is_ok();
        }
        for one in asked.iter().filter(|one| !one.ready) {
            self.transaction.branches[one.branch].server.broken = true;
        }
    }

    /// Reads and throws away until all are ready.
    async fn read_off(&mut self, asked: &mut [Asked]) {
        while asked.iter().any(|one| !one.ready) {
            let branches = &mut self.transaction.branches;
            // One that is lost is marked as broken and left out from then on.
            let _ = poll_fn(|cx| poll_any(branches, asked, None, cx)).await;
            let mut unheard = BytesMut::new();
            for one in asked.iter_mut() {
                let server = &mut self.transaction.branches[one.branch].server;
                let sorted = one.sort_in(server, &self.worker.parameters, &mut unheard);
                one.ready |= server.broken || sorted.is_err();
                one.received.clear();
                one.received_bytes = 0;
                one.error = None;
            }
        }
    }

    async fn cancel_running(&self, asked: &[Asked]) {
        let running = asked.iter().filter(|one| !one.ready);
        let cancels = running.map(|one| {
            let server = &self.transaction.branches[one.branch].server;
            let pools = &self.worker.pools;
            pools.cancel(server.shard, server.process_id, &server.secret)
        });
        join_all(cancels).await;
    }
}

/// Writes Parse (where needed), Bind, Describe, Execute and Sync.
fn queue(
    branch: &mut Branch,
    request: &Request<'_>,
    max_rows: i32,
    version: u64,
    type_: &dyn Fn(u32) -> u32,
    slots: &mut Slots,
) -> Result<(), ProtocolError> {
    let server = &mut branch.server;
    server.count_statement();
    let identity = request.identity;
    let name: &[u8] = if request.named {
        &identity.server_name
    } else {
        b""
    };
    if !is_prepared(server, request, version, slots) {
        let types = identity.types.iter().map(|oid| type_(*oid));
        write::parse(&mut server.outbuf, name, identity.text.as_bytes(), types)?;
        let number = identity.number;
        slots.push_back(Slot::Parse {
            number: if request.named { number } else { 0 },
            hidden: true,
        });
    }
    let out = &mut server.outbuf;
    write::bind(out, b"", name, request.parameters, request.result_formats)?;
    slots.push_back(Slot::Bind { hidden: true });
    write::describe(out, StatementOrPortal::Portal, b"");
    write::execute(out, b"", max_rows);
    write::sync(out);
    Ok(())
}

/// Whether the connection has the statement already; if not, it is about to.
fn is_prepared(
    server: &mut Server,
    request: &Request<'_>,
    version: u64,
    slots: &mut Slots,
) -> bool {
    let identity = request.identity;
    if !request.named {
        let unnamed = server.prepared.unnamed.as_ref();
        let there =
            unnamed.is_some_and(|(known, at)| Rc::ptr_eq(known, identity) && *at == version);
        server.prepared.unnamed = Some((Rc::clone(identity), version));
        return there;
    }
    if server.prepared.touch(identity.number) {
        return true;
    }
    if let Some(evicted) = server.prepared.insert(identity.number) {
        let name = format!("o{evicted}");
        let kind = StatementOrPortal::Statement;
        write::close(&mut server.outbuf, kind, name.as_bytes());
        slots.push_back(Slot::Close { hidden: true });
    }
    false
}

/// Ready when any shard asked was read. `wanted` is read in any case, the others within their bound;
/// `None`: all are wanted.
fn poll_any(
    branches: &mut [Branch],
    asked: &[Asked],
    wanted: Option<usize>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ServerError>> {
    let mut heard = Poll::Pending;
    for (position, one) in asked.iter().enumerate() {
        let server = &mut branches[one.branch].server;
        let needed = wanted.is_none_or(|wanted| wanted == position);
        let full = one.received_bytes + server.inbuf.len() > READ_AHEAD;
        if one.ready || server.broken || (full && !needed) {
            continue;
        }
        match server.poll_exchange(cx) {
            Poll::Ready(Ok(())) => heard = Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => {
                server.broken = true;
                return Poll::Ready(Err(ServerError::Lost(server.shard, error)));
            }
            Poll::Pending => {}
        }
    }
    heard
}

impl Asked {
    fn pop(&mut self) -> Option<Message> {
        let message = self.received.pop_front()?;
        self.received_bytes -= message.bytes.len();
        Some(message)
    }

    /// Takes the whole messages out of the server's read buffer. What is for the client beside the
    /// result goes to `out`.
    fn sort_in(
        &mut self,
        server: &mut Server,
        intern: &Interner<Parameters>,
        out: &mut BytesMut,
    ) -> Result<(), ServerError> {
        while let Some(header) = server.peek()? {
            if server.inbuf.len() < header.length {
                let missing = header.length - server.inbuf.len();
                server.inbuf.reserve(missing);
                break;
            }
            let bytes = server.inbuf.split_to(header.length).freeze();
            server.note(header.tag, &bytes[5..], intern);
            let message = Message {
                tag: header.tag,
                bytes,
            };
            self.one_message(message, server, out);
        }
        Ok(())
    }

    fn one_message(&mut self, message: Message, server: &mut Server, out: &mut BytesMut) {
        let ahead = matches!(self.slots.front(), Some(Slot::Execute { hidden: true, .. }));
        match message.tag {
            tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::CLOSE_COMPLETE => {
                self.slots.pop_front();
            }
            tag::COMMAND_COMPLETE if ahead => {
                self.slots.pop_front();
            }
            tag::ERROR_RESPONSE => self.failed(message.bytes, server),
            tag::NOTICE_RESPONSE if self.is_quiet() => {}
            tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => {
                out.extend_from_slice(&message.bytes);
            }
            tag::PARAMETER_STATUS => {}
            tag::READY_FOR_QUERY => self.ready = true,
            _ => {
                self.received_bytes += message.bytes.len();
                self.received.push_back(message);
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let parsing = !self.slots.is_empty();
        self.notices == Notices::No || (parsing && self.notices == Notices::WhenRun)
    }

    /// What was to be prepared and is not is forgotten.
    fn failed(&mut self, error: Bytes, server: &mut Server) {
        for slot in &self.slots {
            match slot {
                Slot::Parse { number, .. } => server.prepared.remove(*number),
                // Not even BEGIN was run, or a statement was not closed: nobody knows its state.
                Slot::Execute { .. } | Slot::Close { .. } => server.broken = true,
                _ => {}
            }
        }
        self.slots.clear();
        server.prepared.unnamed = None;
        let fatal = ErrorResponse::parse(&error[5..]).is_ok_and(|error| error.is_fatal());
        server.broken |= fatal;
        self.ready |= server.broken;
        self.error.get_or_insert(error);
    }
}
