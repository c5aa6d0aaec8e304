//! One query level whose rows are whole on their shards, but whose groups, order, duplicates or windows are not:
//! each shard sends as little as it can (partial aggregates, its first rows, its distinct rows), and a PostgreSQL does
//! the rest over that.
//!
//! Takes the level and its anchor; gives a plan of one pull, or the reason why there is none. It must never change
//! what is computed, only where.

mod build;
mod collation;
mod finals;
mod finisher;
mod kinds;
mod level;
mod outputs;
mod pulled;
mod stages;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt};

use super::Gather;
use crate::error::RouterError;
use crate::plan::functions::Calls;
use crate::plan::scatter::{Anchored, check_windows};
use crate::plan::survey::{derived_name, walk};
use crate::plan::unsupported;
use finisher::Aggregates;
use level::Level;

/// The plan of `select`, of which `anchored` is the survey. `why` the router does not merge it itself.
///
/// # Errors
/// What has no exact plan of this kind.
pub(in crate::plan) fn plan(
    select: &SelectStmt,
    anchored: &Anchored<'_>,
    why: &RouterError,
) -> Result<Gather, RouterError> {
    refuse(select, anchored)?;
    let why = why.detail.as_deref().unwrap_or(&why.message);
    let reads = Calls::of(&anchored.survey.facts, anchored.context).may_read(anchored.context);
    let whole_windows = check_windows(select, anchored).is_ok();
    let grouped = anchored.rows.grouped.as_ref();
    let whole_groups =
        grouped.is_none_or(|grouped| grouped.iter().any(|term| anchored.class.contains(term)));
    if whole_groups && whole_windows {
        match outputs::plan(select, anchored, why) {
            Err(_) if !reads => {}
            other => return other,
        }
    }
    // What is left evaluates the statement's expressions where its transaction is not.
    if reads {
        return Err(unsupported::function_over_shards());
    }
    let level = Level::of(select, anchored)?;
    match (grouped.is_some(), whole_groups) {
        (true, true) => stages::plan(&level, Aggregates::Whole, why),
        (true, false) => stages::plan(&level, Aggregates::Partial, why)
            .or_else(|_| stages::plan(&level, Aggregates::Kept, why)),
        (false, _) => stages::plan(&level, Aggregates::Kept, why),
    }
}

/// Whether names and collations of all output columns are known, so that the level's plan can stand for it inside a
/// statement.
pub(in crate::plan) fn has_known_columns(select: &SelectStmt, anchored: &Anchored<'_>) -> bool {
    let Ok(level) = Level::of(select, anchored) else {
        return false;
    };
    level.targets().all(|(value, name)| {
        let is_named = !name.is_empty() || derived_name(value).is_some();
        is_named && collation::of(value, &level).is_ok()
    })
}

fn refuse(select: &SelectStmt, anchored: &Anchored<'_>) -> Result<(), RouterError> {
    let survey = anchored.survey;
    if survey.outer_aggregates {
        return Err(unsupported::aggregate_over_shards());
    }
    if Calls::of(&survey.facts, anchored.context).may_write(anchored.context) {
        return Err(unsupported::function_over_shards());
    }
    let mut types = survey.facts.types.iter();
    let of_objects = types.any(|name| name.name == "oid" || name.name.starts_with("reg"));
    let limits = select.limit_count.iter().chain(&select.limit_offset);
    if of_objects || limits.into_iter().any(|node| has_subquery(node)) {
        return Err(unsupported::syntax_over_shards());
    }
    Ok(())
}

fn has_subquery(node: &Node) -> bool {
    let mut found = false;
    walk::descend(node, &mut |inner| {
        found |= matches!(inner, NodeEnum::SubLink(_))
    });
    found
}
