//! What ties relations to one another: keys, owned sequences, views and what they read.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Builder, Name};
use crate::rules::Placement;
use crate::snapshot::{
    ChildAt, Entries, ForeignKey, KeptKey, KeyAction, ParentAt, Relation, RoutingIndex, UniqueKey,
    View,
};

impl Builder {
    pub(super) fn add_keys(&self, relations: &mut HashMap<u32, Relation>) {
        for row in &self.document.keys {
            let Some(relation) = relations.get_mut(&row.relation) else {
                continue;
            };
            relation.unique_keys.push(UniqueKey {
                name: row.name.clone(),
                primary: row.primary,
                exclusion: row.exclusion,
                columns: self
                    .positions_of(row.relation, &row.columns)
                    .unwrap_or_default(),
                partial: row.partial,
                entries: row.number.map(|number| Entries {
                    number,
                    columns: row.named.clone().unwrap_or_default(),
                    reads: row
                        .reads
                        .as_ref()
                        .and_then(|reads| self.positions_of(row.relation, reads)),
                    filling: row.filling,
                    deferrable: row.deferrable,
                }),
            });
        }
        for row in &self.document.routes {
            let column = self.positions.get(&(row.relation, row.column));
            if let (Some(relation), Some(column)) = (relations.get_mut(&row.relation), column) {
                relation.routing_indexes.push(RoutingIndex {
                    number: row.number,
                    column: *column,
                });
            }
        }
        for row in &self.document.foreign_keys {
            let Some(referenced) = self.names.get(&row.referenced) else {
                continue;
            };
            let Some(relation) = relations.get_mut(&row.relation) else {
                continue;
            };
            relation.foreign_keys.push(ForeignKey {
                name: row.name.clone(),
                columns: self
                    .positions_of(row.relation, &row.columns)
                    .unwrap_or_default(),
                referenced: referenced.clone(),
                referenced_columns: self.column_names(row.referenced, &row.referenced_columns),
                kept: row.number,
            });
        }
    }

    /// Foreign keys that hold over shards, by number.
    pub(super) fn kept_keys(&self) -> BTreeMap<u32, KeptKey> {
        let rows = self.document.foreign_keys.iter();
        rows.filter_map(|row| {
            let number = row.number?;
            let parent_at = match row.parent_at.as_deref() {
                Some("home") => ParentAt::Home,
                Some("key") => ParentAt::Bucket,
                _ => row.entry.map_or(ParentAt::All, ParentAt::Entry),
            };
            let child_at = match row.child_at.as_deref() {
                Some("home") => ChildAt::Home,
                Some("key") => ChildAt::Bucket,
                Some("every") => ChildAt::Every,
                _ => ChildAt::All,
            };
            let kept = KeptKey {
                number,
                name: row.name.clone(),
                child: self.names.get(&row.relation)?.clone(),
                parent_at,
                child_at,
                on_delete: KeyAction::of(row.on_delete),
                on_update: KeyAction::of(row.on_update),
                deferrable: row.deferrable,
            };
            Some((number, kept))
        })
        .collect()
    }

    /// `None` when one of them is an expression.
    fn positions_of(&self, relation: u32, numbers: &[i16]) -> Option<Vec<usize>> {
        numbers
            .iter()
            .map(|number| self.positions.get(&(relation, *number)).copied())
            .collect()
    }

    fn column_names(&self, relation: u32, numbers: &[i16]) -> Vec<String> {
        let of = |number| {
            let mut rows = self.document.columns.iter();
            rows.find(|row| row.relation == relation && row.number == number)
        };
        numbers
            .iter()
            .filter_map(|number| of(*number))
            .map(|row| row.name.clone())
            .collect()
    }

    pub(super) fn add_owners(&self, relations: &mut HashMap<u32, Relation>) {
        for row in &self.document.owners {
            let Some(position) = self.positions.get(&(row.relation, row.column)) else {
                continue;
            };
            let owner = relations.get(&row.relation);
            let Some(owner) = owner.filter(|owner| owner.placement != Placement::Local) else {
                continue;
            };
            let owner = (owner.schema.clone(), owner.name.clone(), *position);
            if let Some(sequence) = relations.get_mut(&row.sequence) {
                sequence.owned_by = Some(owner);
            }
        }
    }

    pub(super) fn add_view_contents(&self, relations: &mut HashMap<u32, Relation>) {
        let reads = grouped(&self.document.view_reads);
        let calls = grouped(&self.document.view_calls);
        let functions = self.document.functions.iter();
        let functions: HashMap<u32, Name> = functions
            .map(|row| (row.oid, (row.schema.clone(), row.name.clone())))
            .collect();
        let catalogs: HashSet<u32> = self
            .document
            .views
            .iter()
            .filter(|view| view.reads_catalogs)
            .map(|view| view.relation)
            .collect();
        for row in &self.document.views {
            let view = &row.relation;
            let below = closure(*view, &reads);
            let called = std::iter::once(view)
                .chain(&below)
                .filter_map(|oid| calls.get(oid));
            let called: HashSet<u32> = called.flatten().copied().collect();
            let Some(relation) = relations.get_mut(view) else {
                continue;
            };
            relation.reads = names_of(&below, &self.names);
            relation.calls = names_of(&called, &functions);
            relation.view = Some(View {
                definition: definition(&row.definition),
                security_barrier: row.security_barrier,
                security_invoker: row.security_invoker,
            });
            relation.reads_catalogs =
                catalogs.contains(view) || below.iter().any(|oid| catalogs.contains(oid));
        }
    }
}

/// A view's query, as it can stand in parentheses.
fn definition(printed: &str) -> String {
    printed.trim().trim_end_matches(';').to_owned()
}

fn grouped(pairs: &[(u32, u32)]) -> HashMap<u32, Vec<u32>> {
    let mut groups: HashMap<u32, Vec<u32>> = HashMap::new();
    for (from, to) in pairs {
        groups.entry(*from).or_default().push(*to);
    }
    groups
}

/// Everything reached from `start`, itself left out.
fn closure(start: u32, edges: &HashMap<u32, Vec<u32>>) -> HashSet<u32> {
    let mut reached = HashSet::new();
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        let next = edges.get(&at).into_iter().flatten();
        open.extend(next.filter(|next| reached.insert(**next)));
    }
    reached
}

fn names_of(oids: &HashSet<u32>, names: &HashMap<u32, Name>) -> Vec<Name> {
    let mut found: Vec<Name> = oids
        .iter()
        .filter_map(|oid| names.get(oid))
        .cloned()
        .collect();
    found.sort_unstable();
    found
}
