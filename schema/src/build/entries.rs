//! Which relations' statements may change values of unique keys and routing indexes, or rows of foreign keys that are kept
//! over shards: directly, through a foreign key's action, through a view, or by a user's trigger.

use std::collections::{HashMap, HashSet};

use super::Name;
use crate::rules::Placement;
use crate::snapshot::{DefaultValue, Relation, RelationKind};

/// Sets `changes_entries`; gives whether there are entries at all.
pub(super) fn mark(relations: &mut HashMap<u32, Relation>) -> bool {
    let mut changing: HashSet<Name> = relations
        .values()
        .filter(|relation| has_entries(relation))
        .map(name)
        .collect();
    let has_any = !changing.is_empty();
    for relation in relations.values() {
        let kept = relation.foreign_keys.iter();
        for key in kept.filter(|key| key.kept.is_some()) {
            changing.insert(name(relation));
            changing.insert(key.referenced.clone());
        }
    }
    if changing.is_empty() {
        return false;
    }
    let triggered = relations
        .values()
        .filter(|relation| relation.has_user_triggers);
    changing.extend(triggered.map(name));
    while reach(relations, &mut changing) {}
    for relation in relations.values_mut() {
        relation.changes_entries = changing.contains(&name(relation));
    }
    watch(relations, &changing);
    has_any
}

/// Which columns and deletions matter, where a table's own constraints tell.
fn watch(relations: &mut HashMap<u32, Relation>, changing: &HashSet<Name>) {
    let mut referenced: HashMap<Name, HashSet<String>> = HashMap::new();
    for child in relations
        .values()
        .filter(|child| changing.contains(&name(child)))
    {
        for key in &child.foreign_keys {
            let columns = referenced.entry(key.referenced.clone()).or_default();
            columns.extend(key.referenced_columns.iter().cloned());
        }
    }
    let none = HashSet::new();
    for relation in relations.values_mut() {
        let own = name(relation);
        let parent_of = referenced.get(&own);
        let fires = relation.has_user_triggers;
        relation.watches_deletes = fires
            || parent_of.is_some()
            || has_entries(relation)
            || relation.kind != RelationKind::Table;
        relation.watched = watched(relation, parent_of.unwrap_or(&none));
    }
}

/// `None`: any column.
fn watched(relation: &Relation, referenced: &HashSet<String>) -> Option<Vec<usize>> {
    let computes = relation
        .columns
        .iter()
        .any(|column| column.default == DefaultValue::Generated);
    if relation.has_user_triggers
        || relation.kind != RelationKind::Table
        || computes
        || relation.parent.is_some()
    {
        return None;
    }
    let mut columns: Vec<usize> = Vec::new();
    for key in relation
        .unique_keys
        .iter()
        .filter(|key| key.entries.is_some())
    {
        let filling = key.entries.as_ref().is_some_and(|entries| entries.filling);
        if key.columns.is_empty() || key.partial || filling {
            return None;
        }
        columns.extend(&key.columns);
    }
    let routing = relation.routing_indexes.iter();
    columns.extend(routing.map(|routing| routing.column));
    for key in relation
        .foreign_keys
        .iter()
        .filter(|key| key.kept.is_some())
    {
        columns.extend(&key.columns);
    }
    columns.extend(
        referenced
            .iter()
            .filter_map(|column| relation.column(column)),
    );
    if let Placement::Sharded { key, .. } = relation.placement {
        columns.push(key);
    }
    Some(columns)
}

/// One step from those that change entries to those that lead there. False: nothing new.
fn reach(relations: &HashMap<u32, Relation>, changing: &mut HashSet<Name>) -> bool {
    let before = changing.len();
    for relation in relations.values() {
        if changing.contains(&name(relation)) {
            let referenced = relation
                .foreign_keys
                .iter()
                .map(|key| key.referenced.clone());
            changing.extend(referenced);
        } else if relation.reads.iter().any(|read| changing.contains(read)) {
            changing.insert(name(relation));
        }
    }
    changing.len() > before
}

fn has_entries(relation: &Relation) -> bool {
    !relation.routing_indexes.is_empty()
        || relation.unique_keys.iter().any(|key| key.entries.is_some())
}

fn name(relation: &Relation) -> Name {
    (relation.schema.clone(), relation.name.clone())
}
