//! INSERT of many rows, each to the shard of its key: one statement for each shard concerned, with just the
//! parameters that its rows use.

mod writer;

use std::collections::BTreeMap;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use topology::ShardId;
use wire::frontend::Bind;

use super::super::extended::{Portal, Prepared};
use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::by_key::check_parameter_count;
use super::filling::{self, Filling};
use super::shares::{Order, Share};
use crate::error::RouterError;
use crate::plan::{KeyExpr, Piece, Plan, Rewrite, SplitInsert};
use crate::route::{self, Arguments, Target};
pub(super) use writer::Writer;

/// Ids for all parts of the statement.
struct Filled {
    head: Filling,
    rows: Vec<Filling>,
    tail: Filling,
}

impl Session {
    pub(super) async fn run_split_insert(
        &mut self,
        insert: &SplitInsert,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        check_parameters(insert.client_parameters, invocation)?;
        let filled = self.fill_insert(insert).await?;
        let places = self.places(insert, &filled.rows, invocation.arguments())?;
        let by_shard = by_shard(&places);
        if let (1, Invocation::Simple { .. }, Some(shard)) =
            (by_shard.len(), invocation, places.first())
        {
            let text = whole_text(insert, &filled);
            return self
                .run_on_one(*shard, &text, plan.effect, invocation)
                .await;
        }
        let types = self.parameter_types(insert, invocation).await?;
        let shares: Vec<Share<'_>> = by_shard
            .iter()
            .map(|(shard, rows)| share(insert, &filled, *shard, rows, &types, invocation))
            .collect();
        let positions = positions(&places, &by_shard);
        let order = if insert.returning && !insert.may_skip_rows {
            Order::Given(&positions)
        } else {
            Order::ByShare
        };
        self.run_shares(&shares, &order, plan.effect, invocation)
            .await
    }

    /// Every row as a statement of its own, on its shard, in the order of the client.
    pub(super) async fn rows_alone<'a>(
        &mut self,
        insert: &SplitInsert,
        invocation: &Invocation<'a>,
    ) -> Result<(Vec<Share<'a>>, Vec<u32>), Fault> {
        check_parameters(insert.client_parameters, invocation)?;
        let filled = self.fill_insert(insert).await?;
        let places = self.places(insert, &filled.rows, invocation.arguments())?;
        let types = self.parameter_types(insert, invocation).await?;
        let rows = places.iter().enumerate();
        let rows =
            rows.map(|(row, shard)| share(insert, &filled, *shard, &[row], &types, invocation));
        Ok((rows.collect(), types))
    }

    async fn fill_insert(&mut self, insert: &SplitInsert) -> Result<Filled, Fault> {
        let head = self.fill(&insert.head).await?;
        let mut rows = Vec::with_capacity(insert.rows.len());
        for row in &insert.rows {
            rows.push(self.fill(&row.text).await?);
        }
        let tail = self.fill(&insert.tail).await?;
        Ok(Filled { head, rows, tail })
    }

    /// The shard of every row. A row without one (PostgreSQL will refuse it) goes with another.
    fn places(
        &self,
        insert: &SplitInsert,
        fillings: &[Filling],
        arguments: Arguments<'_>,
    ) -> Result<Vec<ShardId>, Fault> {
        let map = &self.space.state.map;
        let encoding = self.encoding();
        let rows = insert.rows.iter().zip(fillings);
        let targets: Vec<Target> = rows
            .map(|(row, filling)| {
                route::target(
                    &row.key,
                    insert.key_type,
                    arguments,
                    &filling.ids,
                    encoding,
                    map,
                )
            })
            .collect();
        settle(&targets, || self.any_shard())
    }

    /// Rows of several parameters may share one whose type only the whole statement tells.
    async fn parameter_types(
        &mut self,
        insert: &SplitInsert,
        invocation: &Invocation<'_>,
    ) -> Result<Vec<u32>, Fault> {
        let Invocation::Extended { identity, bind, .. } = invocation else {
            return Ok(Vec::new());
        };
        if !shares_undeclared(insert, &identity.types) {
            let translates = self.current_space().translates();
            return self.bound_types(translates, identity, bind).await;
        }
        self.described_types(identity).await
    }

    /// All rows go to one shard, as the keys tell before any id is taken: then the statement stays whole, in
    /// that shard's pipeline.
    pub(super) async fn bind_insert_whole(
        &mut self,
        insert: &SplitInsert,
        bind: &Bind<'_>,
        prepared: &Rc<Prepared>,
        parsed_now: bool,
    ) -> Result<Option<Portal>, Fault> {
        let arguments = Arguments::Bound {
            bind,
            types: &prepared.identity.types,
        };
        let Some(shard) = self.only_shard(insert, arguments) else {
            return Ok(None);
        };
        let rewrite = as_one(insert);
        if filling::holes(&rewrite) == 0 {
            let whole = Rc::clone(&prepared.identity);
            let bound = self.bind_on(shard, bind, prepared, &whole, &[], parsed_now);
            return Ok(Some(bound.await?));
        }
        let wanted = super::client_parameters(&rewrite, &prepared.identity.types);
        check_parameter_count(bind, wanted)?;
        let filling = self.fill(&rewrite.pieces).await?;
        let sent = self.rewritten_statement(&rewrite, &prepared.identity);
        let bound = self.bind_on(shard, bind, prepared, &sent, &filling.values, parsed_now);
        Ok(Some(bound.await?))
    }

    fn only_shard(&self, insert: &SplitInsert, arguments: Arguments<'_>) -> Option<ShardId> {
        let map = &self.space.state.map;
        let encoding = self.encoding();
        let mut only = None;
        for row in &insert.rows {
            if needs_id(&row.key) {
                return None;
            }
            match route::target(&row.key, insert.key_type, arguments, &[], encoding, map) {
                Target::Shard(shard) if *only.get_or_insert(shard) == shard => {}
                _ => return None,
            }
        }
        only
    }
}

