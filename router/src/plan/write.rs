//! UPDATE, DELETE and MERGE.

use pg_query::NodeEnum;
use schema::Placement;

use super::pins::Pins;
use super::place::{Place, place};
use super::scatter;
use super::survey::{LeafId, LeafKind, Survey};
use super::{Action, Broadcast, Effect, Plan, PlanContext, select, unsupported, volatile};
use crate::error::RouterError;
use crate::parse::Statement;

/// `node` is an UPDATE, DELETE or MERGE.
pub fn plan(statement: &Statement, node: &NodeEnum, context: &PlanContext<'_>) -> Plan {
    planned(statement, node, context).unwrap_or_else(Plan::refused)
}

fn planned(
    statement: &Statement,
    node: &NodeEnum,
    context: &PlanContext<'_>,
) -> Result<Plan, RouterError> {
    let survey = Survey::of(node, context)?;
    let (place, effect) = place(&survey, &statement.text, context)?;
    let effect = Effect {
        writes: true,
        returns_rows: returns_rows(node),
        ..effect
    };
    let Some(target) = target(&survey) else {
        return Err(unsupported::syntax_not_understood());
    };
    if is_reference(&survey, target) {
        return reference(node, &survey, place, effect, context);
    }
    select::refuse_reference_writes(&survey)?;
    match place {
        Place::Home | Place::AnyShard => Ok(select::whole(Action::Home, effect, &survey)),
        Place::Sharded => {
            let pins = Pins::of(&survey);
            sharded(statement, node, &survey, &pins, effect)
        }
    }
}

fn target(survey: &Survey) -> Option<LeafId> {
    select::rows_of(survey, survey.root)?.target
}

fn returns_rows(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::UpdateStmt(update) => update.returning_clause.is_some(),
        NodeEnum::DeleteStmt(delete) => delete.returning_clause.is_some(),
        NodeEnum::MergeStmt(merge) => merge.returning_clause.is_some(),
        _ => false,
    }
}

fn is_reference(survey: &Survey, leaf: LeafId) -> bool {
    matches!(
        &survey.leaf(leaf).kind,
        LeafKind::Table {
            placement: Placement::Reference,
            ..
        }
    )
}

/// The same statement on every shard, where it does the same to every copy.
fn reference(
    node: &NodeEnum,
    survey: &Survey,
    place: Place,
    effect: Effect,
    context: &PlanContext<'_>,
) -> Result<Plan, RouterError> {
    let other = survey.leaves.iter().find(|leaf| {
        leaf.shard_key().is_some()
            || matches!(&leaf.kind, LeafKind::Home)
            || matches!(
                &leaf.kind,
                LeafKind::Table {
                    placement: Placement::Local,
                    ..
                }
            )
    });
    if let Some(other) = other {
        return Err(unsupported::reference_write(
            "reference-write-from-others",
            format!("\"{}\" has other rows on each shard.", other.name),
            "Read the values first and pass them as constants or parameters.",
        ));
    }
    if let Some(culprit) = volatile::culprit(&survey.facts, context) {
        return Err(unsupported::reference_write_volatile(&culprit));
    }
    if place == Place::Home || survey.writes.len() > 1 || picks_rows(node, survey) {
        return Err(unsupported::reference_write(
            "reference-write-picks",
            "LIMIT, DISTINCT ON, windows, UPDATE ... FROM and MERGE may pick other rows on each shard.".to_owned(),
            "Use a subquery in SET, or pass the values as constants or parameters.",
        ));
    }
    let reason = "a reference table is written on every shard";
    Ok(Plan::new(
        Action::Broadcast(Broadcast { rewrite: None }),
        effect,
        reason,
    ))
}

/// Whether which rows or values are taken may depend on the order in which rows are stored.
fn picks_rows(node: &NodeEnum, survey: &Survey) -> bool {
    let joins = match node {
        NodeEnum::UpdateStmt(update) => !update.from_clause.is_empty(),
        NodeEnum::MergeStmt(_) => true,
        _ => false,
    };
    joins || survey.facts.has_limit || survey.facts.has_distinct_on_or_window
}

fn sharded(
    statement: &Statement,
    node: &NodeEnum,
    survey: &Survey,
    pins: &Pins,
    effect: Effect,
) -> Result<Plan, RouterError> {
    let spread = scatter::write(survey, pins, effect.returns_rows);
    if matches!(node, NodeEnum::MergeStmt(_)) {
        return select::keyed(survey, pins, effect, Err(unsupported::merge_over_shards()));
    }
    match (guarded(statement, node, survey, pins), spread) {
        (Some(text), Ok(spread)) => Ok(spread.with_text(text).into_plan(effect)),
        (_, spread) => select::keyed(survey, pins, effect, spread),
    }
}

/// The text of an UPDATE over the shards that sets the shard key, perhaps to what it is (object mappers
/// write all columns of a row): each shard checks that it is.
fn guarded(statement: &Statement, node: &NodeEnum, survey: &Survey, pins: &Pins) -> Option<String> {
    let NodeEnum::UpdateStmt(update) = node else {
        return None;
    };
    let unpinned = pins.rekeyed.len() == 1 && select::pinned_value(survey, pins).is_none();
    unpinned
        .then(|| scatter::guard::text(&statement.text, update, survey))
        .flatten()
}
