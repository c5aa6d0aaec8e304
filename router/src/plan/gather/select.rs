//! SELECT over rows of several shards that no shard can finish alone: the rows are pulled, and one server
//! runs the client's statement over them.

use super::lower::{self, Treatment};
use super::{Finish, Gather, broadcast, nested};
use crate::error::RouterError;
use crate::parse::Statement;
use crate::plan::pins::Pins;
use crate::plan::survey::{LeafKind, Survey};
use crate::plan::{Action, Effect, Plan, PlanContext, place, unsupported};
use schema::Placement;

/// The plan of a SELECT whose tables are in several places; `why` no shard can run it as it is.
///
/// # Errors
/// Statements that write or lock, and what [`lower::statement`] refuses.
pub fn plan(
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    effect: Effect,
    why: &RouterError,
    context: &PlanContext<'_>,
) -> Result<Plan, RouterError> {
    if !survey.writes.is_empty() || survey.needs_ids {
        return Err(unsupported::write_in_with());
    }
    if effect.writes {
        return Err(why.clone());
    }
    if survey.locks {
        return Err(unsupported::for_update_over_shards());
    }
    let mut temporary = survey
        .facts
        .relations
        .iter()
        .filter(|relation| match &relation.schema {
            None => (context.temporary)(&relation.name),
            Some(schema) => schema == "pg_temp",
        });
    if let Some(relation) = temporary.next() {
        return Err(unsupported::join_temporary_with_sharded(&relation.name));
    }
    let why = why.detail.clone().unwrap_or_else(|| why.message.clone());
    let apart = apart(statement, survey, pins, &why, context);
    let on_shards = broadcast::plan(statement, survey, pins, context)
        .or_else(|| levels_on_shards(statement, survey, context));
    let gather = match on_shards {
        None => apart?,
        Some(mut gather) => {
            if let Finish::Shards { otherwise, .. } = &mut gather.place {
                *otherwise = apart.ok().map(Box::new);
            }
            Gather { why, ..gather }
        }
    };
    let reason = gather.why.clone();
    Ok(Plan::new(Action::Gather(Box::new(gather)), effect, reason))
}

/// The levels that shards can begin are finished on every shard, and carried into what it does with its own rows.
fn levels_on_shards(
    statement: &Statement,
    survey: &Survey,
    context: &PlanContext<'_>,
) -> Option<Gather> {
    let lifted = nested::lift(statement, survey, context).filter(|lifted| lifted.is_repeatable)?;
    let survey = Survey::of(&lifted.statement.node, context).ok()?;
    let pins = Pins::of(&survey);
    let rest = broadcast::plan(&lifted.statement, &survey, &pins, context)?;
    Some(lifted.filled(rest))
}

/// What shards can begin is pulled as far as they get, every other table's rows as they are; one server finishes.
fn apart(
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    why: &str,
    context: &PlanContext<'_>,
) -> Result<Gather, RouterError> {
    let lifted = nested::lift(statement, survey, context).and_then(|lifted| {
        let survey = Survey::of(&lifted.statement.node, context).ok()?;
        let pins = Pins::of(&survey);
        let rest = rows_apart(&lifted.statement, &survey, &pins, why, context);
        rest.ok().map(|rest| lifted.filled(rest))
    });
    match lifted {
        Some(gather) => Ok(gather),
        None => rows_apart(statement, survey, pins, why, context),
    }
}

/// Every table's rows are pulled, and one server finishes.
fn rows_apart(
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    why: &str,
    context: &PlanContext<'_>,
) -> Result<Gather, RouterError> {
    let treat = |leaf| match &survey.leaf(leaf).kind {
        LeafKind::Table {
            placement: Placement::Sharded { .. },
            ..
        } => Treatment::Pull,
        _ => Treatment::PullInTransaction,
    };
    let lowered = lower::statement(statement, survey, pins, context, &treat)?.with_clock(context);
    Ok(Gather {
        finish: lowered.template(),
        pulls: lowered.pulls,
        place: Finish::Apart {
            home: place::prefers_home(survey, context),
        },
        why: why.to_owned(),
    })
}
