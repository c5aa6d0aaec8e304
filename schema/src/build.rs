//! Catalog document -> [`Snapshot`]: joins the flat arrays and resolves oids to names.

mod columns;
mod entries;
mod links;

use std::collections::HashMap;
use std::sync::Arc;

use crate::admission::Applied;
use crate::document::{ColumnRow, Document, FunctionRow, RelationRow, RuleRow, TriggerRow};
use crate::mentions;
use crate::reach;
use crate::rules::{KeyType, Placement, RulePlacement};
use crate::sameness;
use crate::session_state;
use crate::snapshot::{Function, Relation, RelationKind, Snapshot, UnsafeTrigger};

type Name = (String, String);

/// Why a catalog document is not one.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("the catalog document cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

impl Snapshot {
    /// Reads what [`crate::sql::SNAPSHOT`] returned.
    ///
    /// # Errors
    /// The text is not such a document, as when the database's schema `oskol` is of another version.
    pub fn from_json(text: &str) -> Result<Self, DocumentError> {
        Ok(Builder::new(serde_json::from_str(text)?).snapshot())
    }
}

/// The document, with indexes over it.
struct Builder {
    document: Document,
    names: HashMap<u32, Name>,
    /// (relation, attribute number) -> index among the relation's columns.
    positions: HashMap<(u32, i16), usize>,
    parents: HashMap<u32, u32>,
    rules: HashMap<u32, RuleRow>,
}

impl Builder {
    fn new(mut document: Document) -> Self {
        let named = document.relations.iter().map(|row| (row.oid, name(row)));
        let rules = std::mem::take(&mut document.rules);
        Self {
            names: named.collect(),
            positions: positions(&document.columns),
            parents: document.parents.iter().copied().collect(),
            rules: rules
                .into_iter()
                .map(|rule| (rule.relation, rule))
                .collect(),
            document,
        }
    }

    fn snapshot(self) -> Snapshot {
        let mut relations: HashMap<u32, Relation> = self
            .document
            .relations
            .iter()
            .map(|row| (row.oid, self.relation(row)))
            .collect();
        self.add_columns(&mut relations);
        self.add_keys(&mut relations);
        self.add_owners(&mut relations);
        self.add_view_contents(&mut relations);
        let has_entries = entries::mark(&mut relations);
        let defers_entries = relations.values().any(|relation| {
            let mut keys = relation.unique_keys.iter();
            keys.any(|key| {
                key.entries
                    .as_ref()
                    .is_some_and(|entries| entries.deferrable)
            })
        });
        let kept_keys = self.kept_keys();
        let state = self.session_state();
        for oid in &state.relations {
            if let Some(relation) = relations.get_mut(oid) {
                relation.leaves_state = true;
            }
        }
        self.add_unsafe_triggers(&mut relations);
        let has_unsafe_triggers = relations
            .values()
            .any(|relation| !relation.unsafe_triggers.is_empty());
        let functions = self.functions(&relations, &state.functions);
        let any_leaves_state = self.unnamed_leave_state(&state.functions);
        let mut snapshot = self.without_relations();
        snapshot.has_entries = has_entries;
        snapshot.defers_entries = defers_entries;
        snapshot.has_session_state = state.functions.contains(&true);
        snapshot.any_leaves_state = any_leaves_state;
        snapshot.has_unsafe_triggers = has_unsafe_triggers;
        snapshot.kept_keys = kept_keys;
        for relation in relations.into_values() {
            let schema = snapshot
                .relations
                .entry(relation.schema.clone())
                .or_default();
            schema.insert(relation.name.clone(), Arc::new(relation));
        }
        for function in functions {
            if matches!(function.kind, 'a' | 'w') {
                snapshot.user_aggregates.insert(function.name.clone(), ());
            }
            snapshot
                .functions
                .entry(function.name.clone())
                .or_default()
                .push(function);
        }
        snapshot
    }

