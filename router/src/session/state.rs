//! The session itself: what it owns, and its life from log-in to goodbye.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustc_hash::FxHashMap;

use super::copy::CopyIn;
use super::cursors::Cursors;
use super::extended::Extended;
use super::fault::Fault;
use super::plans::PlanSpace;
use super::shared::{SessionShared, StopReason, WorkerState};
use super::slots::Slots;
use super::transaction::Transaction;
use crate::backend::Server;
use crate::backend::connect::Account;
use crate::control::Database;
use crate::plan::{Isolation, SequenceName};
use crate::settings::{Parameters, Settings};
use crate::stream::Stream;

/// Bytes of one read from a client.
const READ_BYTES: usize = 8 * 1024;

pub struct Session {
    pub(super) worker: Rc<WorkerState>,
    pub(super) shared: Rc<SessionShared>,
    pub(super) client: Stream,
    /// For the client, not yet written.
    pub(super) out: BytesMut,
    pub(super) account: Rc<Account>,
    pub(super) database: Arc<Database>,
    pub(super) space: Rc<PlanSpace>,
    /// From the startup packet; RESET goes back to them.
    pub(super) base: Rc<Settings>,
    /// Of the session, without what the open transaction has set.
    pub(super) settings: Rc<Settings>,
    /// What the client was told by ParameterStatus.
    pub(super) told: Rc<Parameters>,
    pub(super) transaction: Transaction,
    /// `default_transaction_isolation`, as the server connections have it.
    pub(super) default_isolation: Isolation,
    /// `oskol.cross_shard_reads` is `consistent`.
    pub(super) consistent_reads: bool,
    /// `oskol.read_from`, `oskol.max_standby_lag`.
    pub(super) reads: super::reads::Reads,
    /// The server itself has values of the router's own settings for this user or database.
    pub(super) has_own_settings: bool,
    /// Server connections kept between transactions: pinned, or pool mode session.
    #[expect(clippy::vec_box, reason = "moved between lists by pointer")]
    pub(super) held: Vec<Box<Server>>,
    /// The home shard's connection stays with this client (LISTEN, temporary tables, ...).
    pub(super) pinned: bool,
    pub(super) temporaries: HashSet<String>,
    pub(super) cursors: Cursors,
    pub(super) extended: Extended,
    pub(super) copy: Option<CopyIn>,
    /// Replies the client still has to get from the branch in use.
    pub(super) slots: Slots,
    /// Bytes at the start of the branch's read buffer that may go to the client.
    pub(super) released: usize,
    /// Bytes of a long message that are still to be passed on.
    pub(super) passing: usize,
    pub(super) rewrites_rows: bool,
    /// Keep replies in `out` until told otherwise.
    pub(super) hold_output: bool,
    /// The CommandComplete of a shard is kept here, and not passed on.
    pub(super) held_complete: Option<bytes::BytesMut>,
    /// In the middle of a client's message: if the session ends here, shards may still be at work.
    pub(super) serving: bool,
    /// A statement has failed and the client was told.
    pub(super) failed: bool,
    /// `client_encoding` is UTF8.
    pub(super) utf8: bool,
    /// `standard_conforming_strings` is on.
    pub(super) conforming_strings: bool,
    /// The client is pg_dump.
    pub(super) dumps: bool,
    /// Rows of the statement just run that the client has not asked for yet.
    pub(super) remainder: Option<Box<super::execute::Remainder>>,
    /// Of the statement under way: rows that its parts have given so far; none while they are read.
    pub(super) parts: Vec<Option<super::execute::PartRows>>,
    pub(super) metrics: Arc<crate::metrics::DatabaseMetrics>,
    /// Ends with the session: after it no cancel request finds it.
    pub(super) cancel: Option<crate::cancel::CancelHandle>,
    /// Its place among `max_clients`.
    pub(super) _seat: Option<crate::seats::Seat>,
    pub(super) last_ids: FxHashMap<SequenceName, i64>,
    pub(super) last_id: Option<i64>,
}

impl Session {
    /// Serves the client until it leaves. Everything leased is given back or closed. `inbuf`: what
    /// the client has sent ahead.
    pub async fn run(mut self: Box<Self>, mut inbuf: BytesMut) {
        let fault = loop {
            if let Err(fault) = self.messages(&mut inbuf).await {
                break fault;
            }
            if inbuf.is_empty() {
                inbuf = BytesMut::new();
            }
            if let Err(fault) = self.wait_for_client(&mut inbuf).await {
                break fault;
            }
        };
        Box::pin(self.end(fault)).await;
    }

