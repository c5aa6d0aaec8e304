//! Statements that may change values of unique keys, or rows of foreign keys, which hold over all shards: they run as
//! planned, and what the shards note of them (`schema/sql/unique.sql`, `references.sql`) is looked into afterwards. Takes a plan; gives it, or one around
//! it. When in doubt a statement counts as one of these, which costs a look and changes nothing.

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::facts::Facts;
use super::scope::{self, Found};
use super::{Action, Copy, Plan, PlanContext, SessionCommand, insert};
use crate::parse::Statement;

/// The plan, with the entering of what it changes around it where that may be something.
pub fn around(plan: Plan, statement: &Statement, context: &PlanContext<'_>) -> Plan {
    if !context.snapshot.keeps_constraints() || !plan.effect.writes || enters_itself(&plan.action) {
        return plan;
    }
    let facts = Facts::of(&statement.node);
    if !may_change(&statement.node, &facts, context) {
        return plan;
    }
    if let NodeEnum::InsertStmt(insert) = &statement.node
        && !goes_row_by_row(&plan.action)
        && let Err(refusal) = insert::conflict::is_on_one_shard(insert, context)
    {
        return Plan::refused(refusal);
    }
    let mut plan = plan;
    if matches!(
        plan.action,
        Action::Copy(Copy::FromDivided(_) | Copy::FromBroadcast(_))
    ) {
        plan.effect.changes_entries = true;
        return plan;
    }
    let effect = plan.effect;
    plan.by_shape = false;
    let notices = std::mem::take(&mut plan.notices);
    let reason = plan.reason.clone();
    Plan {
        notices,
        ..Plan::new(Action::WithEntries(Rc::new(plan)), effect, reason)
    }
}

/// These enter what they change at their own end, or run nothing.
fn enters_itself(action: &Action) -> bool {
    match action {
        Action::Session(command) => !matches!(command, SessionCommand::AtCursor { .. }),
        Action::Ddl(_) | Action::Cluster(_) | Action::Refuse(_) => true,
        _ => false,
    }
}

fn goes_row_by_row(action: &Action) -> bool {
    match action {
        Action::Upsert(_) => true,
        Action::InsertRows(insert) => insert.upserts.is_some(),
        _ => false,
    }
}

fn may_change(node: &NodeEnum, facts: &Facts, context: &PlanContext<'_>) -> bool {
    let is_change = matches!(
        node,
        NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_)
            | NodeEnum::CopyStmt(_)
    );
    // Whatever else writes does so in a function, which may write anything.
    !is_change
        || changes_watched(node, context).unwrap_or_else(|| changes_table(facts, context))
        || calls_user_function(facts, context)
}

/// Whether a statement with one target changes what matters there; `None`: it may have others.
fn changes_watched(node: &NodeEnum, context: &PlanContext<'_>) -> Option<bool> {
    let (range, assigned) = match node {
        NodeEnum::UpdateStmt(update) if update.with_clause.is_none() => {
            (update.relation.as_ref()?, Some(&update.target_list))
        }
        NodeEnum::DeleteStmt(delete) if delete.with_clause.is_none() => {
            (delete.relation.as_ref()?, None)
        }
        _ => return None,
    };
    let Found::Relation(relation) = scope::find(range, context) else {
        return None;
    };
    if !relation.changes_entries {
        return Some(false);
    }
    let Some(assigned) = assigned else {
        return Some(relation.watches_deletes);
    };
    let watched = relation.watched.as_ref()?;
    let is_watched = |target: &Node| match target.node.as_ref() {
        Some(NodeEnum::ResTarget(target)) => watched
            .iter()
            .any(|column| relation.columns[*column].name == target.name),
        _ => true,
    };
    Some(assigned.iter().any(is_watched))
}

fn changes_table(facts: &Facts, context: &PlanContext<'_>) -> bool {
    facts.tables().any(|table| {
        let found = scope::find_name(table.schema.as_deref(), &table.name, context);
        matches!(found, Found::Relation(relation) if relation.changes_entries)
    })
}

fn calls_user_function(facts: &Facts, context: &PlanContext<'_>) -> bool {
    let functions = &context.snapshot.functions;
    let called = |name: &str| functions.get(name).into_iter().flatten();
    let mut all = facts
        .functions
        .iter()
        .flat_map(|function| called(&function.name));
    all.any(|function| function.volatility == 'v')
}