    fn without_relations(self) -> Snapshot {
        let types = self.document.types;
        let domains = types
            .iter()
            .filter(|row| row.base != 0)
            .map(|row| (row.oid, row.base));
        Snapshot {
            epoch: self.document.epoch,
            applied: {
                let (number, digest) = self.document.applied;
                Applied { number, digest }
            },
            highest_key: self.document.highest_key,
            domains: domains.collect(),
            types: types
                .into_iter()
                .map(|row| ((row.schema, row.name), row.oid))
                .collect(),
            schemas: self.document.schemas.into_iter().collect(),
            user_operators: self.document.operators.into_iter().collect(),
            user_casts: self.document.casts.into_iter().collect(),
            ..Snapshot::default()
        }
    }

    fn relation(&self, row: &RelationRow) -> Relation {
        let rule = self.rule(row.oid);
        Relation {
            oid: row.oid,
            schema: row.schema.clone(),
            name: row.name.clone(),
            kind: relation_kind(row.kind),
            placement: self.placement(row.oid),
            parent: self
                .parents
                .get(&row.oid)
                .and_then(|parent| self.names.get(parent))
                .cloned(),
            has_user_triggers: row.triggers,
            has_row_security: row.row_security,
            accept_unenforced: rule.is_some_and(|(_, rule)| rule.accept_unenforced),
            ..Relation::default()
        }
    }

    /// The rule of a table, or of the nearest table above it: partitions are placed with their parent.
    fn rule(&self, oid: u32) -> Option<(u32, &RuleRow)> {
        let mut ancestors = std::iter::successors(Some(oid), |oid| self.parents.get(oid).copied());
        ancestors.find_map(|oid| Some((oid, self.rules.get(&oid)?)))
    }

    fn placement(&self, oid: u32) -> Placement {
        match self.rule(oid) {
            Some((
                _,
                RuleRow {
                    placement: RulePlacement::Reference,
                    ..
                },
            )) => Placement::Reference,
            Some((
                ruled,
                RuleRow {
                    placement: RulePlacement::Sharded,
                    key: Some(key),
                    ..
                },
            )) => self.sharded(oid, ruled, *key),
            _ => Placement::Local,
        }
    }

    /// A partition may have its columns in another order than the parent, but under the same names.
    fn sharded(&self, oid: u32, ruled: u32, key: i16) -> Placement {
        let columns = &self.document.columns;
        let key_column = columns
            .iter()
            .find(|row| row.relation == ruled && row.number == key);
        let found = key_column.and_then(|key_column| {
            let mut own = columns.iter().filter(|row| row.relation == oid);
            let key = own.position(|row| row.name == key_column.name)?;
            Some(Placement::Sharded {
                key,
                key_type: KeyType::of(key_column.type_oid)?,
            })
        });
        // The key column of a rule cannot vanish: dropping it is refused, and its type is checked.
        found.unwrap_or_default()
    }

    /// Of partitions they are their table's, too.
    fn add_unsafe_triggers(&self, relations: &mut HashMap<u32, Relation>) {
        if self.document.triggers.is_empty() {
            return;
        }
        let functions = self.functions(relations, &[]).into_iter();
        let functions = functions.filter(|function| {
            let reads = function.mentions_reference || function.mentions_local;
            function.schema != "oskol" && (reads || !function.mentions_sharded.is_empty())
        });
        let named = reach::Named::new(relations.values(), functions.map(|function| function.name));
        let mut found = Vec::new();
        for row in &self.document.triggers {
            let mut table = Some(row.relation);
            while let Some(oid) = table {
                if let Some(relation) = relations.get(&oid)
                    && let Some(trigger) = unsafe_trigger(row, relation, &named)
                {
                    found.push((oid, trigger));
                }
                table = self.parents.get(&oid).copied();
            }
        }
        for (oid, trigger) in found {
            if let Some(relation) = relations.get_mut(&oid) {
                relation.unsafe_triggers.push(trigger);
            }
        }
    }

