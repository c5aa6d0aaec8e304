//! Triggers that would not do on a shard what they do on one server: statements that fire them are refused. Takes a plan; gives it,
//! or the refusal. Those of reference tables are looked at where such writes are planned (`volatile::trigger`), as one shard may
//! make the rows for all.

use pg_query::NodeEnum;
use pg_query::protobuf::RangeVar;
use schema::{Placement, UnsafeTrigger};

use super::facts::Facts;
use super::scope::{self, Found};
use super::{Action, Plan, PlanContext};
use crate::error::RouterError;
use crate::parse::Statement;

pub fn check(plan: Plan, statement: &Statement, context: &PlanContext<'_>) -> Plan {
    if !context.snapshot.has_unsafe_triggers || matches!(plan.action, Action::Refuse(_)) {
        return plan;
    }
    match refusal(&statement.node, context) {
        Some(refusal) => Plan::refused(refusal),
        None => plan,
    }
}

fn refusal(node: &NodeEnum, context: &PlanContext<'_>) -> Option<RouterError> {
    match node {
        NodeEnum::InsertStmt(insert) => {
            let updates = insert.on_conflict_clause.is_some();
            let fires = |trigger: &UnsafeTrigger| trigger.on_insert || updates && trigger.on_update;
            of_range(insert.relation.as_ref(), context, fires)
        }
        NodeEnum::UpdateStmt(update) => of_range(update.relation.as_ref(), context, |trigger| {
            trigger.on_update
        }),
        NodeEnum::DeleteStmt(delete) => of_range(delete.relation.as_ref(), context, |trigger| {
            trigger.on_delete
        }),
        NodeEnum::MergeStmt(merge) => of_range(merge.relation.as_ref(), context, |_| true),
        NodeEnum::CopyStmt(copy) if copy.is_from => {
            of_range(copy.relation.as_ref(), context, |trigger| trigger.on_insert)
        }
        NodeEnum::TruncateStmt(truncate) => truncate.relations.iter().find_map(|table| {
            let Some(NodeEnum::RangeVar(range)) = &table.node else {
                return None;
            };
            of_range(Some(range), context, |trigger| trigger.on_truncate)
        }),
        NodeEnum::ExplainStmt(explain) => {
            refusal(explain.query.as_deref()?.node.as_ref()?, context)
        }
        _ => None,
    }
    .or_else(|| written_in_with(node, context))
}

/// A part may write to any table that the statement names.
fn written_in_with(node: &NodeEnum, context: &PlanContext<'_>) -> Option<RouterError> {
    let with = match node {
        NodeEnum::SelectStmt(select) => select.with_clause.as_ref(),
        NodeEnum::InsertStmt(insert) => insert.with_clause.as_ref(),
        NodeEnum::UpdateStmt(update) => update.with_clause.as_ref(),
        NodeEnum::DeleteStmt(delete) => delete.with_clause.as_ref(),
        NodeEnum::MergeStmt(merge) => merge.with_clause.as_ref(),
        _ => None,
    }?;
    let parts = with
        .ctes
        .iter()
        .filter_map(|part| match part.node.as_ref()? {
            NodeEnum::CommonTableExpr(part) => part.ctequery.as_deref()?.node.as_ref(),
            _ => None,
        });
    let mut writes = parts.filter(|part| {
        use NodeEnum::{DeleteStmt, InsertStmt, MergeStmt, UpdateStmt};
        matches!(
            part,
            InsertStmt(_) | UpdateStmt(_) | DeleteStmt(_) | MergeStmt(_)
        )
    });
    writes.find_map(|part| {
        let tables = Facts::of(part).relations.into_iter();
        tables
            .into_iter()
            .find_map(|table| of_table(table.schema.as_deref(), &table.name, context, |_| true))
    })
}

fn of_range(
    range: Option<&RangeVar>,
    context: &PlanContext<'_>,
    fires: impl Fn(&UnsafeTrigger) -> bool,
) -> Option<RouterError> {
    let range = range?;
    let schema = Some(range.schemaname.as_str()).filter(|name| !name.is_empty());
    of_table(schema, &range.relname, context, fires)
}

fn of_table(
    schema: Option<&str>,
    name: &str,
    context: &PlanContext<'_>,
    fires: impl Fn(&UnsafeTrigger) -> bool,
) -> Option<RouterError> {
    let Found::Relation(relation) = scope::find_name(schema, name, context) else {
        return None;
    };
    if relation.placement == Placement::Reference {
        return None;
    }
    let trigger = relation
        .unsafe_triggers
        .iter()
        .find(|trigger| fires(trigger))?;
    Some(
        RouterError::unsupported(
            "trigger-reaches-shards",
            format!("trigger \"{}\" of table \"{}\" would not do what it is for", trigger.name, relation.name),
        )
        .detail(format!("It runs on the shard of its row, and {}.", trigger.why))
        .hint(
            "Have the application do it in the same transaction. A trigger may use rows of the same shard key, written as \
             WHERE key = NEW.key or INSERT INTO t (key, ...) VALUES (NEW.key, ...), and read reference tables.",
        ),
    )
}
