//! ON CONFLICT whose arbiter is kept by entries: the rows one by one, each with the value that the arbiter has
//! for it, where that can be read from the statement, or else be computed from the rows of its query.

use pg_query::protobuf::{InsertStmt, Node, OnConflictAction};
use schema::{DefaultValue, KeyType, UniqueKey};

use super::{
    Job, conflict, from_query, is_default, items, key_value, query_source, target::Target,
};
use crate::error::RouterError;
use crate::plan::by_entry::{EntryRoute, EntryValue};
use crate::plan::facts::Facts;
use crate::plan::insert_rows::{IdColumn, RowUpserts, WantedColumn, WantedEntry};
use crate::plan::upsert::Upsert;
use crate::plan::{Action, Plan, SplitInsert, names};

/// The plan of `insert`, the statement's rows as they are divided.
pub fn plan(
    job: &Job<'_>,
    target: &Target,
    rows: &[Node],
    insert: SplitInsert,
    arbiters: &[&UniqueKey],
) -> Result<Plan, RouterError> {
    let name = arbiters.first().map_or("", |key| key.name.as_str());
    let updates = updates(job);
    let routes: Vec<Option<EntryRoute>> = match arbiters {
        [only] => rows.iter().map(|row| route(row, target, only)).collect(),
        _ => rows.iter().map(|_| None).collect(),
    };
    check(target, name, updates && job.facts.sublinks > 0)?;
    if updates && rows.len() > 1 && routes.iter().any(Option::is_none) {
        return Err(conflict::conflict_elsewhere(name)
            .detail("Of several rows no two may update the same one: their values must be known before.")
            .hint(GIVE_VALUES));
    }
    let upsert = Upsert {
        insert,
        arbiters: numbers(arbiters),
        routes,
        updates,
        lookups: Vec::new(),
    };
    Ok(Plan::new(
        Action::Upsert(Box::new(upsert)),
        job.effect,
        reason(name),
    ))
}

const GIVE_VALUES: &str =
    "Give the key's columns their values in the statement, or insert the rows one by one.";

/// How the rows of a query are inserted, and why; `None`: PostgreSQL on each row's own shard knows of every conflict.
/// `bare`: the statement without its query.
pub fn of_rows(
    job: &Job<'_>,
    bare: &InsertStmt,
    target: &Target,
    ids: &[IdColumn],
) -> Result<Option<(RowUpserts, String)>, RouterError> {
    let arbiters = conflict::arbiters(job.insert, &target.relation)?;
    let Some(first) = arbiters.first() else {
        return Ok(None);
    };
    let updates = updates(job);
    check(target, &first.name, updates && Facts::of(bare).sublinks > 0)?;
    let known = match updates {
        true => Some(wanted(job, target, ids, first).ok_or_else(|| {
            conflict::conflict_elsewhere(&first.name)
                .detail("Of several rows no two may update the same one, and a column of the key is left to its default.")
                .hint(GIVE_VALUES)
        })?),
        false => None,
    };
    let lookups = match updates {
        true => Vec::new(),
        false => {
            let lookups = arbiters.iter();
            lookups
                .filter_map(|key| wanted(job, target, ids, key))
                .collect()
        }
    };
    let upserts = RowUpserts {
        arbiters: numbers(&arbiters),
        updates,
        wanted: known,
        lookups,
    };
    Ok(Some((upserts, reason(&first.name))))
}

/// Where among the rows' columns those of the key are. `None`: some value is made by a default.
fn wanted(
    job: &Job<'_>,
    target: &Target,
    ids: &[IdColumn],
    key: &UniqueKey,
) -> Option<WantedEntry> {
    let entries = key.entries.as_ref()?;
    let width = from_query::reaches(job, target)?;
    let mut columns = Vec::new();
    for &index in entries.reads.as_ref()? {
        let column = target.relation.columns.get(index)?;
        let given = match target.is_explicit() {
            true => target.position(index),
            false => (index < width).then_some(index),
        };
        let mut numbered = ids
            .iter()
            .filter(|id| id.unless_wider_than.is_none_or(|most| width <= most));
        let id = numbered.position(|id| id.column == index);
        let position = match (given, id) {
            (Some(position), _) => position,
            (None, Some(number)) => width + number,
            (None, None) if column.default == DefaultValue::None => continue,
            (None, None) => return None,
        };
        columns.push(WantedColumn {
            position,
            name: names::quote_identifier(&column.name),
            type_name: query_source::plain_type(column),
        });
    }
    (!columns.is_empty()).then_some(WantedEntry {
        number: entries.number,
        columns,
    })
}

fn numbers(arbiters: &[&UniqueKey]) -> Vec<u32> {
    let entries = arbiters.iter().filter_map(|key| key.entries.as_ref());
    entries.map(|entries| entries.number).collect()
}

fn reason(name: &str) -> String {
    format!("\"{name}\" holds over all shards: the row in conflict may be on any")
}

fn updates(job: &Job<'_>) -> bool {
    let clause = job.insert.on_conflict_clause.as_deref();
    clause.is_some_and(|clause| clause.action() == OnConflictAction::OnconflictUpdate)
}

/// A row is tried on its shard, and taken back where the conflict is elsewhere: nothing else may see that.
fn check(target: &Target, name: &str, updates_by_query: bool) -> Result<(), RouterError> {
    let refused = |detail: &str| {
        conflict::conflict_elsewhere(name)
            .detail(detail)
            .hint("Name a conflict target that contains the shard key, or catch SQLSTATE 23505 in the application.")
    };
    if target.relation.has_user_triggers {
        return Err(refused(
            "The table has triggers, which would run where the new row would be.",
        ));
    }
    if target.relation.has_row_security {
        return Err(refused("The table has row security policies."));
    }
    if updates_by_query {
        return Err(refused(
            "A subquery would be read on the shard of the row in conflict.",
        ));
    }
    Ok(())
}

/// The key's values in a row.
fn route(row: &Node, target: &Target, key: &UniqueKey) -> Option<EntryRoute> {
    let entries = key.entries.as_ref()?;
    if key.columns.is_empty() || key.partial {
        return None;
    }
    let columns = key.columns.iter().map(|column| {
        let key_type = KeyType::of(target.relation.columns.get(*column)?.type_oid)?;
        let value = items(row).get(target.position(*column)?)?;
        if is_default(value) {
            return None;
        }
        Some(EntryValue {
            value: key_value::read(value, key_type)?,
            key_type,
            fold: None,
        })
    });
    Some(EntryRoute {
        number: entries.number,
        name: key.name.clone(),
        deferrable: entries.deferrable,
        columns: columns.collect::<Option<_>>()?,
    })
}
