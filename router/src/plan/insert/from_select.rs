//! INSERT ... SELECT, and INSERT with queries in it over sharded tables: into a sharded table where all is
//! pinned to one key or each shard has what it needs, into a reference table where each shard gets the same rows.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;
use schema::KeyType;

use super::target::Target;
use super::{Job, Planned, from_query, pushed_down, rewrite};
use crate::error::RouterError;
use crate::plan::pins::Pins;
use crate::plan::survey::{Body, Survey};
use crate::plan::tokens::Tokens;
use crate::plan::{Action, Effect, Plan, place, select};

/// Whether the statement reads tables that are not on every shard or writes in a WITH query, so that the key of
/// its own row is not all there is to know.
pub fn reads_by_key(job: &Job<'_>) -> bool {
    job.others.sharded.is_some() || job.others.local.is_some() || job.insert.with_clause.is_some()
}

/// By key where the rows inserted and all that is read have the same; by every shard itself where it has all
/// that makes its rows; else from the query's rows.
pub fn into_sharded(job: &Job<'_>, target: &Target, key: usize, key_type: KeyType) -> Planned {
    match on_the_shards(job, target, key) {
        Ok(plan) => Ok(plan),
        Err(refused) if !super::is_unsupported(&refused) => Err(refused),
        Err(_) => from_query::into_sharded(job, target, key, key_type),
    }
}

/// The client's own text on the shards concerned.
fn on_the_shards(job: &Job<'_>, target: &Target, key: usize) -> Planned {
    let values = super::values(job.insert).map_or(&[][..], |select| &select.values_lists);
    let node = NodeEnum::InsertStmt(Box::new(job.insert.clone()));
    let survey = Survey::of(&node, job.context)?;
    let (_, effect) = place::place(&survey, &job.statement.text, job.context)?;
    if values.is_empty() {
        no_ids_wanted(target, &survey)?;
    }
    if survey.writes.len() > 1 {
        select::refuse_reference_writes(&survey)?;
    }
    let effect = Effect {
        pins: effect.pins,
        unpreparable: effect.unpreparable,
        ..job.effect
    };
    let spread = pushed_down::plan(job, target, key);
    let plan = select::keyed(&survey, &Pins::of(&survey), effect, spread, job.context)?;
    with_ids(job, target, values, plan)
}

/// The plan with ids filled into the rows of VALUES.
fn with_ids(job: &Job<'_>, target: &Target, rows: &[Node], mut plan: Plan) -> Planned {
    let edits = target.edits(job, &Tokens::of(&job.statement.text), rows)?;
    if let (false, Action::ByKey(by_key)) = (edits.is_empty(), &mut plan.action) {
        by_key.rewrite = Some(rewrite(&edits, job));
        plan.by_shape = false;
    }
    Ok(plan)
}

/// Rows of a query are numbered on no shard.
fn no_ids_wanted(target: &Target, survey: &Survey) -> Result<(), RouterError> {
    let width = match &survey.query(survey.root).body {
        Body::Insert {
            source: Some(source),
            ..
        } => survey.query(*source).outputs.as_ref().map(Vec::len),
        _ => None,
    };
    if target.absent_ids_of(width).is_empty() {
        return Ok(());
    }
    Err(ids_wanted()
        .detail("The ids that the router gives out would have to be known before the rows are."))
}

fn ids_wanted() -> RouterError {
    RouterError::unsupported(
        "insert-select-ids",
        "INSERT ... SELECT cannot fill in ids here",
    )
    .hint("Select the id column's value too, or insert the rows as VALUES.")
}

/// Rows of a query get no ids: on every shard they may come in another order.
pub fn no_ids_of_reference(target: &Target) -> Result<(), RouterError> {
    if target.absent_ids().is_empty() {
        return Ok(());
    }
    Err(ids_wanted().detail("Each shard would number the rows in its own order."))
}
