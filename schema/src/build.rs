//! Catalog document -> [`Snapshot`]: joins the flat arrays and resolves oids to names.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::document::{ColumnRow, Document, FunctionRow, RelationRow, RuleRow};
use crate::mentions;
use crate::rules::{KeyType, Placement, RulePlacement};
use crate::snapshot::{
    Column, DefaultValue, ForeignKey, Function, Relation, RelationKind, Snapshot, UniqueKey,
};

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
        let functions = self.functions(&relations);
        let mut snapshot = self.without_relations();
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

    fn add_columns(&self, relations: &mut HashMap<u32, Relation>) {
        let owners = &self.document.owners;
        let identities = owners.iter().filter(|row| row.kind == 'i');
        let identities: HashMap<_, _> = identities
            .map(|row| ((row.relation, row.column), row.sequence))
            .collect();
        for row in &self.document.columns {
            let Some(relation) = relations.get_mut(&row.relation) else {
                continue;
            };
            let identity = identities.get(&(row.relation, row.number));
            relation.columns.push(self.column(row, identity.copied()));
        }
    }

    fn column(&self, row: &ColumnRow, identity: Option<u32>) -> Column {
        Column {
            name: row.name.clone(),
            type_oid: row.type_oid,
            type_modifier: row.type_modifier,
            not_null: row.not_null,
            collation_is_bytewise: row.collation_is_bytewise,
            collation_is_deterministic: row.collation_is_deterministic,
            default: self.default_value(row, identity),
        }
    }

    fn default_value(&self, row: &ColumnRow, identity: Option<u32>) -> DefaultValue {
        let sequence = |oid: Option<u32>| oid.and_then(|oid| self.names.get(&oid)).cloned();
        if !row.generated.is_empty() {
            return DefaultValue::Generated;
        }
        if let Some((schema, name)) = sequence(identity) {
            return DefaultValue::Identity {
                always: row.identity == "a",
                schema,
                name,
            };
        }
        let Some(text) = &row.default else {
            return DefaultValue::None;
        };
        if let Some((schema, name)) = sequence(row.default_sequence).filter(|_| is_nextval(text)) {
            return DefaultValue::Sequence { schema, name };
        }
        DefaultValue::Expression {
            text: text.clone(),
            volatile: row.default_is_volatile,
        }
    }

    fn add_keys(&self, relations: &mut HashMap<u32, Relation>) {
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
            });
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
            });
        }
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

    fn add_owners(&self, relations: &mut HashMap<u32, Relation>) {
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

    fn add_view_contents(&self, relations: &mut HashMap<u32, Relation>) {
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
            .filter(|view| view.1)
            .map(|view| view.0)
            .collect();
        for (view, _) in &self.document.views {
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
            relation.reads_catalogs =
                catalogs.contains(view) || below.iter().any(|oid| catalogs.contains(oid));
        }
    }

    fn functions(&self, relations: &HashMap<u32, Relation>) -> Vec<Function> {
        let bodies: Vec<_> = self
            .document
            .functions
            .iter()
            .map(|row| (&*row.name, row.body.as_deref()))
            .collect();
        let mentions = mentions::find(&bodies, relations.values());
        let rows = self.document.functions.iter();
        rows.zip(mentions)
            .map(|(row, mentions)| function(row, mentions))
            .collect()
    }
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

/// `nextval('name'::regclass)` and nothing around it.
fn is_nextval(expression: &str) -> bool {
    let name = expression
        .strip_prefix("nextval('")
        .and_then(|rest| rest.strip_suffix("'::regclass)"));
    // An apostrophe inside a name is doubled; a lone one would end the literal.
    name.is_some_and(|name| !name.replace("''", "").contains('\''))
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
