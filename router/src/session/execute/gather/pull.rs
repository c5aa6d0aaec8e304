//! One pull: its SELECT on all shards that have rows, and what becomes of them. Few rows are handed on as
//! arrays, one parameter a column; many go into a table of the scratch connection as they come.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use topology::ShardId;
use wire::Format;
use wire::backend::{DataRow, RowDescription, tag};

use super::super::super::fault::Fault;
use super::super::super::oids::rows::RowOids;
use super::super::super::state::Session;
use super::super::super::transaction::State;
use super::super::PartRows;
use super::super::asking::Asked;
use super::super::scatter::{differing_columns, out_of_step};
use super::super::shares::unshared;
use super::arrays;
use super::element::{Element, read_from_text};
use super::explained::Figures;
use super::values::{Array, Input, Work};
use crate::backend::Message;
use crate::backend::prepared::StatementIdentity;
use crate::config::units::print_size;
use crate::error::RouterError;
use crate::plan::Effect;
use crate::plan::gather::{Finish, Gather, Rendered, Source};
use crate::route::{self, Arguments, Target};
use schema::oids::Direction;

/// Up to here arrays are quicker than a temporary table (measured on PostgreSQL 15: 0.1 ms against 1.6 ms for
/// few rows, the same at about this many), and the router may well hold them.
const ROWS_IN_ARRAYS: usize = 20_000;
/// The same in bytes.
const BYTES_IN_ARRAYS: usize = 4 << 20;

/// PostgreSQL's oids of text and text[].
const TEXT: u32 = 25;
const TEXT_ARRAY: u32 = 1009;

/// The rows of a pull as they come.
struct Intake {
    pull: usize,
    /// Types, in the home shard's oids.
    types: Vec<u32>,
    /// By position in what was asked: what in the rows must be rewritten.
    rewrites: Vec<Option<RowOids>>,
    /// Bodies of DataRows in the home shard's oids; none once there is a table.
    rows: Vec<Bytes>,
    bytes: usize,
    table: Option<String>,
    /// More than is handed over as arrays, and there is another plan.
    overflows: bool,
    /// By column: its values have come as text, to be cast to this type. Empty: none has.
    texts: Vec<Option<&'static str>>,
}

/// What came of a pull.
pub(super) enum Pulled<'a> {
    Input(Input),
    /// It has more rows than is good for the plan: follow this one.
    TooMany(&'a Gather),
}

