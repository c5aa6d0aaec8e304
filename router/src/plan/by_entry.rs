//! The entry of a unique key as a route: a statement whose tables all hang on the one row of a table that has a
//! given value of such a key runs on the shard of that row. Takes a [`Survey`] and its [`Pins`]; gives what must
//! be looked up. Must never know where entries are, nor how they are read.
//!
//! The route may be out of date by the time it is followed, so it counts only when it has led to the row: then
//! there is no other, for the key is unique. Hence the result must have no row, and a write must change none, where
//! the row is not there; else the statement runs on all shards, as without the route.

use schema::{KeyType, UniqueKey};

use super::KeyExpr;
use super::pins::{Pins, Use, always_present, connected};
use super::survey::{Body, Rows, Survey, Term};

/// What is looked up.
#[derive(Debug, Clone)]
pub struct EntryRoute {
    /// Of the key's objects in schema `oskol`.
    pub number: u32,
    /// The key's own name, for EXPLAIN.
    pub name: String,
    /// The values of the key's columns, in its order.
    pub columns: Vec<(KeyExpr, KeyType)>,
}

/// The route of a statement that no shard key restricts; `None`: there is none.
pub fn route(survey: &Survey, pins: &Pins) -> Option<EntryRoute> {
    let root = survey.query(survey.root);
    let Body::Rows(rows) = &root.body else {
        return None;
    };
    if pins.gave_up
        || !root.apart.is_empty()
        || !tells_of_the_row(rows)
        || changes_more(survey, rows)
    {
        return None;
    }
    let present = always_present(rows.from.as_ref()?);
    pins.uses
        .iter()
        .filter(|used| used.at_root && present.contains(&used.leaf))
        .find_map(|used| route_of(used, survey, pins))
}

/// Without the row there is no row of the result: an aggregate of nothing is one.
fn tells_of_the_row(rows: &Rows) -> bool {
    rows.grouped.as_ref().is_none_or(|terms| !terms.is_empty())
}

/// What would be done twice, or on a shard that the row is not on.
fn changes_more(survey: &Survey, rows: &Rows) -> bool {
    let fires = survey
        .writes
        .iter()
        .filter_map(|leaf| survey.leaf(*leaf).relation());
    !rows.added.is_empty()
        || !rows.rekeyed.is_empty()
        || survey.writes.len() > usize::from(rows.target.is_some())
        || fires.into_iter().any(|relation| relation.has_user_triggers)
}

fn route_of(used: &Use, survey: &Survey, pins: &Pins) -> Option<EntryRoute> {
    let key = used.key(survey)?;
    if !pins.all_pinned_to(survey, key) {
        return None;
    }
    let relation = survey.leaf(used.leaf).relation()?;
    relation
        .unique_keys
        .iter()
        .find_map(|key| values_of(key, used, survey))
}

fn values_of(key: &UniqueKey, used: &Use, survey: &Survey) -> Option<EntryRoute> {
    let entries = key.entries.as_ref()?;
    // Rows beside a partial key have no entry.
    if key.partial || key.columns.is_empty() {
        return None;
    }
    let columns = key.columns.iter().map(|column| {
        let relation = survey.leaf(used.leaf).relation()?;
        let key_type = KeyType::of(relation.columns.get(*column)?.type_oid)?;
        let class = connected(&used.facts, Term::Column(used.leaf, *column));
        let value = class.into_iter().find_map(|term| match term {
            Term::Value(value) => Some(survey.value(value)),
            Term::Column(..) => None,
        })?;
        Some((value.expression.clone(), key_type))
    });
    Some(EntryRoute {
        number: entries.number,
        name: key.name.clone(),
        columns: columns.collect::<Option<_>>()?,
    })
}
