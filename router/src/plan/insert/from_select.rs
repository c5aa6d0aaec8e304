//! INSERT ... SELECT, and INSERT with queries in it over sharded tables: into a sharded table where all is
//! pinned to one key, into a reference table where each shard gets the same rows.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::refusals::insert_select;
use super::target::Target;
use super::{Job, Planned, rewrite};
use crate::error::RouterError;
use crate::plan::pins::Pins;
use crate::plan::survey::{Body, Survey};
use crate::plan::tokens::Tokens;
use crate::plan::{Action, Effect, Plan, place, select};

/// Whether the statement reads sharded tables or writes in a WITH query, so that the key of its own row is
/// not all there is to know.
pub fn reads_by_key(job: &Job<'_>) -> bool {
    job.others.sharded.is_some() || job.insert.with_clause.is_some()
}

/// By key, where the rows inserted and all that is read have the same.
pub fn into_sharded(job: &Job<'_>, target: &Target) -> Planned {
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
    let plan = select::keyed(&survey, &Pins::of(&survey), effect, Err(insert_select()))?;
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

/// A query over reference tables gives each shard the same rows, unless it picks among them or they get ids.
pub fn into_reference(job: &Job<'_>, target: &Target) -> Result<(), RouterError> {
    if !target.absent_ids().is_empty() {
        return Err(ids_wanted().detail("Each shard would number the rows in its own order."));
    }
    if job.facts.has_limit || job.facts.has_distinct_on_or_window {
        return Err(RouterError::unsupported(
            "reference-write-volatile",
            "this INSERT could give different rows on different shards",
        )
        .detail("LIMIT, DISTINCT and window functions may pick other rows where rows are stored in another order.")
        .hint("Read the rows first and insert them as VALUES."));
    }
    Ok(())
}