impl Session {
    pub(super) async fn pull<'a>(
        &mut self,
        work: &mut Work<'a>,
        position: usize,
    ) -> Result<Pulled<'a>, Fault> {
        let pull = &work.gather.pulls[position];
        if let Source::Part(number) = pull.source {
            return self.pull_part(work, position, number).await;
        }
        let shards = self.source_shards(&pull.source, work.invocation.arguments());
        let rendered = pull.text.render(&work.handed());
        // A finish apart may be all that a volatile function in the statement does: it is in the pulls.
        let effect = match work.gather.place {
            Finish::Apart { .. } => work.effect,
            Finish::Shards { .. } | Finish::Locked { .. } | Finish::Mirrored(_) => {
                Effect::default()
            }
        };
        let (mut asked, intake) = self
            .read(work, position, &shards, &rendered, effect)
            .await?;
        match work.otherwise().filter(|_| intake.overflows) {
            Some(otherwise) => {
                self.call_off(&mut asked).await;
                Ok(Pulled::TooMany(otherwise))
            }
            None => self.hand_over(work, intake).await,
        }
    }

    /// The rows that a part of the statement has given.
    async fn pull_part<'a>(
        &mut self,
        work: &mut Work<'a>,
        position: usize,
        number: usize,
    ) -> Result<Pulled<'a>, Fault> {
        let part = self.parts.get_mut(number).and_then(Option::take);
        let mut part = part.ok_or_else(out_of_step)?;
        let taken = self.take_part(work, position, &mut part).await;
        self.parts[number] = Some(part);
        let intake = taken?;
        match work.otherwise().filter(|_| intake.overflows) {
            Some(otherwise) => Ok(Pulled::TooMany(otherwise)),
            None => self.hand_over(work, intake).await,
        }
    }

    async fn take_part(
        &mut self,
        work: &mut Work<'_>,
        position: usize,
        part: &mut PartRows,
    ) -> Result<Intake, Fault> {
        let mut intake = Intake {
            pull: position,
            types: part.types.clone(),
            rewrites: Vec::new(),
            rows: Vec::new(),
            bytes: 0,
            table: None,
            overflows: false,
            texts: part.texts.clone(),
        };
        work.pulled = Figures::default();
        for number in 0..part.rows.len() {
            let row = part.rows.row(number).await?.ok_or_else(out_of_step)?;
            self.take_row(work, &mut intake, row.slice(5..)).await?;
        }
        Ok(intake)
    }

    /// All rows of a pull. Where they must be read anew the transaction's connections give the same, but for
    /// their order.
    async fn read(
        &mut self,
        work: &mut Work<'_>,
        position: usize,
        shards: &[ShardId],
        rendered: &Rendered,
        effect: Effect,
    ) -> Result<(SmallVec<[Asked; 8]>, Intake), Fault> {
        let mut formats = vec![Format::Binary];
        let mut texts = Vec::new();
        loop {
            let mut asked = self
                .ask_rendered(work, shards, rendered, &formats, effect)
                .await?;
            let taken = self.take_in(work, position, &mut asked).await;
            let mut intake = self.unless_called_off(&mut asked, taken).await?;
            if texts.is_empty() {
                texts = self.wanted_texts(work, &intake).await?;
                if !texts.is_empty() {
                    formats = texts.iter().map(|text| format_of(*text)).collect();
                    work.bytes -= intake.bytes;
                    continue;
                }
            }
            intake.texts = texts;
            return Ok((asked, intake));
        }
    }

    /// Ascending, at least one: a key that matches no row is asked for on any shard.
    pub(super) fn source_shards(&self, source: &Source, arguments: Arguments<'_>) -> Vec<ShardId> {
        let map = &self.space.state.map;
        let encoding = self.encoding();
        let shards = match source {
            Source::Everywhere => None,
            Source::Key { key, key_type } => {
                match route::target(key, *key_type, arguments, &[], encoding, map) {
                    Target::Shard(shard) => Some(vec![shard]),
                    Target::Nowhere => Some(Vec::new()),
                    Target::Unknown => None,
                }
            }
            Source::Keys { keys, key_type } => self.shards_of_keys(keys, *key_type, arguments),
            Source::KeyArray { array, key_type } => {
                route::array_targets(array, *key_type, arguments, encoding, map)
            }
            Source::Home => Some(vec![map.home()]),
            Source::AnyShard | Source::Part(_) => Some(Vec::new()),
        };
        match shards {
            None => map.shards().to_vec(),
            Some(shards) if shards.is_empty() => vec![self.any_shard()],
            Some(shards) => shards,
        }
    }

    /// A rendered text queued for all `shards`.
    pub(super) async fn ask_rendered(
        &mut self,
        work: &Work<'_>,
        shards: &[ShardId],
        rendered: &Rendered,
        result_formats: &[Format],
        effect: Effect,
    ) -> Result<SmallVec<[Asked; 8]>, Fault> {
        let binding = work.bind(rendered)?;
        let (identity, named) = self.rendered_identity(work, &rendered.text, &binding.types);
        let request = binding.request(&identity, named, result_formats);
        self.ask_request(shards, &request, effect).await
    }

    /// A rendered text queued for one branch.
    pub(super) fn ask_branch(
        &mut self,
        work: &Work<'_>,
        branch: usize,
        rendered: &Rendered,
        result_formats: &[Format],
    ) -> Result<Asked, Fault> {
        let binding = work.bind(rendered)?;
        let (identity, named) = self.rendered_identity(work, &rendered.text, &binding.types);
        self.ask(branch, &binding.request(&identity, named, result_formats))
    }

    /// As with the client's own texts: those that it has prepared by name are kept on the shards.
    fn rendered_identity(
        &self,
        work: &Work<'_>,
        text: &str,
        types: &[u32],
    ) -> (Rc<StatementIdentity>, bool) {
        if work.is_named() {
            (self.identity(text, types), true)
        } else {
            (unshared(text, types), false)
        }
    }

    async fn take_in(
        &mut self,
        work: &mut Work<'_>,
        pull: usize,
        asked: &mut [Asked],
    ) -> Result<Intake, Fault> {
        let mut intake = Intake {
            pull,
            types: Vec::new(),
            rewrites: asked.iter().map(|_| None).collect(),
            rows: Vec::new(),
            bytes: 0,
            table: None,
            overflows: false,
            texts: Vec::new(),
        };
        work.pulled = Figures::default();
        while let Some((position, message)) = self.next_of_any(asked).await? {
            match message.tag {
                tag::ROW_DESCRIPTION => {
                    let shard = self.shard_of(&asked[position]);
                    self.note_columns(&mut intake, position, shard, &message)?;
                }
                tag::DATA_ROW => {
                    let shard = self.shard_of(&asked[position]);
                    let row = self.row_at_home(&intake, position, shard, &message);
                    let Some(row) = marked(work, pull, shard, row)? else {
                        continue;
                    };
                    self.take_row(work, &mut intake, row).await?;
                    // A cancelled statement would fail an open transaction.
                    if intake.overflows && self.transaction.state == State::Idle {
                        break;
                    }
                }
                tag::NO_DATA => return Err(out_of_step().into()),
                _ => {}
            }
        }
        Ok(intake)
    }

    /// All shards must describe alike: in the middle of a change of the tables they may not.
    fn note_columns(
        &self,
        intake: &mut Intake,
        position: usize,
        shard: ShardId,
        message: &Message,
    ) -> Result<(), Fault> {
        let description = RowDescription::parse(message.body())?;
        let oids = self.current_space().oids(shard);
        let home = |oid: u32| oids.map_or(oid, |map| map.type_oid(oid, Direction::ToHome));
        let types: Vec<u32> = description
            .fields()
            .map(|field| home(field.type_oid))
            .collect();
        if intake.types.is_empty() {
            intake.types.clone_from(&types);
        }
        if intake.types != types {
            return Err(differing_columns().into());
        }
        intake.rewrites[position] = oids.and_then(|oids| RowOids::of(&description, oids));
        Ok(())
    }

    fn row_at_home(
        &self,
        intake: &Intake,
        position: usize,
        shard: ShardId,
        message: &Message,
    ) -> Bytes {
        let body = message.bytes.slice(5..);
        let oids = self.current_space().oids(shard);
        match intake.rewrites[position].as_ref().zip(oids) {
            Some((columns, oids)) => columns.rewrite(oids, &body),
            None => body,
        }
    }

    async fn take_row(
        &mut self,
        work: &mut Work<'_>,
        intake: &mut Intake,
        row: Bytes,
    ) -> Result<(), Fault> {
        let limits = &self.worker.config.limits;
        work.pulled.rows += 1;
        work.pulled.bytes += row.len();
        work.bytes += row.len();
        if work.bytes > limits.gather_bytes {
            return Err(too_much(limits.gather_bytes).into());
        }
        if intake.table.is_some() {
            return self.load_row(work, &row).await;
        }
        if intake.overflows {
            return Ok(());
        }
        intake.bytes += row.len();
        intake.rows.push(row);
        let is_large = intake.rows.len() > ROWS_IN_ARRAYS || intake.bytes > BYTES_IN_ARRAYS;
        if is_large && work.otherwise().is_some() {
            intake.overflows = true;
            intake.rows.clear();
        } else if is_large && self.may_use_table(work, intake.pull) {
            self.move_to_table(work, intake).await?;
        } else if intake.bytes > limits.merge_bytes {
            return Err(too_much_held(limits.merge_bytes).into());
        }
        Ok(())
    }

    /// A type that the transaction has made itself is not known outside of it.
    fn may_use_table(&self, work: &Work<'_>, pull: usize) -> bool {
        self.transaction.private.is_none() && work.may_use_table(pull)
    }

    async fn move_to_table(
        &mut self,
        work: &mut Work<'_>,
        intake: &mut Intake,
    ) -> Result<(), Fault> {
        let name = self.begin_load(work, intake.pull, &intake.types).await?;
        intake.table = Some(name);
        for row in std::mem::take(&mut intake.rows) {
            self.load_row(work, &row).await?;
        }
        Ok(())
    }

    /// All rows are there: in a table, or to become arrays.
    async fn hand_over<'a>(
        &mut self,
        work: &mut Work<'a>,
        mut intake: Intake,
    ) -> Result<Pulled<'a>, Fault> {
        if intake.table.is_none() {
            let mut elements = self.elements(&intake.types).await?;
            for (element, text) in elements.iter_mut().zip(&intake.texts) {
                if text.is_some() {
                    *element = Element::Of(TEXT_ARRAY);
                }
            }
            match (array_types(&elements), work.otherwise()) {
                (Some(types), _) => {
                    return Ok(Pulled::Input(Input::Arrays(intake.arrays(&types)?)));
                }
                (None, Some(otherwise)) => return Ok(Pulled::TooMany(otherwise)),
                (None, None) => self.check_columns(work, &intake, &elements)?,
            }
            self.move_to_table(work, &mut intake).await?;
        }
        let name = intake.table.ok_or_else(out_of_step)?;
        self.end_load(work, &name).await?;
        Ok(Pulled::Input(Input::Table(name)))
    }

    /// Which columns of a pull are to come as text: arrays, of which there is no array, and for which
    /// there may be no table.
    async fn wanted_texts(
        &mut self,
        work: &Work<'_>,
        intake: &Intake,
    ) -> Result<Vec<Option<&'static str>>, Fault> {
        let is_settled = intake.table.is_some() || intake.overflows;
        if is_settled || work.otherwise().is_some() || work.may_use_table(intake.pull) {
            return Ok(Vec::new());
        }
        self.texts_of(&intake.types).await
    }

    /// Which columns of these types can only be handed over as text, if all can be handed over so.
    pub(in crate::session::execute) async fn texts_of(
        &mut self,
        types: &[u32],
    ) -> Result<Vec<Option<&'static str>>, Fault> {
        let elements = self.elements(types).await?;
        let mut wanted = Vec::new();
        for (element, type_oid) in elements.iter().zip(types) {
            match (element, read_from_text(*type_oid)) {
                (Element::OnlyColumn, Some(text)) => wanted.push(Some(text)),
                (Element::Of(_), _) => wanted.push(None),
                _ => return Ok(Vec::new()),
            }
        }
        let any = wanted.iter().any(Option::is_some);
        Ok(if any { wanted } else { Vec::new() })
    }

    /// Whether a table can have these columns, and may be made.
    fn check_columns(
        &self,
        work: &Work<'_>,
        intake: &Intake,
        elements: &[Element],
    ) -> Result<(), Fault> {
        let pull = &work.gather.pulls[intake.pull];
        if elements.contains(&Element::Pseudo) {
            return Err(pseudo_type(&pull.name).into());
        }
        if !self.may_use_table(work, intake.pull) {
            return Err(array_column(&pull.name).into());
        }
        Ok(())
    }
}

