//! The reply of a statement that the router runs itself: rows to the client as they come, or kept
//! for a portal that is fetched in parts.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use topology::ShardId;
use wire::backend::{CommandComplete, RowDescription, tag, write};

use super::super::fault::Fault;
use super::super::relay::{WRITE_ABOVE, rewrite_description};
use super::super::state::Session;
use super::Invocation;
use crate::config::units;
use crate::error::RouterError;
use crate::merge;
use crate::merge::MergeError;

/// Where the rows of a statement go.
#[derive(Debug)]
pub(in crate::session) struct Reply {
    /// The client gets a RowDescription.
    describes: bool,
    /// It has rows, so its portal may be executed again, to find that none is left.
    returns_rows: bool,
    /// At most so many rows now; `None`: all.
    max_rows: Option<usize>,
    /// Whole DataRow messages, where the client does not take all rows at once.
    kept: VecDeque<Bytes>,
    kept_bytes: usize,
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
            kept: VecDeque::new(),
            kept_bytes: 0,
        }
    }
}

/// Rows that were read ahead for a portal that is fetched in parts.
#[derive(Debug)]
pub(in crate::session) struct Remainder {
    /// Whole DataRow messages.
    pub rows: VecDeque<Bytes>,
    /// Whole CommandComplete message of the statement; each part counts its own rows.
    pub complete: Bytes,
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

    /// One row, written by `row` as a whole DataRow message. False: it wrote none.
    pub(in crate::session) async fn reply_row(
        &mut self,
        reply: &mut Reply,
        row: impl FnOnce(&mut BytesMut) -> Result<bool, MergeError>,
    ) -> Result<bool, Fault> {
        if reply.max_rows.is_some() {
            return self.keep_row(reply, row);
        }
        let written = row(&mut self.out).map_err(RouterError::from)?;
        if self.out.len() > WRITE_ABOVE {
            self.flush().await?;
        }
        Ok(written)
    }

    fn keep_row(
        &mut self,
        reply: &mut Reply,
        row: impl FnOnce(&mut BytesMut) -> Result<bool, MergeError>,
    ) -> Result<bool, Fault> {
        let mut message = BytesMut::new();
        let written = row(&mut message).map_err(RouterError::from)?;
        if !written {
            return Ok(false);
        }
        reply.kept_bytes += message.len();
        if reply.kept_bytes > self.worker.config.limits.merge_bytes {
            return Err(too_many_kept(self.worker.config.limits.merge_bytes).into());
        }
        reply.kept.push_back(message.freeze());
        Ok(true)
    }

    /// The end of a statement: `complete` is its whole CommandComplete message.
    pub(in crate::session) fn reply_complete(
        &mut self,
        reply: Reply,
        complete: &[u8],
    ) -> Result<(), Fault> {
        let rest = Remainder {
            rows: reply.kept,
            complete: Bytes::copy_from_slice(complete),
        };
        self.remainder = match reply.max_rows {
            Some(max_rows) if reply.returns_rows => Some(self.more_rows(rest, Some(max_rows))?),
            _ => {
                self.out.extend_from_slice(complete);
                reply.returns_rows.then_some(rest)
            }
        };
        Ok(())
    }

    /// The next rows of a portal that was fetched in part; `None`: all. As in PostgreSQL, a part
    /// that is as long as it may be is not the last, even if no row is left.
    pub(in crate::session) fn more_rows(
        &mut self,
        mut rest: Remainder,
        max_rows: Option<usize>,
    ) -> Result<Remainder, Fault> {
        let count = max_rows.map_or(rest.rows.len(), |max| max.min(rest.rows.len()));
        for row in rest.rows.drain(..count) {
            self.out.extend_from_slice(&row);
        }
        if max_rows == Some(count) {
            write::portal_suspended(&mut self.out);
            return Ok(rest);
        }
        let complete = CommandComplete::parse(&rest.complete[5..])?;
        complete.write_with_rows(&mut self.out, count as u64);
        Ok(rest)
    }
}

/// Its count is that of the rows given, not of the rows changed.
pub(super) fn is_select(complete: &CommandComplete<'_>) -> bool {
    complete.tag.starts_with(b"SELECT ")
}

fn too_many_kept(limit: usize) -> RouterError {
    let size = units::print_size(limit);
    RouterError::new(
        wire::sqlstate::OUT_OF_MEMORY,
        format!("a portal over several shards that is fetched in parts holds more than {size}"),
    )
    .detail("Its rows wait in the router while the client takes them part by part.")
    .hint("Fetch all rows at once (no row limit in Execute), or raise limits.merge in the router's configuration.")
}