    /// Reads from the client; while nothing comes no buffer is held.
    async fn wait_for_client(&mut self, inbuf: &mut BytesMut) -> Result<(), Fault> {
        let stop = Rc::clone(&self.shared);
        self.shared.status.set(self.transaction.state.byte());
        self.shared.copying.set(self.copy.is_some());
        self.shared.waits_since.set(self.worker.ticks.get());
        // In the middle of a pipeline something may still wait there for the Sync.
        if self.out.is_empty() && self.out.capacity() > 0 {
            self.out = BytesMut::new();
        }
        if !self.held.is_empty() {
            Box::pin(self.wait_for_client_or_held(inbuf)).await?;
            self.begin_work();
            return Ok(());
        }
        if inbuf.is_empty()
            && let Stream::Tcp(tcp) = &self.client
        {
            tokio::select! {
                biased;
                ready = tcp.readable() => ready?,
                () = stop.stop.notified() => self.asked_to_stop()?,
                () = super::branch_watch::any_speaks(&self.transaction.branches) => {
                    return Box::pin(self.hear_branches()).await;
                }
            }
        }
        inbuf.reserve(READ_BYTES);
        let count = tokio::select! {
            biased;
            count = self.client.receive(inbuf) => count?,
            () = stop.stop.notified() => { self.asked_to_stop()?; return Ok(()); }
            () = super::branch_watch::any_speaks(&self.transaction.branches) => {
                return Box::pin(self.hear_branches()).await;
            }
        };
        if count == 0 {
            return Err(Fault::ClientGone(std::io::ErrorKind::UnexpectedEof.into()));
        }
        self.metrics.bytes_received.add(count as u64);
        self.begin_work();
        Ok(())
    }

    /// Something has come from the client.
    fn begin_work(&self) {
        self.shared.status.set(0);
        self.shared.busy_since.set(self.worker.ticks.get());
    }

    /// All whole messages that are there.
    async fn messages(&mut self, inbuf: &mut BytesMut) -> Result<(), Fault> {
        let limit = self.worker.config.listen.max_message_bytes;
        let mut position = 0;
        while let Some(header) = wire::header::peek(&inbuf[position..], limit)? {
            let Some(message) = inbuf.get(position..position + header.length) else {
                inbuf.advance(position);
                // As it comes, and not at once what a header of five bytes announces.
                let missing = header.length.saturating_sub(inbuf.len());
                inbuf.reserve(missing.min(inbuf.len().max(READ_BYTES)));
                return Ok(());
            };
            if let Some(shard) = self.database.held_shard() {
                Box::pin(self.wait_until_let_go(shard)).await?;
            }
            self.serving = header.tag != wire::frontend::tag::TERMINATE;
            self.message(header.tag, message).await?;
            self.serving = false;
            position += header.length;
        }
        inbuf.advance(position);
        Ok(())
    }

    async fn message(&mut self, tag: u8, message: &[u8]) -> Result<(), Fault> {
        use wire::frontend::tag as t;
        match tag {
            t::QUERY if self.copy.is_none() && !self.extended.skipping => {
                self.simple_query(message).await
            }
            t::PARSE | t::BIND | t::DESCRIBE | t::EXECUTE | t::CLOSE | t::SYNC | t::FLUSH
                if self.copy.is_none() =>
            {
                self.extended_message(tag, message).await
            }
            t::COPY_DATA | t::COPY_DONE | t::COPY_FAIL => {
                Box::pin(self.copy_message(tag, message)).await
            }
            t::TERMINATE => Err(Fault::ClientGone(std::io::ErrorKind::UnexpectedEof.into())),
            _ => Box::pin(self.unusual_message(tag, message)).await,
        }
    }

    /// Writes what is in `out`.
    pub(super) async fn flush(&mut self) -> Result<(), Fault> {
        if !self.out.is_empty() {
            super::relay::write_all(&mut self.client, &self.out).await?;
            self.metrics.bytes_sent.add(self.out.len() as u64);
            self.out.clear();
            const KEPT_BYTES: usize = 16 * 1024;
            if self.out.capacity() > KEPT_BYTES {
                self.out = BytesMut::new();
            }
        }
        Ok(())
    }

    /// The worker wants the session gone: now if it is between transactions.
    pub(super) fn asked_to_stop(&self) -> Result<(), Fault> {
        if self.shared.stop_reason.get() == StopReason::IdleInTransaction {
            return self.asked_to_leave_transaction();
        }
        let idle = self.transaction.state == super::transaction::State::Idle;
        if idle && self.slots.is_empty() && self.copy.is_none() {
            let (sqlstate, text) = match self.shared.stop_reason.get() {
                StopReason::Shutdown => (
                    "57P01",
                    "terminating connection due to administrator command",
                ),
                StopReason::IdleTooLong | StopReason::IdleInTransaction => (
                    "57P05",
                    "terminating connection due to idle-session timeout",
                ),
            };
            return Err(Fault::Fatal(crate::error::RouterError::new(sqlstate, text)));
        }
        Ok(())
    }
}
