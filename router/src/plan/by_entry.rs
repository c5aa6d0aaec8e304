//! The entry of a unique key as a route: a statement whose tables all hang on the one row of a table that has a
//! given value of such a key runs on the shard of that row. Takes a [`Survey`] and its [`Pins`]; gives what must
//! be looked up. Must never know where entries are, nor how they are read.
//!
//! The route may be out of date by the time it is followed, so it counts only when it has led to the row: then
//! there is no other, for the key is unique. Hence the result must have no row, and a write must change none, where
//! the row is not there; else the statement runs on all shards, as without the route.

use schema::{KeyType, Relation, UniqueKey};

use super::KeyExpr;
use super::PlanContext;
use super::fold::{self, Fold, KeyPart};
use super::pins::{Pins, Use, always_present, connected};
use super::survey::{Body, FoldedValue, Join, KeyList, ListedKeys, Rows, Survey, Term};

/// What is looked up.
#[derive(Debug, Clone)]
pub struct EntryRoute {
    /// Of the key's objects in schema `oskol`.
    pub number: u32,
    /// The key's own name, for EXPLAIN.
    pub name: String,
    /// A transaction may have two rows of one value for a while.
    pub deferrable: bool,
    /// The values of the key's columns, in its order.
    pub columns: Vec<EntryValue>,
}

/// The value of one column of a key.
#[derive(Debug, Clone)]
pub struct EntryValue {
    pub value: KeyExpr,
    pub key_type: KeyType,
    /// What is done with the value first. The database's collation may do it otherwise: then there is no such entry.
    pub fold: Option<Fold>,
}

/// Several values of a key with one column are looked up: `email IN (...)`, `email = ANY ($1)`. Or one or several of a
/// routing index.
#[derive(Debug, Clone)]
pub struct EntryList {
    pub number: u32,
    /// The key's own, or the column's behind that of its table.
    pub name: String,
    pub deferrable: bool,
    pub key_type: KeyType,
    pub keys: ListedKeys,
}

/// The route of a statement that no shard key restricts; `None`: there is none.
pub fn route(survey: &Survey, pins: &Pins, context: &PlanContext<'_>) -> Option<EntryRoute> {
    let rows = routed(survey, pins)?;
    let present = always_present(rows.from.as_ref()?);
    pins.uses
        .iter()
        .filter(|used| used.at_root && present.contains(&used.leaf))
        .find_map(|used| route_of(used, survey, pins, rows, context))
}

/// The values that a statement over one table lists of a unique key: each row of the result, or each row that is changed, has
/// one of them, and no two rows have the same.
pub fn list(survey: &Survey, pins: &Pins) -> Option<EntryList> {
    let rows = routed(survey, pins)?;
    let (Some(Join::Leaf { leaf, .. }), [used], false, None) = (
        rows.from.as_ref(),
        pins.uses.as_slice(),
        rows.closed || survey.locks,
        rows.grouped.as_ref(),
    ) else {
        return None;
    };
    // A function may give several rows for one.
    let multiplies = rows.target.is_none() && !survey.facts.functions.is_empty();
    (used.leaf == *leaf && survey.leaves.len() == 1 && !multiplies).then_some(())?;
    let relation = survey.leaf(*leaf).relation()?;
    relation.unique_keys.iter().find_map(|key| {
        let entries = key.entries.as_ref()?;
        let [column] = key.columns.as_slice() else {
            return None;
        };
        let of_key = |list: &&KeyList| list.column == Term::Column(*leaf, *column);
        let listed = rows.filter.lists.iter().find(of_key)?;
        (!key.partial && !entries.filling).then_some(EntryList {
            number: entries.number,
            name: key.name.clone(),
            deferrable: entries.deferrable,
            key_type: KeyType::of(relation.columns.get(*column)?.type_oid)?,
            keys: listed.keys.clone(),
        })
    })
}

/// The rows of a statement that may be routed so.
fn routed<'a>(survey: &'a Survey, pins: &Pins) -> Option<&'a Rows> {
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
    Some(rows)
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

fn route_of(
    used: &Use,
    survey: &Survey,
    pins: &Pins,
    rows: &Rows,
    context: &PlanContext<'_>,
) -> Option<EntryRoute> {
    let key = used.key(survey)?;
    if !pins.all_pinned_to(survey, key) {
        return None;
    }
    let relation = survey.leaf(used.leaf).relation()?;
    let values = Values {
        used,
        survey,
        rows,
        relation,
        // Whoever has a function of that name may mean it.
        folds: !["lower", "upper"]
            .iter()
            .any(|name| context.snapshot.functions.contains_key(*name)),
    };
    relation.unique_keys.iter().find_map(|key| values.of(key))
}

/// What a statement says of the columns of one table.
struct Values<'a> {
    used: &'a Use,
    survey: &'a Survey,
    rows: &'a Rows,
    relation: &'a Relation,
    folds: bool,
}

impl Values<'_> {
    fn of(&self, key: &UniqueKey) -> Option<EntryRoute> {
        let entries = key.entries.as_ref()?;
        // Rows beside a partial key have no entry.
        if key.partial || entries.filling {
            return None;
        }
        let parts = fold::parts(key, self.relation)?;
        Some(EntryRoute {
            number: entries.number,
            name: key.name.clone(),
            deferrable: entries.deferrable,
            columns: parts
                .into_iter()
                .map(|part| self.value(part))
                .collect::<Option<_>>()?,
        })
    }

    fn value(&self, part: KeyPart) -> Option<EntryValue> {
        match part {
            KeyPart::Column(column) => {
                let key_type = KeyType::of(self.relation.columns.get(column)?.type_oid)?;
                let class = connected(&self.used.facts, Term::Column(self.used.leaf, column));
                let value = class.into_iter().find_map(|term| match term {
                    Term::Value(value) => Some(self.survey.value(value)),
                    Term::Column(..) => None,
                })?;
                Some(EntryValue {
                    value: value.expression.clone(),
                    key_type,
                    fold: None,
                })
            }
            KeyPart::Folded(fold, column) => {
                let term = Term::Column(self.used.leaf, column);
                let is_it = |folded: &&FoldedValue| folded.column == term && folded.fold == fold;
                let folded = self.rows.filter.folded.iter().find(is_it)?;
                self.folds.then(|| EntryValue {
                    value: self.survey.value(folded.value).expression.clone(),
                    key_type: KeyType::Text,
                    fold: folded.value_fold,
                })
            }
        }
    }
}
