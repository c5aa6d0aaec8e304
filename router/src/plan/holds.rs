//! What a write to a reference table keeps other writers out of, on every shard, before it looks for its rows.
//!
//! In READ COMMITTED each shard's part of the statement has a snapshot of its own, and another transaction's commit comes to the
//! shards one by one: one copy could already have a row that the other has not, and the statement would change it on one
//! shard only. Once no writer of these tables is left on any shard, all copies are the same.

use std::collections::BTreeMap;

use schema::{Placement, Relation};

use super::PlanContext;
use super::facts::Facts;
use super::mirror::table;
use super::scope::{self, Found};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holds {
    /// Quoted, with their schemas; true: written. In the order of their names, so that no two statements wait crosswise.
    pub tables: BTreeMap<String, bool>,
    /// Rows are only added: nothing is looked for. A statement that is a transaction by itself holds nothing
    /// of the table then; in a longer one the lock is taken all the same, as a later statement may ask for it when others have
    /// begun to write, too.
    pub only_adds: bool,
}

/// The target finds its rows: UPDATE, DELETE, MERGE.
pub fn of_found(target: &Relation, facts: &Facts, context: &PlanContext<'_>) -> Holds {
    of(target, facts, context, false)
}

/// INSERT.
pub fn of_added(target: &Relation, facts: &Facts, context: &PlanContext<'_>) -> Holds {
    of(target, facts, context, true)
}

fn of(target: &Relation, facts: &Facts, context: &PlanContext<'_>, only_adds: bool) -> Holds {
    let mut tables = BTreeMap::new();
    for mention in facts.tables() {
        if let Found::Relation(relation) =
            scope::find_name(mention.schema.as_deref(), &mention.name, context)
        {
            let read = read_by(&relation, context).chain([&*relation]);
            let references = read.filter(|read| is_reference(read, context));
            tables.extend(references.map(|read| (table(read), false)));
        }
    }
    tables.insert(table(target), true);
    Holds { tables, only_adds }
}

/// What a view reads.
fn read_by<'a>(
    relation: &'a Relation,
    context: &'a PlanContext<'_>,
) -> impl Iterator<Item = &'a Relation> {
    let find = |(schema, name): &(String, String)| {
        let relations = context.snapshot.relations.get(schema)?;
        relations.get(name).map(AsRef::as_ref)
    };
    relation.reads.iter().filter_map(find)
}

fn is_reference(relation: &Relation, context: &PlanContext<'_>) -> bool {
    scope::placement(relation, context) == Placement::Reference
}
