//! SELECT ... FOR UPDATE and its like over several shards: one shard after another, in ascending
//! order, so that two such statements cannot wait for one another crosswise.
//!
//! Without ORDER BY a shard is asked only for the rows that are still missing. With it every shard
//! locks its first rows, which are then merged; a shard of which no row was needed lets them go
//! again.

use smallvec::SmallVec;
use topology::ShardId;
use wire::Format;
use wire::backend::{RowDescription, tag};

use super::super::fault::Fault;
use super::super::kept_rows::KeptRows;
use super::super::oids::rows::RowOids;
use super::super::state::Session;
use super::asking::{Asked, Request};
use super::reply::Reply;
use super::{Invocation, described};
use crate::backend::Message;
use crate::error::RouterError;
use crate::merge::{Limit, Merge, Merger, Step};
use crate::plan::{Effect, Scatter};

/// Around the locks that a shard takes for rows which may not be needed.
const SAVEPOINT: &str = "SAVEPOINT oskol_rows";
const KEEP: &str = "RELEASE SAVEPOINT oskol_rows";
const LET_GO: &str = "ROLLBACK TO SAVEPOINT oskol_rows; RELEASE SAVEPOINT oskol_rows";

/// The statement under way.
struct Turns<'a> {
    scatter: &'a Scatter,
    shards: &'a [ShardId],
    effect: Effect,
    invocation: &'a Invocation<'a>,
    /// Of the parameters.
    types: Vec<u32>,
    limit: Limit,
    /// Made at the first shard's description.
    merger: Option<Merger>,
    reply: Reply,
}

impl Session {
    pub(super) async fn scatter_in_turn(
        &mut self,
        scatter: &Scatter,
        shards: &[ShardId],
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let (limit, offset) = scatter.merge.row_counts();
        let limit = Limit::resolve(limit, offset, invocation.bind()).map_err(RouterError::from)?;
        self.open_around();
        let types = self.types_for_shards(shards, invocation).await?;
        let mut turns = Turns {
            scatter,
            shards,
            effect,
            invocation,
            types,
            limit,
            merger: None,
            reply: Reply::to(invocation),
        };
        if matches!(scatter.merge, Merge::Concatenate { .. }) {
            self.take_what_is_missing(&mut turns).await?;
        } else {
            self.take_all_and_merge(&mut turns).await?;
        }
        let rows = turns.merger.as_ref().map_or(0, Merger::rows);
        let mut complete = bytes::BytesMut::new();
        let tag = format!("SELECT {rows}");
        wire::backend::write::command_complete(&mut complete, tag.as_bytes());
        self.reply_complete(turns.reply, &complete).await
    }

    async fn take_what_is_missing(&mut self, turns: &mut Turns<'_>) -> Result<(), Fault> {
        for position in 0..turns.shards.len() {
            let done = turns.merger.is_some() && turns.limit.is_reached();
            if done {
                return Ok(());
            }
            let missing = turns.limit.missing();
            let mut asked = [self.ask_in_turn(turns, position, missing).await?];
            let taken = self.take_rows(turns, &mut asked, position).await;
            self.unless_called_off(&mut asked, taken).await?;
        }
        Ok(())
    }

    /// Gives the rows of one shard as they come.
    async fn take_rows(
        &mut self,
        turns: &mut Turns<'_>,
        asked: &mut [Asked],
        position: usize,
    ) -> Result<(), Fault> {
        let oids = self.described_in_turn(turns, asked).await?;
        while let Some(row) = self.row_in_turn(asked, oids.as_ref()).await? {
            if !turns.limit.is_reached() {
                turns.limit.admit();
            }
            if let Some(merger) = &mut turns.merger {
                merger.push(position, row).map_err(RouterError::from)?;
            }
            while self.step_in_turn(turns).await? == Step::Row {}
        }
        if let Some(merger) = &mut turns.merger {
            merger.end(position);
        }
        Ok(())
    }

    async fn take_all_and_merge(&mut self, turns: &mut Turns<'_>) -> Result<(), Fault> {
        let lets_go = turns.limit.missing().is_some();
        let mut kept: SmallVec<[KeptRows; 8]> = SmallVec::new();
        for position in 0..turns.shards.len() {
            let rows = self.keep_rows_of(turns, position, lets_go).await?;
            kept.push(rows);
        }
        let used = self.merge_kept(turns, &mut kept).await?;
        if lets_go {
            self.end_savepoints(turns.shards, &used).await?;
        }
        Ok(())
    }

    async fn keep_rows_of(
        &mut self,
        turns: &mut Turns<'_>,
        position: usize,
        lets_go: bool,
    ) -> Result<KeptRows, Fault> {
        if lets_go {
            let index = self.join_all(&turns.shards[position..=position]).await?[0];
            if !self.transaction.branches[index].begun {
                self.begin(index);
            }
            self.run_quietly(index, SAVEPOINT).await?;
        }
        let mut asked = [self.ask_in_turn(turns, position, None).await?];
        let kept = self.keep_rows(turns, &mut asked).await;
        self.unless_called_off(&mut asked, kept).await
    }

    async fn keep_rows(
        &mut self,
        turns: &mut Turns<'_>,
        asked: &mut [Asked],
    ) -> Result<KeptRows, Fault> {
        let oids = self.described_in_turn(turns, asked).await?;
        let mut kept = KeptRows::new(self.kept_limits());
        while let Some(row) = self.row_in_turn(asked, oids.as_ref()).await? {
            crate::merge::write_row(&row, kept.tail());
            kept.added().await?;
        }
        Ok(kept)
    }