impl Intake {
    fn arrays(&self, types: &[u32]) -> Result<Vec<Array>, Fault> {
        let elements: Vec<u32> = self
            .types
            .iter()
            .enumerate()
            .map(|(column, type_oid)| self.text(column).map_or(*type_oid, |_| TEXT))
            .collect();
        let arrays = arrays::of_rows(&self.rows, &elements)?;
        let both = types.iter().zip(arrays).enumerate();
        Ok(both
            .map(|(column, (type_oid, bytes))| Array {
                type_oid: *type_oid,
                bytes,
                cast: self.text(column).map(str::to_owned),
            })
            .collect())
    }

    fn text(&self, column: usize) -> Option<&'static str> {
        self.texts.get(column).copied().flatten()
    }
}

/// The row of a marked pull with the shard's number in its last column; `None`: it is to be left out.
fn marked(
    work: &Work<'_>,
    pull: usize,
    shard: ShardId,
    row: Bytes,
) -> Result<Option<Bytes>, Fault> {
    let Some(mark) = work.gather.pulls[pull].mark else {
        return Ok(Some(row));
    };
    if let Some(skipped) = work.skipped.get(mark).filter(|skipped| !skipped.is_empty()) {
        let parsed = DataRow::parse(&row)?;
        let place = parsed.len().checked_sub(2).ok_or_else(out_of_step)?;
        let place = parsed.nth(place).flatten().unwrap_or_default();
        let place = format!("{}@{shard}", String::from_utf8_lossy(place));
        if skipped.contains(&place) {
            return Ok(None);
        }
    }
    // An int4 in binary.
    let mut row = BytesMut::from(row);
    let number = row.len().checked_sub(4).ok_or_else(out_of_step)?;
    row[number..].copy_from_slice(&i32::from(shard.0).to_be_bytes());
    Ok(Some(row.freeze()))
}

