//! INSERT of the rows of a query that no shard can run with its INSERT: the query is run first, to its end, as
//! PostgreSQL too reads what was there before; then its rows are inserted where they belong, batch by batch, in
//! one global transaction.
//!
//! Owns the order of the steps. Takes an [`InsertRows`] and what the client has bound; writes the reply.

mod columns;
mod deal;
mod explained;
mod keys;
mod source;
mod upserts;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use topology::ShardId;
use wire::Format;
use wire::backend::{CommandComplete, ErrorResponse, write};

use super::super::fault::Fault;
use super::super::kept_rows::KeptRows;
use super::super::state::Session;
use super::Invocation;
use super::arrays::Arrays;
use super::gather::Original;
use super::reply::Reply;
use super::shares::{Order, Parameter, Relay, Share};
use super::split_insert::positions;
use super::upsert::no_rows;
use crate::error::RouterError;
use crate::plan::Effect;
use crate::plan::gather::template::{self, Handed};
use crate::plan::gather::{Argument, Rendered};
use crate::plan::insert_rows::{Destination, InsertRows};
use columns::Columns;
use keys::KeyAt;

/// PostgreSQL takes no longer message (`PQ_LARGE_MESSAGE_LIMIT`), less what stands around the rows.
const LONGEST_BIND: usize = (1 << 30) - (1 << 20);

/// An INSERT under way.
struct Work<'a> {
    insert: &'a InsertRows,
    effect: Effect,
    invocation: &'a Invocation<'a>,
    /// The client's text as the home shard reads it.
    whole: Rc<Original>,
    columns: Columns,
    /// Of every batch.
    text: Rendered,
    /// None: not a sharded table.
    key: Option<KeyAt<'a>>,
    rows: KeptRows,
    /// Number of the next row.
    next: u64,
    /// Taken, for rows to come: of each id column.
    ids: Vec<VecDeque<i64>>,
    relay: Relay,
}

/// Rows dealt to the shards.
#[derive(Default)]
struct Batch {
    by_shard: BTreeMap<ShardId, Arrays>,
    /// Of each row.
    places: Vec<ShardId>,
}

impl Session {
    pub(super) async fn insert_rows(
        &mut self,
        insert: &InsertRows,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        super::split_insert::check_parameters(insert.client_parameters, invocation)?;
        self.open_around();
        let mut work = self.begin_insert(insert, effect, invocation).await?;
        if let Some(upserts) = &insert.upserts {
            return self.upsert_rows(work, upserts).await;
        }
        while work.next < work.rows.len() {
            let batch = self.deal(&mut work).await?;
            self.insert_batch(&mut work, &batch).await?;
        }
        let mut complete = work.relay.complete()?;
        if let Some(command) = insert.told_as {
            complete = told_as(command, &complete)?;
        }
        self.reply_complete(work.relay.reply, &complete).await
    }

    /// Has the home shard read the client's text, and runs the query.
    async fn begin_insert<'a>(
        &mut self,
        insert: &'a InsertRows,
        effect: Effect,
        invocation: &'a Invocation<'a>,
    ) -> Result<Work<'a>, Fault> {
        let whole = self.original_description(invocation).await?;
        let source = self.describe_source(insert, &whole.parameters).await?;
        let width = source.types.len();
        let ids = insert.ids_for(width);
        if insert.told_as == Some("MERGE") {
            keys::check_matched(insert, &source.types)?;
        }
        let mut columns = self.columns(&source.types).await?;
        let formats = columns.formats();
        columns.add_ids(ids.len());
        let rows = self
            .run_source(insert, &source, &formats, invocation)
            .await
            .map_err(|fault| match insert.told_as {
                Some("UPDATE") => told_of_update(fault),
                _ => fault,
            })?;
        let casts = columns.casts.clone();
        let mut relay = Relay::new(Reply::to(invocation));
        relay.described = true;
        relay.tag = no_rows();
        let home = self.home();
        self.reply_description(&mut relay.reply, home, &whole.rows, 0)?;
        Ok(Work {
            text: insert.text(width).render(&[Handed::Arrays(casts)]),
            key: KeyAt::of(insert, width)?,
            ids: ids.iter().map(|_| VecDeque::new()).collect(),
            whole,
            insert,
            effect,
            invocation,
            columns,
            rows,
            next: 0,
            relay,
        })
    }

    async fn insert_batch(&mut self, work: &mut Work<'_>, batch: &Batch) -> Result<(), Fault> {
        let shards = batch.by_shard.iter();
        let values: Vec<(ShardId, Vec<Bytes>)> = shards
            .map(|(shard, arrays)| (*shard, arrays.values()))
            .collect();
        if work.insert.destination == Destination::Everywhere {
            return self.insert_everywhere(work, &values).await;
        }
        let shares = values
            .iter()
            .map(|(shard, values)| share(work, *shard, values))
            .collect::<Result<Vec<_>, _>>()?;
        let positions = positions(&batch.places, &batch.by_shard);
        let in_order = work.effect.returns_rows && !work.insert.may_skip_rows;
        let order = match in_order {
            true => Order::Given(&positions),
            false => Order::ByShare,
        };
        let (effect, invocation) = (work.effect, work.invocation);
        self.run_round(&shares, &order, effect, invocation, &mut work.relay)
            .await
    }

    /// The same rows to every shard: the lowest goes first and alone, as with every write to a reference table.
    async fn insert_everywhere(
        &mut self,
        work: &mut Work<'_>,
        values: &[(ShardId, Vec<Bytes>)],
    ) -> Result<(), Fault> {
        let Some((_, values)) = values.first() else {
            return Ok(());
        };
        work.relay.only = Some(self.home());
        let shards = self.space.state.map.shards().to_vec();
        let (first, others) = shards.split_at(1.min(shards.len()));
        let (effect, invocation) = (work.effect, work.invocation);
        for group in [first, others] {
            let shares = group
                .iter()
                .map(|shard| share(work, *shard, values))
                .collect::<Result<Vec<_>, _>>()?;
            let order = Order::ByShare;
            self.run_round(&shares, &order, effect, invocation, &mut work.relay)
                .await?;
        }
        Ok(())
    }
}

