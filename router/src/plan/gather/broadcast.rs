//! A few rows carried to many: where all but one of a statement's colocated groups of tables is narrowed down
//! by a condition, their rows are pulled and handed to every shard, as if they were reference tables, and the
//! shards run the statement over their own rows of the rest. `posts WHERE author_id IN (SELECT followee_id
//! FROM follows WHERE follower_id = 1)` moves the followees, not the posts.

use std::collections::HashSet;

use super::lower::{self, Lowered, Treatment};
use super::{Finish, Gather, Source, Template, print};
use crate::merge::Merge;
use crate::parse::{self, Statement};
use crate::plan::pins::{Pins, always_present};
use crate::plan::select;
use crate::plan::survey::{LeafId, LeafKind, Survey, Term};
use crate::plan::{Action, EntryRoutes, PlanContext, Scatter};

/// The plan, where there is one.
pub(super) fn plan(
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    context: &PlanContext<'_>,
) -> Option<Gather> {
    let narrow = lower::narrowed(statement, survey, pins, context);
    let mut anchors = anchors(survey);
    // What is not narrowed down has more rows, which are better left where they are.
    anchors.sort_by_key(|leaf| narrow.contains(leaf));
    anchors
        .into_iter()
        .find_map(|anchor| around(anchor, statement, survey, pins, context))
}

/// Sharded tables of the outermost FROM list.
fn anchors(survey: &Survey) -> Vec<LeafId> {
    let from = select::rows_of(survey, survey.root).and_then(|rows| rows.from.as_ref());
    let mut leaves = from.map(always_present).unwrap_or_default();
    leaves.retain(|leaf| survey.leaf(*leaf).shard_key().is_some());
    leaves
}

fn around(
    anchor: LeafId,
    statement: &Statement,
    survey: &Survey,
    pins: &Pins,
    context: &PlanContext<'_>,
) -> Option<Gather> {
    let carried = carried(anchor, survey, pins)?;
    let treat = |leaf: LeafId| match carried.contains(&leaf) {
        true => Treatment::Pull,
        false => Treatment::Keep,
    };
    let lowered = lower::statement(statement, survey, pins, context, &treat).ok()?;
    if lowered.is_wide {
        return None;
    }
    let mut changed = parse::parse(&lowered.text).ok()?;
    let changed = changed.pop().filter(|_| changed.is_empty())?;
    let plan = select::over_shards(&changed, context).ok()?;
    finished(plan.action, lowered)
}

/// The tables that are not where the anchor's rows are.
fn carried(anchor: LeafId, survey: &Survey, pins: &Pins) -> Option<HashSet<LeafId>> {
    let (key, _) = survey.leaf(anchor).shard_key()?;
    let key = Term::Column(anchor, key);
    let away = pins
        .uses
        .iter()
        .filter(|used| !used.is_pinned_to(survey, key));
    let mut carried: HashSet<LeafId> = away.map(|used| used.leaf).collect();
    for (index, leaf) in survey.leaves.iter().enumerate() {
        let local = matches!(leaf.kind, LeafKind::Home)
            || matches!(
                leaf.kind,
                LeafKind::Table {
                    placement: schema::Placement::Local,
                    ..
                }
            );
        if local {
            // Catalogs are read where they are.
            leaf.relation()?;
            carried.insert(LeafId(index));
        }
    }
    (!pins.gave_up && !carried.contains(&anchor)).then_some(carried)
}

/// The plan of the rest, with the carried rows.
fn finished(action: Action, lowered: Lowered) -> Option<Gather> {
    let whole = Merge::Concatenate {
        limit: None,
        offset: None,
    };
    let (source, scatter) = match Source::of(action) {
        Ok(found) => found,
        Err(other) => match *other {
            Action::Gather(gather) => return Some(combined(*gather, lowered)),
            _ => return None,
        },
    };
    let Scatter { text, merge, .. } = scatter.unwrap_or(Scatter {
        text: None,
        merge: whole,
        why: String::new(),
        routes: EntryRoutes::default(),
    });
    let text = text.as_ref().unwrap_or(&lowered.text);
    Some(Gather {
        finish: print::cut(text, &lowered.holes),
        pulls: lowered.pulls,
        place: Finish::Shards {
            source,
            merge,
            otherwise: None,
        },
        why: String::new(),
    })
}

/// The shards' rows need a last step of their own.
fn combined(gather: Gather, lowered: Lowered) -> Gather {
    let by = lowered.pulls.len();
    let filled = |template: Template| print::fill(template.shifted(by), &lowered.holes);
    let mut pulls = lowered.pulls;
    for mut pull in gather.pulls {
        pull.text = filled(pull.text);
        pulls.push(pull);
    }
    Gather {
        pulls,
        finish: filled(gather.finish),
        place: gather.place,
        why: gather.why,
    }
}
