//! SELECT over rows of several shards that no shard can finish alone: the rows are pulled, and one server
//! runs the client's statement over them.

use super::lower::{self, Treatment};
use super::{Finish, Gather, broadcast, locked, nested};
use crate::error::RouterError;
use crate::parse::Statement;
use crate::plan::pins::Pins;
use crate::plan::select::rows_of;
use crate::plan::survey::{LeafId, LeafKind, Survey};
use crate::plan::{Action, Effect, Plan, PlanContext, place, unsupported};
use pg_query::protobuf::SelectStmt;
use schema::Placement;

/// The plan of a SELECT whose tables are in several places; `why` no shard can run it as it is.
///
/// # Errors
/// Statements that write, and what [`lower::statement`] and [`locked::plan`] refuse.
pub fn plan(
    statement: &Statement,
    select: &SelectStmt,
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
    if survey.locks {
        return locked::plan(select, survey, effect, &why, context);
    }
    let apart = apart(statement, survey, pins, &why, context, &[]);
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
/// `marked`: the tables of the outermost FROM list whose rows say where they are.
pub(super) fn apart(
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    why: &str,
    context: &PlanContext<'_>,
    marked: &[String],
) -> Result<Gather, RouterError> {
    let lifted = nested::lift(statement, survey, context).and_then(|lifted| {
        let survey = Survey::of(&lifted.statement.node, context).ok()?;
        let pins = Pins::of(&survey);
        let rest = rows_apart(&lifted.statement, &survey, &pins, why, context, marked);
        rest.ok().map(|rest| lifted.filled(rest))
    });
    match lifted {
        Some(gather) => Ok(gather),
        None => rows_apart(statement, survey, pins, why, context, marked),
    }
}

/// Every table's rows are pulled, and one server finishes.
fn rows_apart(
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    why: &str,
    context: &PlanContext<'_>,
    marked: &[String],
) -> Result<Gather, RouterError> {
    let outermost = rows_of(survey, survey.root).and_then(|rows| rows.from.as_ref());
    let outermost = outermost.filter(|_| !marked.is_empty());
    let outermost = outermost.map(locked::leaves).unwrap_or_default();
    let mark = |leaf: LeafId| {
        let mut marks = marked.iter();
        let mark = marks.position(|name| *name == survey.leaf(leaf).name);
        mark.filter(|_| outermost.contains(&leaf))
    };
    let treat = |leaf| match (mark(leaf), &survey.leaf(leaf).kind) {
        (Some(mark), _) => Treatment::PullMarked(mark),
        (
            None,
            LeafKind::Table {
                placement: Placement::Sharded { .. },
                ..
            },
        ) => Treatment::Pull,
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
