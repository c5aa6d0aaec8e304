//! Aggregates and groups whose rows are on several shards: only those that fold exactly.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, SelectStmt};

use super::column_type::{ColumnType, column_type};
use super::{Anchored, is_built_in};
use crate::error::RouterError;
use crate::merge::Fold;
use crate::plan::scope::{self, INT2, INT4, INT8};
use crate::plan::survey::Term;
use crate::plan::unsupported;

/// How each output column folds. `grouped`: the plain columns of GROUP BY.
pub(super) fn folds(
    select: &SelectStmt,
    grouped: &[Term],
    anchored: &Anchored<'_>,
) -> Result<Vec<Fold>, RouterError> {
    if select.having_clause.is_some() {
        return Err(unsupported::having_over_shards());
    }
    if grouped.len() != select.group_clause.len() {
        return Err(unsupported::group_by_over_shards(
            "It groups by an expression, or by grouping sets.",
        ));
    }
    let folds: Vec<Fold> = select
        .target_list
        .iter()
        .map(|target| fold(target, grouped, anchored))
        .collect::<Result<_, _>>()?;
    let outputs = anchored
        .outputs()
        .ok_or_else(|| unsupported::aggregate_not_mergeable("*"))?;
    let is_selected = |term: &Term| outputs.iter().any(|output| output.term == Some(*term));
    if !grouped.iter().all(is_selected) {
        return Err(unsupported::group_by_over_shards(
            "A column it groups by is not selected.",
        ));
    }
    Ok(folds)
}

/// DISTINCT without aggregates is a group of all columns.
pub(super) fn distinct_folds(anchored: &Anchored<'_>) -> Result<Vec<Fold>, RouterError> {
    let outputs = anchored
        .outputs()
        .ok_or_else(unsupported::distinct_over_shards)?;
    let exact = outputs.iter().all(|output| {
        let column_type = output
            .term
            .and_then(|term| column_type(anchored.survey, term));
        column_type.is_some_and(ColumnType::has_one_form)
    });
    if exact && !outputs.is_empty() {
        Ok(vec![Fold::Group; outputs.len()])
    } else {
        Err(unsupported::distinct_over_shards())
    }
}

fn fold(target: &Node, grouped: &[Term], anchored: &Anchored<'_>) -> Result<Fold, RouterError> {
    let value = match target.node.as_ref() {
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
        _ => None,
    };
    let expression = || unsupported::aggregate_not_mergeable("An expression over an aggregate");
    match value.and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::FuncCall(call)) => aggregate(call, anchored),
        Some(NodeEnum::ColumnRef(column)) => {
            let term = anchored
                .survey
                .columns
                .get(&column.location)
                .filter(|term| grouped.contains(term));
            let kind = term
                .and_then(|term| column_type(anchored.survey, *term))
                .ok_or_else(expression)?;
            kind.has_one_form().then_some(Fold::Group).ok_or_else(|| {
                unsupported::group_by_over_shards(
                    "Equal values of a column it groups by may be written differently.",
                )
            })
        }
        _ => Err(expression()),
    }
}

/// How one aggregate's results fold.
pub(super) fn aggregate(call: &FuncCall, anchored: &Anchored<'_>) -> Result<Fold, RouterError> {
    let name = scope::function_name(call).map_or("", |(_, name)| name);
    let refuse = || unsupported::aggregate_not_mergeable(&format!("{name}()"));
    let plain = call.agg_order.is_empty()
        && !call.agg_within_group
        && call.over.is_none()
        && !call.func_variadic;
    if !plain || !is_built_in(call, anchored.context) {
        return Err(refuse());
    }
    let argument = call
        .args
        .first()
        .and_then(|argument| anchored.term(argument));
    let argument_type = argument.and_then(|term| column_type(anchored.survey, term));
    if call.args.len() > 1 {
        return Err(refuse());
    }
    let by_key = argument.is_some_and(|term| anchored.class.contains(&term));
    match name {
        // Equal keys are on one shard, so no shard counts what another has counted.
        "count" if !call.agg_distinct || by_key => Ok(Fold::Count),
        "sum" if !call.agg_distinct || by_key => match argument_type.map(|argument| argument.oid) {
            Some(INT2 | INT4) => Ok(Fold::SumInt8),
            Some(INT8) => Ok(Fold::SumNumericInteger),
            _ => Err(refuse()),
        },
        "min" => argument_type.ok_or_else(refuse)?.order(name).map(Fold::Min),
        "max" => argument_type.ok_or_else(refuse)?.order(name).map(Fold::Max),
        "bool_and" | "every" => Ok(Fold::BoolAnd),
        "bool_or" => Ok(Fold::BoolOr),
        _ => Err(refuse()),
    }
}