/// The texts, and the formats in which the columns are to come.
pub(in crate::session::execute) fn text_formats(
    texts: Vec<Option<&'static str>>,
) -> (Vec<Option<&'static str>>, Vec<Format>) {
    let formats = match texts.is_empty() {
        true => vec![Format::Binary],
        false => texts.iter().map(|text| format_of(*text)).collect(),
    };
    (texts, formats)
}

fn format_of(text: Option<&str>) -> Format {
    match text {
        Some(_) => Format::Text,
        None => Format::Binary,
    }
}

/// `None`: there is not an array for each.
fn array_types(elements: &[Element]) -> Option<Vec<u32>> {
    let array = |element: &Element| match element {
        Element::Of(array) => Some(*array),
        Element::OnlyColumn | Element::Pseudo => None,
    };
    elements.iter().map(array).collect()
}

fn too_much(limit: usize) -> RouterError {
    let size = print_size(limit);
    RouterError {
        id: "gather-limit",
        ..RouterError::new(
            wire::sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
            format!("the statement pulls more than {size} of rows from the shards"),
        )
    }
    .detail("Its rows are brought to one shard and finished there; limits.gather bounds them.")
    .hint("Restrict the statement to fewer rows, or raise limits.gather in the router's configuration.")
}

pub(super) fn too_much_held(limit: usize) -> RouterError {
    let size = print_size(limit);
    RouterError {
        id: "gather-held",
        ..RouterError::new(
            wire::sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
            format!("the rows that the statement hands to the shards are more than {size}"),
        )
    }
    .detail("They wait in the router; limits.merge bounds them.")
    .hint("Restrict the statement to fewer rows, or raise limits.merge in the router's configuration.")
}

pub(super) fn pseudo_type(pull: &str) -> RouterError {
    RouterError::unsupported(
        "gather-pseudo-type",
        "a value of a pseudo-type cannot be brought to another shard",
    )
    .detail(format!("It is among the columns of {pull}."))
    .hint("Cast it to a type that a table can have, such as text.")
}

fn array_column(pull: &str) -> RouterError {
    RouterError::unsupported(
        "gather-array-column",
        "an array cannot be handed to several shards",
    )
    .detail(format!("It is among the columns of {pull}."))
    .hint("Restrict the statement to one shard key, or pass the array as text.")
}
