//! INSERT of rows that stand in arrays: the same statement for each shard, with the arrays cut to its rows and an
//! array of ids where the client gives none.

use std::borrow::Cow;

use topology::ShardId;
use wire::Format;

use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::shares::{Order, Share};
use super::split_insert::{Writer, by_shard, check_parameters, positions, settle};
use crate::error::RouterError;
use crate::plan::{ArraySource, Piece, Plan, SplitUnnest, UnnestKey};
use crate::route::Target;
use crate::route::unnest::{Column, element_of};
use crate::settings::quote_literal;

/// The rows of the statement.
struct Rows<'a> {
    columns: Vec<Column<'a>>,
    count: usize,
    /// For each of the appended columns, an id for each row.
    ids: Vec<Vec<i64>>,
}

impl Session {
    pub(super) async fn run_split_unnest(
        &mut self,
        unnest: &SplitUnnest,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        check_parameters(unnest.client_parameters, invocation)?;
        let columns = columns(unnest, invocation)?;
        // PostgreSQL fills shorter arrays up with NULL.
        let count = columns.iter().map(Column::rows).max().unwrap_or(0);
        let ids = self.ids_of_rows(unnest, count).await?;
        let rows = Rows {
            columns,
            count,
            ids,
        };
        let places = self.places_of_rows(unnest, &rows, invocation)?;
        let mut by_shard = by_shard(&places);
        if by_shard.is_empty() {
            by_shard.insert(self.any_shard(), Vec::new());
        }
        let types = match invocation {
            Invocation::Simple { .. } => &[][..],
            Invocation::Extended { identity, .. } => &identity.types,
        };
        let shares: Vec<Share<'_>> = by_shard
            .iter()
            .map(|(shard, numbers)| share(unnest, &rows, *shard, numbers, types, invocation))
            .collect();
        if let (Invocation::Simple { .. }, [share]) = (invocation, shares.as_slice()) {
            let (shard, text) = (share.shard, &share.text);
            return self.run_on_one(shard, text, plan.effect, invocation).await;
        }
        let positions = positions(&places, &by_shard);
        let order = if unnest.returning && !unnest.may_skip_rows {
            Order::Given(&positions)
        } else {
            Order::ByShare
        };
        self.run_shares(&shares, &order, plan.effect, invocation)
            .await
    }

    async fn ids_of_rows(
        &mut self,
        unnest: &SplitUnnest,
        count: usize,
    ) -> Result<Vec<Vec<i64>>, Fault> {
        let mut all = Vec::with_capacity(unnest.append_ids.len());
        for sequence in &unnest.append_ids {
            let mut ids = std::collections::VecDeque::with_capacity(count);
            let worker = std::rc::Rc::clone(&self.worker);
            worker
                .next_ids(&self.database, sequence, count, &mut ids)
                .await?;
            if let Some(last) = ids.back() {
                self.remember_id(sequence, *last);
            }
            all.push(ids.into());
        }
        Ok(all)
    }

    fn places_of_rows(
        &self,
        unnest: &SplitUnnest,
        rows: &Rows<'_>,
        invocation: &Invocation<'_>,
    ) -> Result<Vec<ShardId>, Fault> {
        let map = &self.space.state.map;
        let (key_type, encoding) = (unnest.key_type, self.encoding());
        let target = |row: usize| match unnest.key {
            UnnestKey::GeneratedId(number) => {
                let id = rows.ids.get(number).and_then(|ids| ids.get(row));
                id.map_or(Target::Unknown, |id| {
                    Target::Shard(map.shard(topology::ShardMap::bucket(topology::Key::Int(*id))))
                })
            }
            UnnestKey::Array { position, element } => {
                match key_element(unnest, position, element, invocation) {
                    Some(element) => {
                        rows.columns[position].target(row, element, key_type, encoding, map)
                    }
                    None => Target::Unknown,
                }
            }
        };
        let targets: Vec<Target> = (0..rows.count).map(target).collect();
        settle(&targets, || self.any_shard())
    }
}

/// The type of the key array's elements: as the client has declared it, else as the cast has it.
fn key_element(
    unnest: &SplitUnnest,
    position: usize,
    cast: u32,
    invocation: &Invocation<'_>,
) -> Option<u32> {
    let (ArraySource::Parameter(number), Invocation::Extended { identity, .. }) =
        (&unnest.arrays.get(position)?.1, invocation)
    else {
        return Some(cast);
    };
    match identity.types.get(usize::from(*number).wrapping_sub(1)) {
        None | Some(0) => Some(cast),
        Some(declared) => element_of(*declared),
    }
}

/// The arrays taken apart.
fn columns<'a>(
    unnest: &'a SplitUnnest,
    invocation: &Invocation<'a>,
) -> Result<Vec<Column<'a>>, Fault> {
    let column = |(_, source): &'a (Vec<Piece>, ArraySource)| {
        let column = match source {
            ArraySource::Literal(text) => Column::text(text.as_bytes()),
            ArraySource::Parameter(number) => bound(*number, invocation),
        };
        column.ok_or_else(|| not_divisible().into())
    };
    unnest.arrays.iter().map(column).collect()
}

fn bound<'a>(number: u16, invocation: &Invocation<'a>) -> Option<Column<'a>> {
    let Invocation::Extended { bind, .. } = invocation else {
        return None;
    };
    match bind.parameter(usize::from(number).checked_sub(1)?)? {
        (_, None) => Some(Column::null()),
        (Format::Text, Some(text)) => Column::text(text),
        (Format::Binary, Some(bytes)) => Column::binary(bytes),
    }
}

fn share<'a>(
    unnest: &SplitUnnest,
    rows: &Rows<'a>,
    shard: ShardId,
    numbers: &[usize],
    types: &[u32],
    invocation: &Invocation<'a>,
) -> Share<'a> {
    let mut writer = Writer::new(types, invocation);
    for ((before, source), column) in unnest.arrays.iter().zip(&rows.columns) {
        writer.text_pieces(before);
        let cut = column.cut(numbers);
        match source {
            ArraySource::Literal(_) => {
                // Cut out of a text at ASCII characters, so it is UTF-8 still.
                let text = String::from_utf8_lossy(&cut);
                writer.text.push_str(&quote_literal(&text));
            }
            ArraySource::Parameter(number) => {
                writer.array(*number, (column.format(), Some(Cow::Owned(cut))));
            }
        }
    }
    writer.text_pieces(&unnest.after_arrays);
    for ids in &rows.ids {
        writer.text.push_str(", ");
        writer.text.push_str(&ids_array(ids, numbers));
    }
    writer.text_pieces(&unnest.tail);
    writer.share(shard)
}

fn ids_array(ids: &[i64], numbers: &[usize]) -> String {
    let chosen = numbers.iter().filter_map(|number| ids.get(*number));
    let texts: Vec<String> = chosen.map(i64::to_string).collect();
    format!("'{{{}}}'::bigint[]", texts.join(","))
}

fn not_divisible() -> RouterError {
    RouterError::unsupported(
        "unnest-array",
        "an array of this INSERT cannot be divided into rows",
    )
    .detail(
        "It has more than one dimension, bounds of its own, or a form the router does not read.",
    )
    .hint("Give each column as a plain list such as '{1,2,3}'.")
}
