//! Statements that run on several shards with one merged result: reads over all shards or those of
//! some keys, and UPDATE and DELETE alike.

use std::rc::Rc;

use smallvec::SmallVec;
use topology::ShardId;
use wire::Format;
use wire::backend::{CommandComplete, RowDescription, tag};

use super::super::fault::Fault;
use super::super::oids::rows::RowOids;
use super::super::state::Session;
use super::asking::{Asked, Notices, Request};
use super::reply::{Reply, is_select};
use super::{Invocation, described};
use crate::backend::Message;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::merge::{Column, Limit, MergeError, Merger, Step, Tags};
use crate::plan::{ByKey, Effect, Fallback, Plan, Scatter, Split};

/// A merge under way.
struct Gathering<'a> {
    asked: &'a mut [Asked],
    merger: Merger,
    /// By position in `asked`: what in the rows must be rewritten; none: not yet described.
    described: Vec<Option<Option<RowOids>>>,
    columns: usize,
    tags: Tags,
}

impl Session {
    /// A statement pinned to one key whose value is not known.
    pub(super) async fn by_unknown_key(
        &mut self,
        by_key: &ByKey,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        match &by_key.fallback {
            Fallback::Refuse(error) => Err(error.clone().into()),
            Fallback::Scatter(scatter) => {
                let shards = self.space.state.map.shards().to_vec();
                self.scatter(scatter, &shards, plan.effect, invocation)
                    .await
            }
        }
    }

    /// Keys of more than one shard.
    pub(super) async fn split_keys(
        &mut self,
        split: &Split,
        scatter: &Scatter,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let shards = self
            .split_shards(split, invocation.arguments())
            .unwrap_or_else(|| self.space.state.map.shards().to_vec());
        self.scatter(scatter, &shards, plan.effect, invocation)
            .await
    }

    /// Runs a statement on `shards` (ascending) at once and merges their replies.
    pub(super) async fn scatter(
        &mut self,
        scatter: &Scatter,
        shards: &[ShardId],
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if effect.locks && shards.len() > 1 {
            return Box::pin(self.scatter_in_turn(scatter, shards, effect, invocation)).await;
        }
        let ran = self.run_scatter(scatter, shards, effect, invocation).await;
        let (reply, complete) = ran?;
        self.reply_complete(reply, &complete).await
    }