/// One shard's part of a batch.
fn share<'a>(work: &Work<'_>, shard: ShardId, values: &'a [Bytes]) -> Result<Share<'a>, Fault> {
    let length: usize = values.iter().map(Bytes::len).sum();
    if length > LONGEST_BIND {
        return Err(too_long().into());
    }
    let mut types = Vec::with_capacity(work.text.parameters.len());
    let mut parameters: Vec<Parameter<'a>> = Vec::with_capacity(types.capacity());
    for parameter in &work.text.parameters {
        match parameter {
            template::Parameter::Column { column, .. } => {
                types.push(work.columns.arrays[*column]);
                parameters.push((Format::Binary, Some(Cow::Borrowed(&values[*column]))));
            }
            template::Parameter::Argument(argument) => {
                let (type_oid, format, value) = client(work, *argument);
                types.push(type_oid);
                parameters.push((format, value));
            }
        }
    }
    Ok(Share {
        shard,
        text: work.text.text.clone(),
        types,
        parameters,
    })
}

/// A parameter of the client's own. (The planner puts no clock into an INSERT's text.)
fn client<'a>(work: &Work<'_>, argument: Argument) -> (u32, Format, Option<Cow<'a, [u8]>>) {
    let Argument::Client(number) = argument else {
        return (0, Format::Text, None);
    };
    let index = usize::from(number).wrapping_sub(1);
    let bound = work
        .invocation
        .bind()
        .and_then(|bind| bind.parameter(index));
    let (format, value) = bound.unwrap_or((Format::Text, None));
    let value = value.map(|value| Cow::Owned(value.to_vec()));
    (
        work.whole.parameters.get(index).copied().unwrap_or(0),
        format,
        value,
    )
}

/// The client has sent no DELETE.
fn told_of_update(fault: Fault) -> Fault {
    let read_only = |error: &Bytes| {
        let parsed = ErrorResponse::parse(error.get(5..).unwrap_or_default());
        parsed.is_ok_and(|error| error.sqlstate() == wire::sqlstate::READ_ONLY_SQL_TRANSACTION)
    };
    match fault {
        Fault::Shard(error) if read_only(&error) => RouterError::new(
            wire::sqlstate::READ_ONLY_SQL_TRANSACTION,
            "cannot execute UPDATE in a read-only transaction",
        )
        .into(),
        other => other,
    }
}

/// The same rows, as another command counts them.
fn told_as(command: &str, complete: &[u8]) -> Result<Bytes, Fault> {
    let rows = CommandComplete::parse(complete.get(5..).unwrap_or_default())?.rows();
    let mut out = BytesMut::new();
    let tag = format!("{command} {}", rows.unwrap_or_default());
    write::command_complete(&mut out, tag.as_bytes());
    Ok(out.freeze())
}

fn too_long() -> RouterError {
    RouterError {
        id: "insert-rows-too-long",
        ..RouterError::new(
            wire::sqlstate::PROGRAM_LIMIT_EXCEEDED,
            "the rows for one shard are longer than PostgreSQL takes in one message",
        )
    }
    .detail("With ON CONFLICT DO UPDATE, triggers, or a foreign key to the table itself, all rows of a shard are inserted by one statement, and 1 GiB is the longest.")
    .hint("Insert the rows by several statements.")
}
