//! UPDATE, DELETE and MERGE that read what is not where the rows written are: those tables are pulled first,
//! and the shards of the target run the statement over its own rows with the pulled ones beside them.
//!
//! Every shard is given the same rows of a pulled table in the same order, so what a shard does to a row is
//! what one server with all tables would do to it.

use schema::Placement;

use super::Job;
use crate::error::RouterError;
use crate::merge::Merge;
use crate::parse::{self, Statement};
use crate::plan::gather::lower::{self, Lowered, Treatment};
use crate::plan::gather::{Finish, Gather, Source, Template, print};
use crate::plan::survey::{Leaf, LeafId, LeafKind, Term};
use crate::plan::{Action, EntryRoutes, Plan, Scatter, unsupported};

/// The plan of a write whose target is sharded; `why` the shards cannot run it as it is.
pub(super) fn onto_shards(job: &Job<'_>, why: &RouterError) -> Result<Plan, RouterError> {
    check(job)?;
    // A colocated table stays where it is, unless what pins it to the target's key is pulled itself.
    let stays = [colocated(job), vec![job.target]];
    let mut refusal = why.clone();
    for stays in stays {
        let lowered = lower(job, &|leaf| treatment(job, leaf, &stays))?;
        match over_shards(job, &lowered) {
            Ok(plan) => return finished(job, plan.action, lowered, why),
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// The plan of a write to a local table that reads sharded ones.
pub(super) fn onto_home(job: &Job<'_>) -> Result<Plan, RouterError> {
    if job.survey.writes.len() > 1 || job.survey.needs_ids {
        return Err(unsupported::write_in_with());
    }
    let lowered = lower(job, &|leaf| match job.survey.leaf(leaf).shard_key() {
        Some(_) => Treatment::Pull,
        None => Treatment::Keep,
    })?;
    let merge = whole(job.effect.returns_rows);
    let place = Finish::Shards {
        source: Source::Home,
        merge,
        otherwise: None,
    };
    let finish = lowered.template();
    let why = "the table written is on the home shard, and what it is written from is not";
    let mut plan = plan(job, lowered, finish, place, why);
    let temporary = |leaf: &Leaf| (job.context.temporary)(&leaf.name);
    let mut at_home = job
        .survey
        .leaves
        .iter()
        .filter(|leaf| matches!(leaf.kind, LeafKind::Home));
    plan.effect.unpreparable |= at_home.any(temporary);
    Ok(plan)
}

fn check(job: &Job<'_>) -> Result<(), RouterError> {
    if job.pins.gave_up {
        return Err(unsupported::too_entangled());
    }
    if job.survey.writes.len() > 1 || job.survey.needs_ids {
        return Err(unsupported::write_in_with());
    }
    let not_pulled = |leaf: &&Leaf| matches!(leaf.kind, LeafKind::Home);
    match job.survey.leaves.iter().find(not_pulled) {
        Some(leaf) if (job.context.temporary)(&leaf.name) => {
            Err(unsupported::join_temporary_with_sharded(&leaf.name))
        }
        Some(leaf) => Err(crate::plan::place::beside_local(leaf)),
        None => Ok(()),
    }
}

/// The sharded tables whose rows that matter are where the target's row is.
fn colocated(job: &Job<'_>) -> Vec<LeafId> {
    let Some((key, _)) = job.survey.leaf(job.target).shard_key() else {
        return Vec::new();
    };
    let key = Term::Column(job.target, key);
    let away = |leaf: &LeafId| {
        let mut uses = job.pins.uses.iter().filter(|used| used.leaf == *leaf);
        uses.any(|used| !used.is_pinned_to(job.survey, key))
    };
    let leaves = (0..job.survey.leaves.len()).map(LeafId);
    leaves
        .filter(|leaf| *leaf == job.target || !away(leaf))
        .collect()
}

fn treatment(job: &Job<'_>, leaf: LeafId, stays: &[LeafId]) -> Treatment {
    let facts = &job.survey.facts;
    // Copies of a reference table may have their rows in other orders.
    let picks = facts.has_limit || facts.has_distinct_on_or_window;
    match &job.survey.leaf(leaf).kind {
        LeafKind::Table { placement, .. } => match placement {
            Placement::Sharded { .. } if stays.contains(&leaf) => Treatment::Keep,
            Placement::Reference if !picks => Treatment::Keep,
            _ => Treatment::Pull,
        },
        _ => Treatment::Keep,
    }
}

fn lower(job: &Job<'_>, treat: &dyn Fn(LeafId) -> Treatment) -> Result<Lowered, RouterError> {
    lower::statement(job.statement, job.survey, job.pins, job.context, treat)
}

/// The plan of what is left when the pulled tables are as good as reference tables.
fn over_shards(job: &Job<'_>, lowered: &Lowered) -> Result<Plan, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let mut changed: Vec<Statement> = parse::parse(&lowered.text).map_err(|_| failed())?;
    let changed = changed
        .pop()
        .filter(|_| changed.is_empty())
        .ok_or_else(failed)?;
    super::left(&changed, job.context, job.effect)
}

fn finished(
    job: &Job<'_>,
    action: Action,
    lowered: Lowered,
    why: &RouterError,
) -> Result<Plan, RouterError> {
    let (source, scatter) = match Source::of(action) {
        Ok(found) => found,
        Err(other) => match *other {
            Action::Refuse(error) => return Err(error),
            _ => return Err(why.clone()),
        },
    };
    let Scatter { text, merge, .. } = scatter.unwrap_or_else(|| Scatter {
        text: None,
        merge: whole(job.effect.returns_rows),
        why: String::new(),
        routes: EntryRoutes::default(),
    });
    let finish = print::cut(text.as_ref().unwrap_or(&lowered.text), &lowered.holes);
    let place = Finish::Shards {
        source,
        merge,
        otherwise: None,
    };
    let why = why.detail.as_ref().unwrap_or(&why.message);
    Ok(plan(job, lowered, finish, place, why))
}

fn plan(job: &Job<'_>, lowered: Lowered, finish: Template, place: Finish, why: &str) -> Plan {
    let gather = Gather {
        pulls: lowered.pulls,
        finish,
        place,
        why: why.to_owned(),
    };
    Plan::new(Action::Gather(Box::new(gather)), job.effect, why)
}

/// Rows as they come, or their count.
fn whole(returning: bool) -> Merge {
    match returning {
        true => Merge::Concatenate {
            limit: None,
            offset: None,
        },
        false => Merge::CountOnly,
    }
}