    /// Functions and relations whose use may leave something behind in a session.
    fn session_state(&self) -> session_state::Found {
        let functions = self.document.functions.iter();
        let index: HashMap<u32, usize> = functions
            .clone()
            .enumerate()
            .map(|(at, row)| (row.oid, at))
            .collect();
        let calls = self.document.relation_calls.iter();
        let references = self.document.foreign_keys.iter();
        let partitions = self.document.parents.iter();
        session_state::find(&session_state::Callers {
            // Our own leave nothing that the router does not know of.
            functions: functions
                .map(|row| {
                    (
                        &*row.name,
                        row.body.as_deref().filter(|_| row.schema != "oskol"),
                    )
                })
                .collect(),
            relations: self
                .document
                .relations
                .iter()
                .map(|row| (row.oid, &*row.name))
                .collect(),
            calls: calls
                .filter_map(|(relation, function)| Some((*relation, *index.get(function)?)))
                .collect(),
            uses: references
                .map(|row| (row.referenced, row.relation))
                .chain(partitions.map(|(child, parent)| (*parent, *child)))
                .chain(self.document.view_reads.iter().copied())
                .collect(),
        })
    }

    /// Whether an operator, a cast or the like may: they are called without being named.
    fn unnamed_leave_state(&self, functions: &[bool]) -> bool {
        let leaves = self.document.functions.iter().zip(functions);
        leaves
            .filter(|(_, leaves)| **leaves)
            .any(|(row, _)| self.document.unnamed_calls.contains(&row.oid))
    }

    fn functions(&self, relations: &HashMap<u32, Relation>, state: &[bool]) -> Vec<Function> {
        let bodies: Vec<_> = self
            .document
            .functions
            .iter()
            .map(|row| (&*row.name, row.body.as_deref()))
            .collect();
        let mentions = mentions::find(&bodies, relations.values());
        let rows = self.document.functions.iter();
        rows.zip(mentions)
            .enumerate()
            .map(|(at, (row, mentions))| Function {
                leaves_state: state.get(at).copied().unwrap_or_default(),
                ..function(row, mentions)
            })
            .collect()
    }
}

/// `None`: it is as on one server. A function that is not written in PL/pgSQL is taken to stay on its shard, and to differ.
fn unsafe_trigger(
    row: &TriggerRow,
    relation: &Relation,
    named: &reach::Named<'_>,
) -> Option<UnsafeTrigger> {
    let body = row.body.as_deref();
    let why = match relation.placement {
        Placement::Reference => body
            .is_none_or(sameness::may_differ)
            .then(|| "it may do something else on each shard".to_owned()),
        _ => named.beyond(relation, body?),
    };
    // pg_trigger.h: TRIGGER_TYPE_INSERT and what follows.
    let fires = |bit: i16| row.kind & (1 << bit) != 0;
    Some(UnsafeTrigger {
        name: row.name.clone(),
        why: why?,
        on_insert: fires(2),
        on_delete: fires(3),
        on_update: fires(4),
        on_truncate: fires(5),
    })
}

fn function(row: &FunctionRow, mentions: mentions::Mentions) -> Function {
    Function {
        schema: row.schema.clone(),
        name: row.name.clone(),
        volatility: row.volatility,
        kind: row.kind,
        mentions_sharded: mentions.sharded.into_iter().collect(),
        mentions_local: mentions.local,
        mentions_reference: mentions.reference,
        leaves_state: false,
    }
}

fn name(row: &RelationRow) -> Name {
    (row.schema.clone(), row.name.clone())
}

fn positions(columns: &[ColumnRow]) -> HashMap<(u32, i16), usize> {
    let mut counts: HashMap<u32, usize> = HashMap::new();
    let mut next = |relation| {
        let count = counts.entry(relation).or_default();
        *count += 1;
        *count - 1
    };
    columns
        .iter()
        .map(|row| ((row.relation, row.number), next(row.relation)))
        .collect()
}

fn relation_kind(kind: char) -> RelationKind {
    match kind {
        'p' => RelationKind::Partitioned,
        'v' => RelationKind::View,
        'm' => RelationKind::MaterializedView,
        'S' => RelationKind::Sequence,
        'f' => RelationKind::Foreign,
        'i' | 'I' => RelationKind::Index,
        'c' => RelationKind::CompositeType,
        _ => RelationKind::Table,
    }
}
