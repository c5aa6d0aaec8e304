//! Whether DISTINCT and windows stay within one key, so that each shard has done all there is to do.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, WindowDef};

use super::{Anchored, is_built_in};
use crate::error::RouterError;
use crate::plan::pins::always_present;
use crate::plan::survey::{Body, Join, LeafKind, QueryId, Survey, walk};
use crate::plan::{functions, scope, unsupported};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distinct {
    No,
    /// Equal rows have equal shard keys: each shard has done it.
    ByKey,
    /// Equal rows of several shards are to be made one.
    Fold,
}

pub(super) fn distinct(
    select: &SelectStmt,
    anchored: &Anchored<'_>,
) -> Result<Distinct, RouterError> {
    let outputs = anchored.outputs();
    let on: Vec<&Node> = select
        .distinct_clause
        .iter()
        .filter(|node| node.node.is_some())
        .collect();
    if select.distinct_clause.is_empty() {
        Ok(Distinct::No)
    } else if !on.is_empty() {
        let by_key = on.iter().any(|node| anchored.is_anchor(node));
        by_key
            .then_some(Distinct::ByKey)
            .ok_or_else(unsupported::distinct_over_shards)
    } else if outputs.is_some_and(|outputs| {
        outputs.iter().any(|output| {
            output
                .term
                .is_some_and(|term| anchored.class.contains(&term))
        })
    }) {
        Ok(Distinct::ByKey)
    } else {
        Ok(Distinct::Fold)
    }
}

/// Every window must stay within one key.
pub(in crate::plan) fn check_windows(
    select: &SelectStmt,
    anchored: &Anchored<'_>,
) -> Result<(), RouterError> {
    let mut within = true;
    for node in select.target_list.iter().chain(&select.sort_clause) {
        walk::descend(node, &mut |inner| {
            if let NodeEnum::FuncCall(call) = inner
                && let Some(window) = call.over.as_deref()
            {
                within &= partition(window, select)
                    .iter()
                    .any(|node| anchored.is_anchor(node));
            }
        });
    }
    if within {
        Ok(())
    } else {
        Err(unsupported::window_over_shards())
    }
}

/// PARTITION BY of a window, which may be named or built on a named one.
fn partition<'a>(window: &'a WindowDef, select: &'a SelectStmt) -> &'a [Node] {
    if !window.partition_clause.is_empty() {
        return &window.partition_clause;
    }
    let name = if window.refname.is_empty() {
        &window.name
    } else {
        &window.refname
    };
    let named = select
        .window_clause
        .iter()
        .find_map(|node| match node.node.as_ref() {
            Some(NodeEnum::WindowDef(other)) if other.name == *name && !name.is_empty() => {
                Some(other.as_ref())
            }
            _ => None,
        });
    match named {
        Some(other) if !std::ptr::eq(other, window) => partition_of_named(other, select),
        _ => &[],
    }
}

/// A named window may be built on an earlier one; one step is enough to look.
fn partition_of_named<'a>(window: &'a WindowDef, select: &'a SelectStmt) -> &'a [Node] {
    if window.refname.is_empty() || !window.partition_clause.is_empty() {
        return &window.partition_clause;
    }
    let base = select
        .window_clause
        .iter()
        .find_map(|node| match node.node.as_ref() {
            Some(NodeEnum::WindowDef(other)) if other.name == window.refname => {
                Some(other.as_ref())
            }
            _ => None,
        });
    base.map_or(&[], |base| &base.partition_clause)
}

/// A subquery of the FROM list has an ORDER BY, and what comes out may show it: PostgreSQL keeps that order, each
/// shard has only its own.
pub(super) fn keeps_order_of_source(select: &SelectStmt, anchored: &Anchored<'_>) -> bool {
    let sorted = anchored
        .rows
        .from
        .as_ref()
        .is_some_and(|from| has_sorted(anchored.survey, from));
    if !sorted {
        return false;
    }
    let mut windows = false;
    for node in select.target_list.iter().chain(&select.sort_clause) {
        walk::descend(node, &mut |inner| {
            windows |= matches!(inner, NodeEnum::FuncCall(call) if call.over.is_some());
        });
    }
    match anchored.rows.grouped {
        None => windows || select.sort_clause.is_empty(),
        Some(_) => windows || collects(select, anchored),
    }
}

/// An aggregate whose result depends on the order of rows.
fn collects(select: &SelectStmt, anchored: &Anchored<'_>) -> bool {
    const ORDERLESS: [&str; 10] = [
        "count", "sum", "avg", "min", "max", "bool_and", "bool_or", "every", "stddev", "variance",
    ];
    let mut collects = false;
    functions::for_each_aggregate(select, anchored.context, &mut |call| {
        let name = scope::function_name(call).map_or("", |(_, name)| name);
        let plain = is_built_in(call, anchored.context) && call.agg_order.is_empty();
        collects |= !(plain && ORDERLESS.contains(&name));
    });
    collects
}

fn has_sorted(survey: &Survey, join: &Join) -> bool {
    match join {
        Join::Leaf { leaf, .. } => match survey.leaf(*leaf).kind {
            LeafKind::Derived { query, .. } => is_sorted(survey, query, 0),
            _ => false,
        },
        Join::Inner { left, right, .. } | Join::Full { left, right, .. } => {
            has_sorted(survey, left) || has_sorted(survey, right)
        }
        Join::Outer { kept, nullable, .. } => {
            has_sorted(survey, kept) || has_sorted(survey, nullable)
        }
    }
}

/// A subquery passes on the order of its own subqueries.
fn is_sorted(survey: &Survey, query: QueryId, depth: usize) -> bool {
    const DEEPEST: usize = 12;
    let query = survey.query(query);
    query.sorted
        || match &query.body {
            Body::Rows(rows) if depth < DEEPEST => rows.from.as_ref().is_some_and(|from| {
                always_present(from)
                    .into_iter()
                    .any(|leaf| match survey.leaf(leaf).kind {
                        LeafKind::Derived { query, .. } => is_sorted(survey, query, depth + 1),
                        _ => false,
                    })
            }),
            _ => false,
        }
}
