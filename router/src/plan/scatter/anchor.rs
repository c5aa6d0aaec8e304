//! Finds the shard key that every row of a result has, or says why there is none.

use super::Anchored;
use crate::error::RouterError;
use crate::plan::pins::{Pins, Use, always_present, connected, is_key_of_rows, row_facts};
use crate::plan::survey::{Body, LeafId, LeafKind, QueryId, Rows, Survey, Term};
use crate::plan::{PlanContext, unsupported};

/// The anchor of a query level, whose pins are `pins`.
pub(super) fn find<'a>(
    survey: &'a Survey,
    query: QueryId,
    rows: &'a Rows,
    pins: &Pins,
    context: &'a PlanContext<'a>,
) -> Result<Anchored<'a>, RouterError> {
    if !survey.writes.is_empty() {
        return Err(unsupported::write_in_with());
    }
    let from = rows.from.as_ref().ok_or_else(|| refusal(survey, pins))?;
    let mut candidates = Vec::new();
    for leaf in always_present(from) {
        let columns = survey.leaf(leaf).columns.as_ref().map_or(0, Vec::len);
        candidates.extend(
            (0..columns)
                .filter(|&column| is_key_of_rows(survey, from, leaf, column))
                .map(|column| Term::Column(leaf, column)),
        );
    }
    let anchor = candidates
        .iter()
        .copied()
        .find(|term| pins.all_pinned_to(survey, *term));
    let anchor = anchor.ok_or_else(|| match candidates.first() {
        Some(Term::Column(leaf, column)) => off_the_anchor(survey, pins, *leaf, *column),
        _ => refusal(survey, pins),
    })?;
    let key_type = pins
        .uses
        .first()
        .and_then(|used| survey.leaf(used.leaf).shard_key())
        .map(|(_, key_type)| key_type);
    let key_type = key_type.ok_or_else(|| refusal(survey, pins))?;
    let class = connected(&row_facts(survey, rows), anchor);
    Ok(Anchored {
        survey,
        context,
        query,
        rows,
        class,
        key_type,
    })
}

fn off_the_anchor(survey: &Survey, pins: &Pins, leaf: LeafId, column: usize) -> RouterError {
    let anchor = Term::Column(leaf, column);
    match pins
        .uses
        .iter()
        .find(|used| !used.is_pinned_to(survey, anchor))
    {
        Some(other) if other.at_root => {
            unsupported::join_off_the_key(&survey.leaf(other.leaf).name, &survey.leaf(leaf).name)
        }
        Some(other) => inside(survey, other),
        None => unsupported::too_entangled(),
    }
}

/// Why a statement has no anchor at all.
pub(super) fn refusal(survey: &Survey, pins: &Pins) -> RouterError {
    match pins.uses.iter().find(|used| used.at_root) {
        Some(used) => unsupported::outer_join_over_shards(&survey.leaf(used.leaf).name),
        None => pins
            .uses
            .first()
            .map_or_else(unsupported::too_entangled, |used| inside(survey, used)),
    }
}

fn inside(survey: &Survey, used: &Use) -> RouterError {
    let name = &survey.leaf(used.leaf).name;
    if in_closed_subquery(survey, used.leaf) {
        unsupported::limit_in_subquery(name)
    } else {
        unsupported::subquery_over_shards(name)
    }
}

/// Whether the leaf stands in a subquery of a FROM list that picks among its rows.
fn in_closed_subquery(survey: &Survey, leaf: LeafId) -> bool {
    survey.leaves.iter().any(|derived| match derived.kind {
        LeafKind::Derived { query, .. } => match &survey.query(query).body {
            Body::Rows(rows) => {
                rows.closed
                    && rows
                        .from
                        .as_ref()
                        .is_some_and(|from| always_present(from).contains(&leaf))
            }
            _ => false,
        },
        _ => false,
    })
}
