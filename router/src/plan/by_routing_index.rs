//! A routing index as a route: a statement whose tables all hang on rows with given values of a column runs only on the shards
//! that have such rows. Takes a [`Survey`] and its [`Pins`]; gives what must be looked up. Must never know where entries are,
//! nor how they are read.
//!
//! Entries are written in the transaction of their row, so what they say is as true as what the shards say: no other shard is
//! asked. Hence a value must be known exactly, and every row of the result must come from a row that has it.

use schema::KeyType;

use super::by_entry::EntryList;
use super::pins::{Pins, Use, always_present, connected};
use super::survey::{Body, KeyList, ListedKeys, Rows, Survey, Term};

/// The route of a statement that no shard key restricts; `None`: there is none.
pub fn route(survey: &Survey, pins: &Pins) -> Option<EntryList> {
    let rows = routed(survey, pins)?;
    let present = always_present(rows.from.as_ref()?);
    pins.uses
        .iter()
        .filter(|used| used.at_root && present.contains(&used.leaf))
        .filter(|used| {
            used.key(survey)
                .is_some_and(|key| pins.all_pinned_to(survey, key))
        })
        .find_map(|used| route_of(used, survey, rows))
}

/// The rows of a statement that may be routed so: each comes from a row of the table, or changes one.
fn routed<'a>(survey: &'a Survey, pins: &Pins) -> Option<&'a Rows> {
    let root = survey.query(survey.root);
    let Body::Rows(rows) = &root.body else {
        return None;
    };
    let adds = !rows.added.is_empty() || !rows.rekeyed.is_empty();
    let writes_more = survey.writes.len() > usize::from(rows.target.is_some());
    (!pins.gave_up && root.apart.is_empty() && !adds && !writes_more).then_some(rows)
}

fn route_of(used: &Use, survey: &Survey, rows: &Rows) -> Option<EntryList> {
    let relation = survey.leaf(used.leaf).relation()?;
    relation.routing_indexes.iter().find_map(|index| {
        let column = relation.columns.get(index.column)?;
        let term = Term::Column(used.leaf, index.column);
        Some(EntryList {
            number: index.number,
            name: format!("{}.{}", relation.name, column.name),
            deferrable: false,
            key_type: KeyType::of(column.type_oid)?,
            keys: values(term, used, survey, rows)?,
        })
    })
}

/// The values that the column may have.
fn values(column: Term, used: &Use, survey: &Survey, rows: &Rows) -> Option<ListedKeys> {
    let equal = connected(&used.facts, column)
        .into_iter()
        .find_map(|term| match term {
            Term::Value(value) => Some(survey.value(value).expression.clone()),
            Term::Column(..) => None,
        });
    let of_column = |list: &&KeyList| list.column == column;
    equal
        .map(|value| ListedKeys::Each(vec![value]))
        .or_else(|| Some(rows.filter.lists.iter().find(of_column)?.keys.clone()))
}
