//! Writes to reference tables that each shard would carry out differently: one shard makes the rows, the
//! others get them.
//!
//! The shard that goes first is the lowest, as with every write to a reference table, or the home shard
//! where only that can run the statement.

use std::rc::Rc;

use topology::ShardId;
use wire::Format;
use wire::backend::{CommandComplete, DataRow, RowDescription, tag};

use super::super::fault::Fault;
use super::super::oids::rows::RowOids;
use super::super::state::Session;
use super::Invocation;
use super::arrays::Arrays;
use super::asking::{Asked, Notices, Request};
use super::broadcast::differing;
use super::by_key::Filled;
use super::reply::Reply;
use super::shares::unshared;
use crate::backend::Message;
use crate::config::units;
use crate::error::RouterError;
use crate::plan::Effect;
use crate::plan::gather::template::{Handed, Parameter};
use crate::plan::mirror::Mirror;

/// What the first shard has made.
struct Made {
    /// Columns that the client gets.
    visible: usize,
    row_oids: Option<RowOids>,
    rows: Arrays,
    /// Whole CommandComplete message.
    complete: Vec<u8>,
}

impl Session {
    /// Runs `filled` on one shard, replies with what the client asked for, and gives the others its rows.
    pub(super) async fn mirror(
        &mut self,
        mirror: &Mirror,
        filled: &Filled,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let first = self.begin_mirror(mirror).await?;
        let formats = formats(mirror, invocation);
        let mut asked = self
            .ask_formatted(
                &[first],
                &filled.identity,
                &filled.ids,
                &formats,
                effect,
                invocation,
            )
            .await?;
        self.mirror_asked(mirror, &mut asked, invocation).await
    }

    /// Joins all shards; gives the one that goes first.
    pub(super) async fn begin_mirror(&mut self, mirror: &Mirror) -> Result<ShardId, Fault> {
        self.hold_writers(&mirror.holds).await?;
        self.open_around();
        let shards = self.space.state.map.shards().to_vec();
        self.join_all(&shards).await?;
        let lowest = shards.first().copied().unwrap_or_else(|| self.home());
        Ok(if mirror.at_home { self.home() } else { lowest })
    }

    /// Hears the one shard that was asked, and hands on its rows.
    pub(super) async fn mirror_asked(
        &mut self,
        mirror: &Mirror,
        asked: &mut [Asked],
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let first = self.shard_of(&asked[0]);
        let mut reply = Reply::to(invocation);
        let made = self.hear_first(asked, mirror, &mut reply).await;
        let made = self.unless_called_off(asked, made).await?;
        let mut others = self.space.state.map.shards().to_vec();
        others.retain(|shard| *shard != first);
        if made.rows.rows() > 0 {
            self.copy_rows(&others, mirror, first, &made).await?;
        }
        self.reply_complete(reply, &made.complete).await
    }

    async fn hear_first(
        &mut self,
        asked: &mut [Asked],
        mirror: &Mirror,
        reply: &mut Reply,
    ) -> Result<Made, Fault> {
        let mut made = Made {
            visible: mirror.visible,
            row_oids: None,
            rows: Arrays::default(),
            complete: Vec::new(),
        };
        while let Some(message) = self.next_message(asked, 0).await? {
            match message.tag {
                tag::ROW_DESCRIPTION => {
                    let shard = self.shard_of(&asked[0]);
                    self.describe_made(&mut made, mirror, shard, reply, &message)?;
                }
                tag::DATA_ROW => self.made_row(&mut made, asked, reply, &message).await?,
                tag::COMMAND_COMPLETE => made.complete = message.bytes.to_vec(),
                _ => {}
            }
        }
        Ok(made)
    }

    fn describe_made(
        &mut self,
        made: &mut Made,
        mirror: &Mirror,
        shard: ShardId,
        reply: &mut Reply,
        message: &Message,
    ) -> Result<(), Fault> {
        let description = RowDescription::parse(message.body())?;
        if description.len() != mirror.visible + mirror.hidden {
            return Err(other_columns().into());
        }
        let space = Rc::clone(self.current_space());
        let oids = space.oids(shard);
        let home = |oid: u32| match oids {
            Some(map) => map.type_oid(oid, schema::oids::Direction::ToHome),
            None => oid,
        };
        made.row_oids = oids.and_then(|oids| RowOids::of(&description, oids));
        let hidden = description.fields().skip(mirror.visible);
        made.rows = Arrays::of(hidden.map(|field| home(field.type_oid)));
        if mirror.visible > 0 {
            self.reply_description(reply, shard, &message.bytes, mirror.hidden)?;
        }
        Ok(())
    }