/// Every target's shard; rows without a key go where others go.
pub(super) fn settle(
    targets: &[Target],
    any: impl FnOnce() -> ShardId,
) -> Result<Vec<ShardId>, Fault> {
    let known = targets.iter().find_map(|target| match target {
        Target::Shard(shard) => Some(*shard),
        Target::Nowhere | Target::Unknown => None,
    });
    let other = known.unwrap_or_else(any);
    targets
        .iter()
        .map(|target| match target {
            Target::Shard(shard) => Ok(*shard),
            Target::Nowhere => Ok(other),
            Target::Unknown => Err(unknown_key().into()),
        })
        .collect()
}

/// The rows of each shard, in the order of the client.
pub(super) fn by_shard(places: &[ShardId]) -> BTreeMap<ShardId, Vec<usize>> {
    let mut rows: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
    for (row, shard) in places.iter().enumerate() {
        rows.entry(*shard).or_default().push(row);
    }
    rows
}

/// For every row the position of its shard's share.
pub(super) fn positions<T>(places: &[ShardId], by_shard: &BTreeMap<ShardId, T>) -> Vec<usize> {
    let position = |shard: &ShardId| by_shard.keys().position(|known| known == shard);
    // Every place is a key of the map that was made of them.
    places
        .iter()
        .map(|shard| position(shard).unwrap_or(0))
        .collect()
}

fn unknown_key() -> RouterError {
    RouterError::unsupported(
        "insert-key-unknown",
        "the shard of a row is not known before it is inserted",
    )
    .detail("The value of its shard key cannot be read exactly as the type of the key.")
    .hint("Pass the shard key as a constant or parameter of its own type.")
}

fn needs_id(key: &KeyExpr) -> bool {
    match key {
        KeyExpr::GeneratedId(_) => true,
        KeyExpr::Arithmetic { left, right, .. } => needs_id(left) || needs_id(right),
        _ => false,
    }
}

/// As PostgreSQL says it: the shards see other numbers.
pub(super) fn check_parameters(
    client_parameters: u16,
    invocation: &Invocation<'_>,
) -> Result<(), Fault> {
    match invocation {
        Invocation::Simple { .. } if client_parameters > 0 => {
            let number = client_parameters;
            Err(RouterError::new("42P02", format!("there is no parameter ${number}")).into())
        }
        Invocation::Simple { .. } => Ok(()),
        Invocation::Extended { identity, bind, .. } => {
            let wanted = usize::from(client_parameters).max(identity.types.len());
            check_parameter_count(bind, wanted)
        }
    }
}

/// The statement with all its rows.
fn as_one(insert: &SplitInsert) -> Rewrite {
    let mut pieces = insert.head.clone();
    for (number, row) in insert.rows.iter().enumerate() {
        if number > 0 {
            pieces.push(Piece::Text(", ".to_owned()));
        }
        pieces.extend(row.text.iter().cloned());
    }
    pieces.extend(insert.tail.iter().cloned());
    Rewrite {
        pieces,
        client_parameters: insert.client_parameters,
    }
}

fn whole_text(insert: &SplitInsert, filled: &Filled) -> String {
    let mut text = String::new();
    filling::literal_text(&insert.head, &filled.head.values, &mut text);
    for (number, (row, filling)) in insert.rows.iter().zip(&filled.rows).enumerate() {
        if number > 0 {
            text.push_str(", ");
        }
        filling::literal_text(&row.text, &filling.values, &mut text);
    }
    filling::literal_text(&insert.tail, &filled.tail.values, &mut text);
    text
}

/// Whether a parameter without a declared type stands in more than one place.
fn shares_undeclared(insert: &SplitInsert, types: &[u32]) -> bool {
    let mut seen = FxHashMap::default();
    let rows = insert.rows.iter().flat_map(|row| &row.text);
    let pieces = insert.head.iter().chain(rows).chain(&insert.tail);
    for piece in pieces {
        if let Piece::Parameter(number) = piece {
            let declared = types.get(usize::from(*number).wrapping_sub(1));
            let undeclared = declared.is_none_or(|oid| *oid == 0);
            if undeclared && seen.insert(*number, ()).is_some() {
                return true;
            }
        }
    }
    false
}

fn share<'a>(
    insert: &SplitInsert,
    filled: &Filled,
    shard: ShardId,
    rows: &[usize],
    types: &[u32],
    invocation: &Invocation<'a>,
) -> Share<'a> {
    let mut writer = Writer::new(types, invocation);
    writer.pieces(&insert.head, &filled.head);
    for (number, &row) in rows.iter().enumerate() {
        if number > 0 {
            writer.text.push_str(", ");
        }
        writer.pieces(&insert.rows[row].text, &filled.rows[row]);
    }
    writer.pieces(&insert.tail, &filled.tail);
    writer.share(shard)
}
