//! ON CONFLICT: a row must not change its shard key on the way.

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, OnConflictAction, OnConflictClause, ResTarget};
use schema::{Relation, UniqueKey};

use crate::error::RouterError;
use crate::plan::fold::{self, KeyPart};
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

/// Keys kept by entries that ON CONFLICT names, or may mean: the row in conflict may be on another shard than
/// the new one. None: PostgreSQL on the new row's shard knows of every conflict.
///
/// # Errors
/// Only PostgreSQL can tell which key is meant.
pub fn arbiters<'a>(
    insert: &InsertStmt,
    relation: &'a Relation,
) -> Result<Vec<&'a UniqueKey>, RouterError> {
    let Some(conflict) = insert.on_conflict_clause.as_deref() else {
        return Ok(Vec::new());
    };
    let mut named = Vec::new();
    // Deferrable ones arbitrate nothing: PostgreSQL refuses those that are named.
    let arbitrates = |key: &&UniqueKey| {
        key.entries
            .as_ref()
            .is_some_and(|entries| !entries.deferrable)
    };
    for key in relation.unique_keys.iter().filter(arbitrates) {
        if conflict.infer.is_none() && is_new(insert, key, relation) {
            continue;
        }
        match names_key(conflict, key, relation) {
            Some(true) => named.push(key),
            Some(false) => {}
            None => return Err(unclear(&key.name)),
        }
    }
    Ok(named)
}

/// Whether the clause is about the key; `None`: PostgreSQL compares expressions or predicates to tell.
fn names_key(conflict: &OnConflictClause, key: &UniqueKey, relation: &Relation) -> Option<bool> {
    let Some(infer) = conflict.infer.as_deref() else {
        return Some(true);
    };
    if !infer.conname.is_empty() {
        return Some(infer.conname == key.name);
    }
    let elements = &infer.index_elems;
    if key.columns.is_empty() {
        return names_expressions(elements, key, relation);
    }
    let is_named = |column: &usize| {
        let name = &relation.columns[*column].name;
        elements.iter().any(|element| is_column(element, name))
    };
    let is_key = |element: &Node| {
        let mut columns = key.columns.iter();
        columns.any(|column| is_column(element, &relation.columns[*column].name))
    };
    if !key.columns.iter().all(is_named) || !elements.iter().all(is_key) {
        return Some(false);
    }
    (!key.partial && elements.iter().all(is_plain)).then_some(true)
}

/// Of a key over expressions: any that is named may be the key's, but for those that are understood.
fn names_expressions(elements: &[Node], key: &UniqueKey, relation: &Relation) -> Option<bool> {
    if !elements.iter().any(is_expression) {
        return Some(false);
    }
    let parts = fold::parts(key, relation)?;
    let named: Vec<KeyPart> = elements
        .iter()
        .map(|element| part_of(element, relation))
        .collect::<Option<_>>()?;
    let same = parts.iter().all(|part| named.contains(part))
        && named.iter().all(|part| parts.contains(part));
    match same {
        true => (!key.partial && elements.iter().all(is_plain)).then_some(true),
        false => Some(false),
    }
}

fn part_of(element: &Node, relation: &Relation) -> Option<KeyPart> {
    let Some(NodeEnum::IndexElem(element)) = element.node.as_ref() else {
        return None;
    };
    match element.expr.as_deref() {
        Some(expression) => fold::part(expression, relation),
        None => relation.column(&element.name).map(KeyPart::Column),
    }
}

/// Any operator class and collation of the column will do.
fn is_plain(element: &Node) -> bool {
    matches!(element.node.as_ref(), Some(NodeEnum::IndexElem(element))
        if element.collation.is_empty() && element.opclass.is_empty())
}

/// Forms of INSERT whose rows are not looked at one by one.
pub fn is_on_one_shard(insert: &InsertStmt, context: &PlanContext<'_>) -> Result<(), RouterError> {
    let Some(range) = insert.relation.as_ref() else {
        return Ok(());
    };
    let Found::Relation(relation) = scope::find(range, context) else {
        return Ok(());
    };
    match arbiters(insert, &relation)?.first() {
        Some(key) => Err(conflict_elsewhere(&key.name)
            .hint("Write the rows out in VALUES, name a conflict target that contains the shard key, or catch SQLSTATE 23505 in the application.")),
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

fn is_expression(element: &Node) -> bool {
    matches!(element.node.as_ref(), Some(NodeEnum::IndexElem(element)) if element.expr.is_some())
}

/// The row in conflict may be on another shard, and what the statement does there is not to be had.
pub fn conflict_elsewhere(key: &str) -> RouterError {
    RouterError::unsupported(
        "conflict-elsewhere",
        format!("this form of ON CONFLICT over \"{key}\" is not supported"),
    )
    .detail("The key holds over all shards: the row in conflict may be on another shard than the new one.")
}

fn unclear(key: &str) -> RouterError {
    conflict_elsewhere(key).hint(
        "Name the constraint (ON CONFLICT ON CONSTRAINT), or plain columns of a key without a predicate.",
    )
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
