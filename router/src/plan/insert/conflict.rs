//! ON CONFLICT: a row must not change its shard key on the way.

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, OnConflictAction, OnConflictClause, ResTarget};
use schema::{Relation, UniqueKey};

use crate::error::RouterError;
use crate::plan::scope::{self, Found};
use crate::plan::{PlanContext, names, sequence};

/// `ON CONFLICT DO NOTHING` may give back fewer rows than were sent; so may DO UPDATE with WHERE.
pub fn may_skip_rows(insert: &InsertStmt) -> bool {
    insert.on_conflict_clause.as_ref().is_some_and(|conflict| {
        conflict.action() == OnConflictAction::OnconflictNothing || conflict.where_clause.is_some()
    })
}

/// Refuses `DO UPDATE SET key = ...`, but for `key = EXCLUDED.key` where the conflict is about the key
/// itself: then both are equal.
pub fn keeps_key(insert: &InsertStmt, relation: &Relation, key: usize) -> Result<(), RouterError> {
    let Some(conflict) = insert.on_conflict_clause.as_deref() else {
        return Ok(());
    };
    let key_name = relation.columns[key].name.as_str();
    let harmless = |target: &ResTarget| {
        target.name != key_name
            || (is_excluded(target, key_name) && is_about(conflict, relation, key))
    };
    let targets = conflict
        .target_list
        .iter()
        .filter_map(|target| match target.node.as_ref() {
            Some(NodeEnum::ResTarget(target)) => Some(target),
            _ => None,
        });
    for target in targets {
        if !harmless(target) {
            return Err(refusal(key_name));
        }
    }
    Ok(())
}

/// An arbiter that is kept by entries: the row in conflict may be on another shard than the new one.
pub fn is_on_one_shard(insert: &InsertStmt, context: &PlanContext<'_>) -> Result<(), RouterError> {
    let (Some(conflict), Some(range)) = (
        insert.on_conflict_clause.as_deref(),
        insert.relation.as_ref(),
    ) else {
        return Ok(());
    };
    let Found::Relation(relation) = scope::find(range, context) else {
        return Ok(());
    };
    let mut kept = relation
        .unique_keys
        .iter()
        .filter(|key| key.entries.is_some());
    let elsewhere = |key: &&UniqueKey| {
        may_be_arbiter(conflict, key, &relation)
            && !(conflict.infer.is_none() && is_new(insert, key, &relation))
    };
    match kept.find(elsewhere) {
        Some(key) => Err(conflict_elsewhere(&key.name)),
        None => Ok(()),
    }
}

/// A column of the key gets an id from its sequence, which nobody else has: with `ON CONFLICT DO NOTHING` without a target, as
/// ORMs write it, the key is not what the statement is about. Where somebody has given that id by hand, the row is not
/// skipped: the client gets SQLSTATE 23505.
fn is_new(insert: &InsertStmt, key: &UniqueKey, relation: &Relation) -> bool {
    let is_given = |column: usize| {
        let name = &relation.columns[column].name;
        insert.cols.is_empty() || insert.cols.iter().any(|given| is_target(given, name))
    };
    key.columns.iter().any(|&column| {
        sequence::of_default(&relation.columns[column].default).is_some() && !is_given(column)
    })
}

fn is_target(given: &Node, name: &str) -> bool {
    matches!(given.node.as_ref(), Some(NodeEnum::ResTarget(target)) if target.name == name)
}

fn may_be_arbiter(conflict: &OnConflictClause, key: &UniqueKey, relation: &Relation) -> bool {
    let Some(infer) = conflict.infer.as_deref() else {
        return true;
    };
    if !infer.conname.is_empty() {
        return infer.conname == key.name;
    }
    let names_key = |column: &usize| {
        let name = &relation.columns[*column].name;
        infer
            .index_elems
            .iter()
            .any(|element| is_column(element, name))
    };
    // Expressions are compared by PostgreSQL: any that is named may be the key's.
    let has_expression = infer.index_elems.iter().any(is_expression);
    if key.columns.is_empty() {
        has_expression
    } else {
        infer.index_elems.len() == key.columns.len() && key.columns.iter().all(names_key)
    }
}

fn is_expression(element: &Node) -> bool {
    matches!(element.node.as_ref(), Some(NodeEnum::IndexElem(element)) if element.expr.is_some())
}

fn conflict_elsewhere(key: &str) -> RouterError {
    RouterError::unsupported(
        "conflict-elsewhere",
        format!("ON CONFLICT over \"{key}\" is not supported"),
    )
    .detail("The key holds over all shards: the row in conflict may be on another shard than the new one.")
    .hint("Name a conflict target that contains the shard key, or catch SQLSTATE 23505 in the application.")
}

fn is_excluded(target: &ResTarget, key: &str) -> bool {
    match target.val.as_deref().and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::ColumnRef(column)) => names::strings(&column.fields) == ["excluded", key],
        _ => false,
    }
}

/// Whether the conflicting rows are equal in the key.
fn is_about(conflict: &OnConflictClause, relation: &Relation, key: usize) -> bool {
    let Some(infer) = conflict.infer.as_deref() else {
        return false;
    };
    if !infer.conname.is_empty() {
        let named = relation
            .unique_keys
            .iter()
            .find(|unique| unique.name == infer.conname);
        return named.is_some_and(|unique| unique.columns.contains(&key));
    }
    infer
        .index_elems
        .iter()
        .any(|element| is_column(element, &relation.columns[key].name))
}

fn is_column(element: &Node, name: &str) -> bool {
    matches!(element.node.as_ref(), Some(NodeEnum::IndexElem(element)) if element.name == name)
}

fn refusal(key: &str) -> RouterError {
    RouterError::unsupported("shard-key-update", "ON CONFLICT DO UPDATE may not change the shard key")
        .detail(format!("\"{key}\" is the shard key: the row would belong to another shard."))
        .hint("Leave the shard key out of SET, or name a conflict target that contains it and set it to EXCLUDED.")
}
