//! ON CONFLICT whose arbiter is kept by entries: the rows one by one, each with the value that the arbiter has
//! for it, where that can be read from the statement.

use pg_query::protobuf::{Node, OnConflictAction};
use schema::{KeyType, UniqueKey};

use super::{Job, conflict, is_default, items, key_value, target::Target};
use crate::error::RouterError;
use crate::plan::by_entry::EntryRoute;
use crate::plan::upsert::Upsert;
use crate::plan::{Action, Plan, SplitInsert};

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
    check(job, target, name, updates)?;
    if updates && rows.len() > 1 && routes.iter().any(Option::is_none) {
        return Err(conflict::conflict_elsewhere(name)
            .detail("Of several rows no two may update the same one: their values must be known before.")
            .hint("Give the values as constants or parameters of their columns' types, or insert the rows one by one."));
    }
    let numbers = arbiters.iter().filter_map(|key| key.entries.as_ref());
    let upsert = Upsert {
        insert,
        arbiters: numbers.map(|entries| entries.number).collect(),
        routes,
        updates,
    };
    Ok(Plan::new(
        Action::Upsert(Box::new(upsert)),
        job.effect,
        format!("\"{name}\" holds over all shards: the row in conflict may be on any"),
    ))
}

fn updates(job: &Job<'_>) -> bool {
    let clause = job.insert.on_conflict_clause.as_deref();
    clause.is_some_and(|clause| clause.action() == OnConflictAction::OnconflictUpdate)
}

/// A row is tried on its shard, and taken back where the conflict is elsewhere: nothing else may see that.
fn check(job: &Job<'_>, target: &Target, name: &str, updates: bool) -> Result<(), RouterError> {
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
    if updates && job.facts.sublinks > 0 {
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
        Some((key_value::read(value, key_type)?, key_type))
    });
    Some(EntryRoute {
        number: entries.number,
        name: key.name.clone(),
        columns: columns.collect::<Option<_>>()?,
    })
}
