//! The reply of a statement that the router runs itself: rows to the client as they come, or kept
//! for a portal that is fetched in parts, or for a cursor.

use bytes::{Bytes, BytesMut};
use topology::ShardId;
use wire::backend::{CommandComplete, RowDescription, tag, write};

use super::super::fault::Fault;
use super::super::kept_rows::{KeptLimits, KeptRows};
use super::super::relay::{WRITE_ABOVE, rewrite_description};
use super::super::state::Session;
use super::Invocation;
use crate::error::RouterError;
use crate::merge;
use crate::merge::MergeError;

/// Bytes of a cursor's or portal's rows that wait in memory; the rest waits in a file.
const KEPT_IN_MEMORY: usize = 4 << 20;

/// Where the rows of a statement go.
#[derive(Debug)]
pub(in crate::session) struct Reply {
    /// The client gets a RowDescription.
    describes: bool,
    /// It has rows, so its portal may be executed again, to find that none is left.
    returns_rows: bool,
    /// At most so many rows now; `None`: all. Zero: the client is told nothing at all now.
    max_rows: Option<usize>,
    /// Where the client does not take all rows at once.
    kept: Option<KeptRows>,
}

impl Reply {
    pub fn to(invocation: &Invocation<'_>) -> Self {
        let (describes, max_rows) = match invocation {
            Invocation::Simple { .. } => (true, None),
            Invocation::Extended { max_rows, .. } => (false, *max_rows),
        };
        Self {
            describes,
            returns_rows: false,
            max_rows,
            kept: None,
        }
    }
}

impl Reply {
    /// The client has been told of the columns.
    pub fn described(&mut self) {
        self.describes = false;
    }

    /// Keeps all rows until [`Session::let_go`]; gives what that needs.
    pub fn hold(&mut self) -> Held {
        Held(self.max_rows.replace(0))
    }
}

/// How many rows the client takes of a reply that is held.
#[derive(Debug)]
pub(in crate::session) struct Held(Option<usize>);

/// Rows that were read ahead for a portal that is fetched in parts, or for a cursor.
#[derive(Debug)]
pub(in crate::session) struct Remainder {
    pub rows: KeptRows,
    /// Number of the row that comes next.
    next: u64,
    /// Whole CommandComplete message of the statement; each part counts its own rows.
    complete: Bytes,
}

impl Session {
    /// Passes on a shard's RowDescription (a whole message) or NoData, in the home shard's oids and
    /// without the last `hidden` columns.
    pub(in crate::session) fn reply_description(
        &mut self,
        reply: &mut Reply,
        shard: ShardId,
        message: &[u8],
        hidden: usize,
    ) -> Result<(), Fault> {
        reply.returns_rows = message.first() == Some(&tag::ROW_DESCRIPTION);
        if !reply.describes || !reply.returns_rows {
            return Ok(());
        }
        let mut translated = BytesMut::new();
        let oids = self.current_space().oids(shard);
        rewrite_description(&mut translated, message[0], message, oids, None)?;
        let description = RowDescription::parse(&translated[5..])?;
        merge::describe(&description, hidden, &mut self.out);
        Ok(())
    }

    /// Passes on a whole RowDescription in text formats, or NoData, that is in the home shard's oids already.
    pub(in crate::session) fn reply_described(&mut self, reply: &mut Reply, message: &[u8]) {
        reply.returns_rows = message.first() == Some(&tag::ROW_DESCRIPTION);
        if reply.describes && reply.returns_rows {
            self.out.extend_from_slice(message);
        }
    }

    /// One row, written by `row` as a whole DataRow message. False: it wrote none.
    pub(in crate::session) async fn reply_row(
        &mut self,
        reply: &mut Reply,
        row: impl FnOnce(&mut BytesMut) -> Result<bool, MergeError>,
    ) -> Result<bool, Fault> {
        if reply.max_rows.is_some() {
            return self.keep_row(reply, row).await;
        }
        let written = row(&mut self.out).map_err(RouterError::from)?;
        if self.out.len() > WRITE_ABOVE {
            self.flush().await?;
        }
        Ok(written)
    }

    async fn keep_row(
        &mut self,
        reply: &mut Reply,
        row: impl FnOnce(&mut BytesMut) -> Result<bool, MergeError>,
    ) -> Result<bool, Fault> {
        let limits = self.kept_limits();
        let kept = reply.kept.get_or_insert_with(|| KeptRows::new(limits));
        let written = row(kept.tail()).map_err(RouterError::from)?;
        if written {
            kept.added().await?;
        }
        Ok(written)
    }

    pub(in crate::session) fn kept_limits(&self) -> KeptLimits {
        let limits = &self.worker.config.limits;
        KeptLimits {
            memory: limits.merge_bytes.min(KEPT_IN_MEMORY),
            files: limits.cursor_bytes,
        }
    }

    /// Passes on the rows that were held.
    pub(in crate::session) async fn let_go(
        &mut self,
        reply: &mut Reply,
        held: Held,
    ) -> Result<(), Fault> {
        reply.max_rows = held.0;
        if held.0.is_some() {
            return Ok(());
        }
        let Some(mut kept) = reply.kept.take() else {
            return Ok(());
        };
        for number in 0..kept.len() {
            if let Some(row) = kept.row(number).await? {
                self.out.extend_from_slice(&row);
            }
            if self.out.len() > WRITE_ABOVE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// The end of a statement: `complete` is its whole CommandComplete message.
    pub(in crate::session) async fn reply_complete(
        &mut self,
        reply: Reply,
        complete: &[u8],
    ) -> Result<(), Fault> {
        let limits = self.kept_limits();
        let rest = Box::new(Remainder {
            rows: reply.kept.unwrap_or_else(|| KeptRows::new(limits)),
            next: 0,
            complete: Bytes::copy_from_slice(complete),
        });
        self.remainder = match reply.max_rows {
            Some(0) => Some(rest),
            Some(max_rows) if reply.returns_rows => {
                Some(self.more_rows(rest, Some(max_rows)).await?)
            }
            _ => {
                self.out.extend_from_slice(complete);
                reply.returns_rows.then_some(rest)
            }
        };
        Ok(())
    }

    /// The next rows of a portal that was fetched in part; `None`: all. As in PostgreSQL, a part
    /// that is as long as it may be is not the last, even if no row is left.
    pub(in crate::session) async fn more_rows(
        &mut self,
        mut rest: Box<Remainder>,
        max_rows: Option<usize>,
    ) -> Result<Box<Remainder>, Fault> {
        let left = rest.rows.len() - rest.next;
        let count = max_rows.map_or(left, |max| left.min(max as u64));
        for number in rest.next..rest.next + count {
            if let Some(row) = rest.rows.row(number).await? {
                self.out.extend_from_slice(&row);
            }
            if self.out.len() > WRITE_ABOVE {
                self.flush().await?;
            }
        }
        rest.next += count;
        rest.rows.forget_before(rest.next);
        if max_rows.is_some_and(|max| max as u64 == count) {
            write::portal_suspended(&mut self.out);
            return Ok(rest);
        }
        let complete = CommandComplete::parse(&rest.complete[5..])?;
        complete.write_with_rows(&mut self.out, count);
        Ok(rest)
    }
}

/// Its count is that of the rows given, not of the rows changed.
pub(super) fn is_select(complete: &CommandComplete<'_>) -> bool {
    complete.tag.starts_with(b"SELECT ")
}