    /// Gives the merged rows; by shard, whether any row of it was given.
    async fn merge_kept(
        &mut self,
        turns: &mut Turns<'_>,
        kept: &mut [KeptRows],
    ) -> Result<SmallVec<[bool; 8]>, Fault> {
        let mut next: SmallVec<[u64; 8]> = SmallVec::from_elem(0, kept.len());
        loop {
            match self.step_in_turn(turns).await? {
                Step::Row => {}
                Step::Done => break,
                Step::Need(position) => {
                    feed(turns, kept, &mut next, position).await?;
                }
                Step::NeedAny => {
                    let open = |position: &usize| {
                        let merger = turns.merger.as_ref();
                        merger.is_some_and(|merger| !merger.has_ended(*position))
                    };
                    let Some(position) = (0..kept.len()).find(open) else {
                        break;
                    };
                    feed(turns, kept, &mut next, position).await?;
                }
            }
        }
        let waits = |position| {
            turns
                .merger
                .as_ref()
                .is_some_and(|merger| merger.waits(position))
        };
        let given = next.iter().enumerate();
        Ok(given
            .map(|(position, next)| *next > u64::from(waits(position)))
            .collect())
    }

    async fn end_savepoints(&mut self, shards: &[ShardId], used: &[bool]) -> Result<(), Fault> {
        for (shard, used) in shards.iter().zip(used) {
            if let Some(index) = self.transaction.find(*shard) {
                let end = if *used { KEEP } else { LET_GO };
                self.run_quietly(index, end).await?;
                self.transaction.branches[index].told = 0;
            }
        }
        Ok(())
    }

    async fn step_in_turn(&mut self, turns: &mut Turns<'_>) -> Result<Step, Fault> {
        let mut step = Step::Done;
        let merger = &mut turns.merger;
        self.reply_row(&mut turns.reply, |out| {
            if let Some(merger) = merger {
                step = merger.step(out)?;
            }
            Ok(step == Step::Row)
        })
        .await?;
        Ok(step)
    }

    async fn ask_in_turn(
        &mut self,
        turns: &Turns<'_>,
        position: usize,
        max_rows: Option<u64>,
    ) -> Result<Asked, Fault> {
        let text = turns.scatter.text.as_deref();
        let identity = self.statement_for_shards(turns.invocation, text);
        let bind = turns.invocation.bind();
        let parameters: Vec<_> = bind
            .map(|bind| bind.parameters())
            .into_iter()
            .flatten()
            .collect();
        let formats: Vec<Format> = bind
            .map(|bind| bind.result_formats().iter().collect())
            .unwrap_or_default();
        let request = Request {
            identity: &identity,
            named: bind.is_some_and(|bind| !bind.statement.is_empty()),
            parameters: &parameters,
            types: &turns.types,
            result_formats: &formats,
        };
        let index = self.join_all(&turns.shards[position..=position]).await?[0];
        self.note_effect(index, turns.effect);
        // Zero rows mean all to Execute; where no row is missing one is no harm.
        let max_rows = max_rows.map_or(0, |rows| i32::try_from(rows.max(1)).unwrap_or(0));
        self.ask_part(index, &request, max_rows)
    }

    /// Takes a shard's description; the first one makes the merger.
    async fn described_in_turn(
        &mut self,
        turns: &mut Turns<'_>,
        asked: &mut [Asked],
    ) -> Result<Option<RowOids>, Fault> {
        let message = self.message_of(asked, 0).await?;
        let shard = self.shard_of(&asked[0]);
        if turns.merger.is_none() {
            let hidden = turns.scatter.merge.hidden();
            self.reply_description(&mut turns.reply, shard, &message.bytes, hidden)?;
            let columns = described::columns(&message)?;
            let bytes = self.worker.config.limits.merge_bytes;
            let count = turns.shards.len();
            let limit = turns.limit;
            turns.merger = Some(Merger::new(
                &turns.scatter.merge,
                count,
                columns,
                limit,
                bytes,
            ));
        }
        if message.tag != tag::ROW_DESCRIPTION {
            return Ok(None);
        }
        let description = RowDescription::parse(message.body())?;
        let oids = self.current_space().oids(shard);
        Ok(oids.and_then(|oids| RowOids::of(&description, oids)))
    }

    /// The next row of the one shard asked, in the home shard's oids; `None`: it has no more.
    async fn row_in_turn(
        &mut self,
        asked: &mut [Asked],
        columns: Option<&RowOids>,
    ) -> Result<Option<bytes::Bytes>, Fault> {
        while let Some(message) = self.next_message(asked, 0).await? {
            if message.tag == tag::DATA_ROW {
                return Ok(Some(self.row_of(&message, columns, &asked[0])));
            }
        }
        Ok(None)
    }

    fn row_of(&self, message: &Message, columns: Option<&RowOids>, asked: &Asked) -> bytes::Bytes {
        let body = message.bytes.slice(5..);
        let oids = self.current_space().oids(self.shard_of(asked));
        match (columns, oids) {
            (Some(columns), Some(oids)) => columns.rewrite(oids, &body),
            _ => body,
        }
    }
}

/// The next kept row of one shard, for the merger.
async fn feed(
    turns: &mut Turns<'_>,
    kept: &mut [KeptRows],
    next: &mut [u64],
    position: usize,
) -> Result<(), Fault> {
    let Some(merger) = &mut turns.merger else {
        return Ok(());
    };
    match kept[position].row(next[position]).await? {
        Some(row) => {
            next[position] += 1;
            let pushed = merger.push(position, row.slice(5..));
            pushed.map_err(RouterError::from)?;
        }
        None => merger.end(position),
    }
    Ok(())
}