    async fn made_row(
        &mut self,
        made: &mut Made,
        asked: &[Asked],
        reply: &mut Reply,
        message: &Message,
    ) -> Result<(), Fault> {
        let mut body = message.bytes.slice(5..);
        let shard = self.shard_of(&asked[0]);
        if let Some((columns, oids)) = made.row_oids.as_ref().zip(self.current_space().oids(shard))
        {
            body = columns.rewrite(oids, &body);
        }
        let row = DataRow::parse(&body)?;
        made.rows.push(&row, made.visible);
        let limit = self.worker.config.limits.merge_bytes;
        if made.rows.bytes() > limit {
            return Err(too_many_rows(limit).into());
        }
        if made.visible > 0 {
            let visible = made.visible;
            self.reply_row(reply, |out| {
                row.write_first(out, visible);
                Ok(true)
            })
            .await?;
        }
        Ok(())
    }

    /// The rows to all `others` at once. As many as were made must come of them.
    async fn copy_rows(
        &mut self,
        others: &[ShardId],
        mirror: &Mirror,
        first: ShardId,
        made: &Made,
    ) -> Result<(), Fault> {
        let elements: Vec<u32> = made.rows.types().collect();
        let arrays = self.array_types(&elements).await?;
        let rendered = mirror.copy.render(&[Handed::Arrays(mirror.casts.clone())]);
        let values = made.rows.values();
        let column = |parameter: &Parameter| match parameter {
            Parameter::Column { column, .. } => Some(*column),
            // The copying statement is the router's own.
            Parameter::Argument(_) => None,
        };
        let columns: Vec<usize> = rendered.parameters.iter().filter_map(column).collect();
        let types: Vec<u32> = columns.iter().map(|column| arrays[*column]).collect();
        let parameters: Vec<_> = columns
            .iter()
            .map(|column| (Format::Binary, Some(&values[*column][..])))
            .collect();
        let request = Request {
            identity: &unshared(&rendered.text, &types),
            named: false,
            parameters: &parameters,
            types: &types,
            result_formats: &[],
        };
        let mut asked = Vec::new();
        let heard = match self.ask_others(others, &request, &mut asked).await {
            Ok(()) => self.hear_copies(&mut asked, first, &made.complete).await,
            Err(fault) => Err(fault),
        };
        self.unless_called_off(&mut asked, heard).await
    }

    async fn ask_others(
        &mut self,
        others: &[ShardId],
        request: &Request<'_>,
        asked: &mut Vec<Asked>,
    ) -> Result<(), Fault> {
        let effect = Effect {
            writes: true,
            ..Effect::default()
        };
        for index in self.join_all(others).await? {
            self.note_effect(index, effect);
            let mut one = self.ask(index, request)?;
            one.notices = Notices::No;
            asked.push(one);
        }
        Ok(())
    }

    async fn hear_copies(
        &mut self,
        asked: &mut [Asked],
        first: ShardId,
        complete: &[u8],
    ) -> Result<(), Fault> {
        let made = CommandComplete::parse(complete.get(5..).unwrap_or_default())?.rows();
        for position in 0..asked.len() {
            let shard = self.shard_of(&asked[position]);
            while let Some(message) = self.next_message(asked, position).await? {
                if message.tag != tag::COMMAND_COMPLETE {
                    continue;
                }
                let rows = CommandComplete::parse(message.body())?.rows();
                if rows != made {
                    return Err(differing((first, made), (shard, rows)).into());
                }
            }
        }
        Ok(())
    }
}

/// The client's formats for its own columns, binary for those handed over.
pub(super) fn formats(mirror: &Mirror, invocation: &Invocation<'_>) -> Vec<Format> {
    let wanted = invocation.bind().map(wire::frontend::Bind::result_formats);
    let own = |column| {
        wanted
            .as_ref()
            .map_or(Format::Text, |formats| formats.of(column))
    };
    let hidden = std::iter::repeat_n(Format::Binary, mirror.hidden);
    (0..mirror.visible).map(own).chain(hidden).collect()
}

fn other_columns() -> RouterError {
    RouterError::new(
        wire::sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "a table has changed while the statement was run",
    )
    .hint("Run it again.")
}

fn too_many_rows(limit: usize) -> RouterError {
    let size = units::print_size(limit);
    RouterError::new(
        wire::sqlstate::OUT_OF_MEMORY,
        format!("the rows written to a reference table take more than {size}"),
    )
    .detail("Values such as now() or random() are computed on one shard, and its rows are held in the router for the others.")
    .hint("Write fewer rows at once, or raise limits.merge in the router's configuration.")
}
