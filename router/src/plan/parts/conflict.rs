//! What a part touches, and whether a later one would see it. In PostgreSQL no part sees what another does, and foreign
//! keys are looked at when all are done.

use pg_query::NodeEnum;
use pg_query::protobuf::RangeVar;
use schema::Relation;

use crate::error::RouterError;
use crate::plan::facts::Facts;
use crate::plan::gather::print::INPUT;
use crate::plan::scope::{self, Found};
use crate::plan::{PlanContext, unsupported};

type Name = (String, String);

/// The tables of one statement; partitions count as the table they are of.
#[derive(Debug, Default)]
pub(super) struct Touched {
    reads: Vec<Name>,
    written: Option<Name>,
    /// Rows that were there are changed or taken away.
    changes: bool,
}

impl Touched {
    /// # Errors
    /// What may read or write tables out of sight.
    pub(super) fn of(node: &NodeEnum, context: &PlanContext<'_>) -> Result<Self, RouterError> {
        let failed = unsupported::write_in_with;
        let facts = Facts::of(node);
        if calls_unseen(&facts, context) {
            return Err(failed());
        }
        let target = target(node);
        let mut touched = Self::default();
        if let Some((range, reads, changes)) = target {
            let Found::Relation(relation) = scope::find(range, context) else {
                return Err(failed());
            };
            if relation.has_user_triggers {
                return Err(failed());
            }
            let own = whole(&relation, context);
            touched.reads.extend(reads.then(|| own.clone()));
            touched.written = Some(own);
            touched.changes = changes;
        }
        let at = target.map(|(range, ..)| usize::try_from(range.location).unwrap_or(0));
        for table in facts.tables().filter(|table| Some(table.location) != at) {
            if table.schema.is_none() && table.name.starts_with(INPUT) {
                continue;
            }
            if let Found::Relation(relation) =
                scope::find_name(table.schema.as_deref(), &table.name, context)
            {
                touched.reads.push(whole(&relation, context));
                touched.reads.extend(relation.reads.iter().cloned());
            }
        }
        Ok(touched)
    }

    /// Whether `later`, when it runs, finds what this one has done.
    pub(super) fn disturbs(&self, later: &Self, context: &PlanContext<'_>) -> bool {
        let Some(written) = &self.written else {
            return false;
        };
        let mut reached = vec![written.clone()];
        if self.changes {
            reach(&mut reached, context);
        }
        if later.reads.iter().any(|read| reached.contains(read)) {
            return true;
        }
        // A key that is only good, or only broken, once both have run.
        later.written.as_ref().is_some_and(|other| {
            other != written
                && (refers(written, other, context)
                    || self.changes && refers(other, written, context))
        })
    }
}

/// The table written; whether its rows are read; whether they are changed.
fn target(node: &NodeEnum) -> Option<(&RangeVar, bool, bool)> {
    match node {
        NodeEnum::InsertStmt(insert) => {
            let meets = insert.on_conflict_clause.is_some();
            Some((insert.relation.as_ref()?, meets, meets))
        }
        NodeEnum::UpdateStmt(update) => Some((update.relation.as_ref()?, true, true)),
        NodeEnum::DeleteStmt(delete) => Some((delete.relation.as_ref()?, true, true)),
        _ => None,
    }
}

/// A user's function may read what it likes.
fn calls_unseen(facts: &Facts, context: &PlanContext<'_>) -> bool {
    let functions = &context.snapshot.functions;
    let called = |name: &String| functions.get(name).into_iter().flatten();
    let mut all = facts.functions.iter().flat_map(|call| called(&call.name));
    all.any(|function| function.volatility != 'i')
}

fn whole(relation: &Relation, context: &PlanContext<'_>) -> Name {
    let mut name = (relation.schema.clone(), relation.name.clone());
    // A partition tree is not deeper than this.
    for _ in 0..32 {
        match find(&name, context).and_then(|relation| relation.parent.clone()) {
            Some(parent) => name = parent,
            None => break,
        }
    }
    name
}

fn find<'a>(name: &Name, context: &'a PlanContext<'_>) -> Option<&'a Relation> {
    let relation = context.snapshot.relations.get(&name.0)?.get(&name.1)?;
    Some(relation)
}

/// Adds the tables whose foreign keys, directly or through others, may carry a change on.
fn reach(reached: &mut Vec<Name>, context: &PlanContext<'_>) {
    let mut next = 0;
    while let Some(name) = reached.get(next).cloned() {
        next += 1;
        for relation in context
            .snapshot
            .relations
            .values()
            .flat_map(|schema| schema.values())
        {
            if relation
                .foreign_keys
                .iter()
                .any(|key| key.referenced == name)
            {
                let other = whole(relation, context);
                if !reached.contains(&other) {
                    reached.push(other);
                }
            }
        }
    }
}

/// Whether `one` has a foreign key to `other`.
fn refers(one: &Name, other: &Name, context: &PlanContext<'_>) -> bool {
    let keys = find(one, context).map(|relation| &relation.foreign_keys);
    keys.is_some_and(|keys| keys.iter().any(|key| key.referenced == *other))
}