    /// As [`Self::scatter`], all at once; gives the reply and the whole CommandComplete that ends it.
    pub(super) async fn run_scatter(
        &mut self,
        scatter: &Scatter,
        shards: &[ShardId],
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(Reply, Vec<u8>), Fault> {
        let mut reply = Reply::to(invocation);
        let ran = self.run_scatter_into(&mut reply, scatter, shards, effect, invocation);
        let complete = ran.await?;
        Ok((reply, complete))
    }

    /// As [`Self::run_scatter`], where something may have gone into the reply already.
    pub(super) async fn run_scatter_into(
        &mut self,
        reply: &mut Reply,
        scatter: &Scatter,
        shards: &[ShardId],
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<Vec<u8>, Fault> {
        if scatter.merge.compares_strings() {
            self.check_encoding_sorts()?;
        }
        let (limit, offset) = scatter.merge.row_counts();
        let limit = Limit::resolve(limit, offset, invocation.bind()).map_err(RouterError::from)?;
        if effect.writes {
            if scatter.text.is_some() {
                // What is wrong with the client's own text is told of that text.
                self.original_description(invocation).await?;
            }
            self.open_around();
        }
        let hidden = scatter.merge.hidden();
        let identity = self.statement_for_shards(invocation, scatter.text.as_deref());
        let mut formats: Vec<Format> = invocation
            .bind()
            .map(|bind| bind.result_formats().iter().collect())
            .unwrap_or_default();
        // One for each of the client's columns: the shards' statement has more.
        if formats.len() > 1 {
            formats.extend(std::iter::repeat_n(Format::Text, hidden));
        }
        let mut asked = self
            .ask_formatted(shards, &identity, &[], &formats, effect, invocation)
            .await?;
        let merge_bytes = self.worker.config.limits.merge_bytes;
        let count = asked.len();
        let merger = |columns| Merger::new(&scatter.merge, count, columns, limit, merge_bytes);
        let merged = self.merge(&mut asked, merger, hidden, reply).await;
        self.unless_called_off(&mut asked, merged).await
    }

    /// Shards send strings in the client's encoding: in these, bytes sort as those of UTF-8 do.
    fn check_encoding_sorts(&self) -> Result<(), Fault> {
        const SORTED: [&str; 3] = ["UTF8", "SQL_ASCII", "LATIN1"];
        match self.told.values.get("client_encoding") {
            Some(encoding) if !SORTED.contains(&encoding.as_str()) => {
                Err(encoding_sorts_otherwise(encoding).into())
            }
            _ => Ok(()),
        }
    }

    /// The invocation's statement, or `text` in its place, queued for all `shards`.
    pub(super) async fn ask_all(
        &mut self,
        shards: &[ShardId],
        text: Option<&str>,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<SmallVec<[Asked; 8]>, Fault> {
        let identity = self.statement_for_shards(invocation, text);
        self.ask_statement(shards, &identity, &[], effect, invocation)
            .await
    }

    /// One statement queued for all `shards`, with the client's parameters and `ids` behind them.
    pub(super) async fn ask_statement(
        &mut self,
        shards: &[ShardId],
        identity: &Rc<StatementIdentity>,
        ids: &[[u8; 8]],
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<SmallVec<[Asked; 8]>, Fault> {
        let formats: Vec<Format> = invocation
            .bind()
            .map(|bind| bind.result_formats().iter().collect())
            .unwrap_or_default();
        self.ask_formatted(shards, identity, ids, &formats, effect, invocation)
            .await
    }

    /// The same with result formats other than the client's.
    pub(super) async fn ask_formatted(
        &mut self,
        shards: &[ShardId],
        identity: &Rc<StatementIdentity>,
        ids: &[[u8; 8]],
        formats: &[Format],
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<SmallVec<[Asked; 8]>, Fault> {
        let types = self.types_for_shards(shards, invocation).await?;
        let own = invocation.bind().map(|bind| bind.parameters());
        let ids = ids.iter().map(|id| (Format::Binary, Some(id.as_slice())));
        let parameters: Vec<_> = own.into_iter().flatten().chain(ids).collect();
        let request = Request {
            identity,
            named: invocation
                .bind()
                .is_some_and(|bind| !bind.statement.is_empty()),
            parameters: &parameters,
            types: &types,
            result_formats: formats,
        };
        self.ask_request(shards, &request, effect).await
    }

    /// One request queued for all `shards`.
    pub(super) async fn ask_request(
        &mut self,
        shards: &[ShardId],
        request: &Request<'_>,
        effect: Effect,
    ) -> Result<SmallVec<[Asked; 8]>, Fault> {
        let branches = self.join_all(shards).await?;
        let mut asked: SmallVec<[Asked; 8]> = SmallVec::new();
        for index in branches {
            self.note_effect(index, effect);
            let one = self.ask(index, request);
            let mut one = self.unless_called_off(&mut asked, one).await?;
            if !asked.is_empty() {
                one.notices = Notices::WhenRun;
            }
            asked.push(one);
        }
        Ok(asked)
    }

    /// Of the client's parameters, in the home shard's oids, where a shard has others.
    pub(super) async fn types_for_shards(
        &mut self,
        shards: &[ShardId],
        invocation: &Invocation<'_>,
    ) -> Result<Vec<u32>, Fault> {
        match invocation {
            Invocation::Simple { .. } => Ok(Vec::new()),
            Invocation::Extended { identity, bind, .. } => {
                let translates = shards.iter().any(|shard| self.has_other_oids(*shard));
                self.bound_types(translates, identity, bind).await
            }
        }
    }

    /// What the shards are to prepare: of a simple query nothing is kept.
    pub(super) fn statement_for_shards(
        &self,
        invocation: &Invocation<'_>,
        text: Option<&str>,
    ) -> Rc<StatementIdentity> {
        match (invocation, text) {
            (Invocation::Extended { identity, .. }, None) => Rc::clone(identity),
            (Invocation::Extended { identity, .. }, Some(text)) => {
                self.identity(text, &identity.types)
            }
            (Invocation::Simple { text: own }, other) => Rc::new(StatementIdentity {
                number: 0,
                text: other.unwrap_or(own).into(),
                types: Box::default(),
                server_name: Box::default(),
            }),
        }
    }

    /// After a failure nothing runs any longer on the shards asked.
    pub(super) async fn unless_called_off<T>(
        &mut self,
        asked: &mut [Asked],
        outcome: Result<T, Fault>,
    ) -> Result<T, Fault> {
        if outcome.is_err() {
            Box::pin(self.call_off(asked)).await;
        }
        outcome
    }

    /// Reads all shards to their end, gives the merged rows, and returns the whole CommandComplete.
    async fn merge(
        &mut self,
        asked: &mut [Asked],
        merger: impl FnOnce(Vec<Column>) -> Merger,
        hidden: usize,
        reply: &mut Reply,
    ) -> Result<Vec<u8>, Fault> {
        self.merge_described(asked, merger, hidden, reply, None)
            .await
    }

    /// As [`Self::merge`]. `described`: the whole RowDescription or NoData that the client gets, where it is not
    /// the shards'.
    pub(super) async fn merge_described(
        &mut self,
        asked: &mut [Asked],
        merger: impl FnOnce(Vec<Column>) -> Merger,
        hidden: usize,
        reply: &mut Reply,
        described: Option<&[u8]>,
    ) -> Result<Vec<u8>, Fault> {
        let first = self.message_of(asked, 0).await?;
        let shard = self.shard_of(&asked[0]);
        match described {
            Some(described) => self.reply_described(reply, described),
            None => self.reply_description(reply, shard, &first.bytes, hidden)?,
        }
        let columns = described::columns(&first)?;
        let count = asked.len();
        let mut gathering = Gathering {
            columns: columns.len(),
            merger: merger(columns),
            described: (0..count).map(|_| None).collect(),
            tags: Tags::default(),
            asked,
        };
        self.note_description(&mut gathering, 0, &first)?;
        self.merge_rows(&mut gathering, reply).await?;
        self.end_all(&mut gathering).await?;
        gathering.complete()
    }

    async fn merge_rows(
        &mut self,
        gathering: &mut Gathering<'_>,
        reply: &mut Reply,
    ) -> Result<(), Fault> {
        loop {
            let mut step = Step::Done;
            self.reply_row(reply, |out| {
                step = gathering.merger.step(out)?;
                Ok(step == Step::Row)
            })
            .await?;
            match step {
                Step::Row => {}
                Step::Need(position) => self.feed(gathering, position).await?,
                Step::NeedAny => {
                    let position = gathering.first_open().ok_or_else(out_of_step)?;
                    self.feed(gathering, position).await?;
                }
                Step::Done => return Ok(()),
            }
        }
    }

    /// The next message of one shard, for the merger.
    async fn feed(&mut self, gathering: &mut Gathering<'_>, position: usize) -> Result<(), Fault> {
        let message = self.message_of(gathering.asked, position).await?;
        match message.tag {
            tag::DATA_ROW => {
                let row = self.row(gathering, position, &message);
                let pushed = gathering.merger.push(position, row);
                pushed.map_err(|error| RouterError::from(error).into())
            }
            tag::COMMAND_COMPLETE => gathering.end(position, &message),
            tag::ROW_DESCRIPTION | tag::NO_DATA => {
                self.note_description(gathering, position, &message)
            }
            _ => Err(out_of_step().into()),
        }
    }

    /// Body of a DataRow with the home shard's oids inside.
    fn row(&self, gathering: &Gathering<'_>, position: usize, message: &Message) -> bytes::Bytes {
        let body = message.bytes.slice(5..);
        match &gathering.described[position] {
            Some(Some(columns)) => {
                let oids = self
                    .current_space()
                    .oids(self.shard_of(&gathering.asked[position]));
                oids.map_or(body.clone(), |oids| columns.rewrite(oids, &body))
            }
            _ => body,
        }
    }

    /// All shards must describe alike: in the middle of a change of the tables they may not.
    fn note_description(
        &self,
        gathering: &mut Gathering<'_>,
        position: usize,
        message: &Message,
    ) -> Result<(), Fault> {
        let mut rewrites = None;
        let mut columns = 0;
        if message.tag == tag::ROW_DESCRIPTION {
            let description = RowDescription::parse(message.body())?;
            columns = description.len();
            let oids = self
                .current_space()
                .oids(self.shard_of(&gathering.asked[position]));
            rewrites = oids.and_then(|oids| RowOids::of(&description, oids));
        }
        if columns != gathering.columns {
            return Err(differing_columns().into());
        }
        gathering.described[position] = Some(rewrites);
        Ok(())
    }

    /// Rows beyond the LIMIT are thrown away; the connections are in step afterwards.
    async fn end_all(&mut self, gathering: &mut Gathering<'_>) -> Result<(), Fault> {
        for position in 0..gathering.asked.len() {
            while let Some(message) = self.next_message(gathering.asked, position).await? {
                if message.tag == tag::COMMAND_COMPLETE {
                    gathering.end(position, &message)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn shard_of(&self, asked: &Asked) -> ShardId {
        self.transaction.branches[asked.branch].server.shard
    }

    /// The next message, which must come.
    pub(super) async fn message_of(
        &mut self,
        asked: &mut [Asked],
        position: usize,
    ) -> Result<Message, Fault> {
        let message = self.next_message(asked, position).await?;
        message.ok_or_else(|| out_of_step().into())
    }
}

impl Gathering<'_> {
    /// The first shard that may send more rows.
    fn first_open(&self) -> Option<usize> {
        (0..self.asked.len()).find(|position| !self.merger.has_ended(*position))
    }

    fn end(&mut self, position: usize, message: &Message) -> Result<(), Fault> {
        self.merger.end(position);
        let added = self.tags.add(&message.bytes.slice(5..));
        added.map_err(|error| RouterError::from(error).into())
    }

    /// `SELECT` with the rows given, any other tag with the sum of its rows.
    fn complete(&self) -> Result<Vec<u8>, Fault> {
        let mut out = bytes::BytesMut::new();
        self.write_tag(&mut out).map_err(RouterError::from)?;
        Ok(out.to_vec())
    }

    fn write_tag(&self, out: &mut bytes::BytesMut) -> Result<(), MergeError> {
        self.tags.write(out)?;
        if is_select(&CommandComplete::parse(&out[5..])?) {
            out.clear();
            self.tags.write_with_rows(self.merger.rows(), out)?;
        }
        Ok(())
    }
}

fn encoding_sorts_otherwise(encoding: &str) -> RouterError {
    RouterError::unsupported(
        "merge-encoding",
        format!("rows of several shards cannot be sorted by strings in client_encoding {encoding}"),
    )
    .detail("Strings come from the shards in that encoding, whose bytes sort otherwise than their collation does.")
    .hint("SET client_encoding TO UTF8.")
}

/// A shard's messages do not follow the protocol.
pub(super) fn out_of_step() -> RouterError {
    RouterError::new(
        wire::sqlstate::PROTOCOL_VIOLATION,
        "a shard has answered out of turn",
    )
}

pub(super) fn differing_columns() -> RouterError {
    RouterError::new(
        wire::sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the shards do not have the same columns",
    )
    .detail("The statement's result has another number of columns on another shard.")
    .hint("Run it again when the change of the table is done; `oskol check` tells differences that stay.")
}
