//! Whether DISTINCT and windows stay within one key, so that each shard has done all there is to do.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, WindowDef};

use super::Anchored;
use crate::error::RouterError;
use crate::plan::survey::walk;
use crate::plan::unsupported;

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
pub(super) fn check_windows(
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
