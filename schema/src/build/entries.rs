//! Which relations' statements may change values of unique keys that are kept by entries: directly, through a
//! foreign key's action, through a view, or by a user's trigger.

use std::collections::{HashMap, HashSet};

use super::Name;
use crate::snapshot::Relation;

/// Sets `changes_entries`; gives whether there are entries at all.
pub(super) fn mark(relations: &mut HashMap<u32, Relation>) -> bool {
    let mut changing: HashSet<Name> = relations
        .values()
        .filter(|relation| has_entries(relation))
        .map(name)
        .collect();
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
    true
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
    relation.unique_keys.iter().any(|key| key.entries.is_some())
}

fn name(relation: &Relation) -> Name {
    (relation.schema.clone(), relation.name.clone())
}
