//! Aggregates in two steps: what each shard computes of its own rows, and how the results of all are put together
//! by PostgreSQL to the very digits that one PostgreSQL gives over all rows.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExpr, AExprKind, FuncCall, Node};

use super::build::{self, pulled_sql};
use super::collation;
use super::finisher::Finisher;
use super::kinds::{self, INTERVAL, MONEY, NUMERIC};
use crate::error::RouterError;
use crate::plan::functions;
use crate::plan::gather::tree;
use crate::plan::scatter::is_built_in;
use crate::plan::scope::{self, INT2, INT4, INT8};
use crate::plan::survey::walk;
use crate::plan::volatile::is_volatile;

/// The final expression over partial results. `None`: no exact way in two steps.
///
/// # Errors
/// A collation that cannot be told.
pub fn plan(call: &FuncCall, finisher: &mut Finisher<'_>) -> Result<Option<Node>, RouterError> {
    let context = finisher.level.anchored.context;
    let plain = call.agg_order.is_empty()
        && !call.agg_within_group
        && !call.func_variadic
        && call.args.len() <= 1
        && is_built_in(call, context);
    if !plain {
        return Ok(None);
    }
    let name = scope::function_name(call)
        .map_or("", |(_, name)| name)
        .to_owned();
    if call.agg_distinct && !counts_keys(call, finisher) {
        return Ok(None);
    }
    let sql = match name.as_str() {
        "count" => {
            let count = pulled_sql(finisher.pull_call(call.clone())?);
            format!("COALESCE(pg_catalog.sum({count}), 0)::pg_catalog.int8")
        }
        "sum" => match sum_type(call, finisher) {
            None => return Ok(None),
            Some(oid) => {
                let sum = pulled_sql(finisher.pull_call(call.clone())?);
                let cast = if matches!(oid, INT2 | INT4) {
                    "::pg_catalog.int8"
                } else {
                    ""
                };
                format!("pg_catalog.sum({sum}){cast}")
            }
        },
        "min" | "max" => return extreme(call, &name, finisher).map(Some),
        "bool_and" | "bool_or" | "every" | "bit_and" | "bit_or" | "bit_xor" => {
            let value = pulled_sql(finisher.pull_call(call.clone())?);
            format!("pg_catalog.{name}({value})")
        }
        _ if is_repeatable(call) => match in_parts(call, &name, finisher)? {
            None => return Ok(None),
            Some(sql) => sql,
        },
        _ => return Ok(None),
    };
    build::expression(&sql).map(Some)
}

/// Equal keys are on one shard, so no shard counts what another has counted; unless each shard's groups are cut
/// finer, for other DISTINCT aggregates or for the smallest of grouping sets: then a key is in several of them.
fn counts_keys(call: &FuncCall, finisher: &Finisher<'_>) -> bool {
    let level = finisher.level;
    let of_key = |call: &FuncCall| {
        let argument = call.args.first();
        argument.is_some_and(|argument| level.anchored.is_anchor(argument))
    };
    let mut groups = level.select.group_clause.iter();
    let in_sets = groups.any(|item| matches!(item.node, Some(NodeEnum::GroupingSet(_))));
    let mut all_of_keys = !in_sets && of_key(call);
    functions::for_each_aggregate(&level.select, level.anchored.context, &mut |other| {
        all_of_keys &= !other.agg_distinct || of_key(other);
    });
    all_of_keys
}

/// The type of the argument where sums of it are the same in any order.
fn sum_type(call: &FuncCall, finisher: &Finisher<'_>) -> Option<u32> {
    let oid = kinds::of(call.args.first()?, finisher.level)?;
    matches!(oid, INT2 | INT4 | INT8 | NUMERIC | INTERVAL | MONEY).then_some(oid)
}

/// The least of the least, under the same collation.
fn extreme(call: &FuncCall, name: &str, finisher: &mut Finisher<'_>) -> Result<Node, RouterError> {
    let collation = match call.args.first() {
        Some(argument) => collation::of(argument, finisher.level)?,
        None => collation::Collation::Own,
    };
    let column = finisher.pull_collated(call_node(call.clone()), &collation);
    Ok(call_node(FuncCall {
        funcname: vec![tree::string("pg_catalog"), tree::string(name)],
        args: vec![finisher.reference(column, &collation)],
        ..bare(call)
    }))
}

/// The argument may be computed twice.
fn is_repeatable(call: &FuncCall) -> bool {
    let mut repeatable = true;
    for node in call.args.iter().chain(call.agg_filter.as_deref()) {
        walk::descend(node, &mut |inner| {
            repeatable &= match inner {
                NodeEnum::FuncCall(call) => {
                    scope::function_name(call).is_some_and(|(_, name)| !is_volatile(name))
                }
                _ => true,
            };
        });
    }
    repeatable
}

/// Aggregates of several sums.
fn in_parts(
    call: &FuncCall,
    name: &str,
    finisher: &mut Finisher<'_>,
) -> Result<Option<String>, RouterError> {
    let Some(argument) = call.args.first() else {
        return Ok(None);
    };
    let Some(oid) = sum_type(call, finisher) else {
        return Ok(None);
    };
    let variance = matches!(
        name,
        "var_pop" | "var_samp" | "variance" | "stddev_pop" | "stddev_samp" | "stddev"
    );
    if !(name == "avg" || variance && oid != INTERVAL) || oid == MONEY {
        return Ok(None);
    }
    let count = pulled_sql(finisher.pull_call(renamed(call, "count", argument.clone()))?);
    let count = format!("pg_catalog.sum({count})");
    if name == "avg" {
        let sum = pulled_sql(finisher.pull_call(renamed(call, "sum", argument.clone()))?);
        let divisor = if oid == INTERVAL {
            format!("{count}::pg_catalog.float8")
        } else {
            count
        };
        return Ok(Some(format!("pg_catalog.sum({sum}) / {divisor}")));
    }
    let number = match oid {
        NUMERIC => argument.clone(),
        _ => as_numeric(argument.clone())?,
    };
    let sum = finisher.pull_call(renamed(call, "sum", number.clone()))?;
    let squares = finisher.pull_call(renamed(call, "sum", product(number.clone(), number)))?;
    let sum = format!("pg_catalog.sum({})", pulled_sql(sum));
    let squares = format!("pg_catalog.sum({})", pulled_sql(squares));
    Ok(Some(spread(name, &count, &sum, &squares)))
}

/// PostgreSQL's own formula (`numeric_stddev_internal` of its `numeric.c`): N * sum(x^2) - sum(x)^2, divided once.
/// Its root is taken to the scale of the quotient: here it is taken to enough more digits that rounding twice is
/// rounding once.
fn spread(name: &str, count: &str, sum: &str, squares: &str) -> String {
    let is_population = name.ends_with("_pop");
    let least = if is_population { 0 } else { 1 };
    let divisor = if is_population {
        format!("({count} * {count})")
    } else {
        format!("({count} * ({count} - 1))")
    };
    let numerator = format!("({count} * {squares} - {sum} * {sum})");
    let variance = format!("({numerator} / {divisor})");
    let result = if name.starts_with("stddev") {
        let scale = format!("pg_catalog.scale({variance})");
        format!(
            "CASE WHEN {numerator} = 'NaN' THEN 'NaN' ELSE pg_catalog.round(pg_catalog.sqrt(\
             pg_catalog.round({variance}, 2 * {scale} + 40)), {scale}) END"
        )
    } else {
        variance
    };
    format!(
        "CASE WHEN {count} > {least} THEN CASE WHEN {numerator} <= 0 THEN 0 ELSE {result} END END"
    )
}

/// `name(argument) FILTER (...)`, with the filter of `call`.
fn renamed(call: &FuncCall, name: &str, argument: Node) -> FuncCall {
    FuncCall {
        funcname: vec![tree::string("pg_catalog"), tree::string(name)],
        args: vec![argument],
        agg_filter: call.agg_filter.clone(),
        ..bare(call)
    }
}

fn bare(call: &FuncCall) -> FuncCall {
    FuncCall {
        funcformat: call.funcformat,
        location: -1,
        ..FuncCall::default()
    }
}

pub fn call_node(call: FuncCall) -> Node {
    tree::node(NodeEnum::FuncCall(Box::new(call)))
}

fn as_numeric(value: Node) -> Result<Node, RouterError> {
    let mut cast = build::expression("NULL::pg_catalog.numeric")?;
    if let Some(NodeEnum::TypeCast(cast)) = cast.node.as_mut() {
        cast.arg = Some(Box::new(value));
    }
    Ok(cast)
}

fn product(left: Node, right: Node) -> Node {
    tree::node(NodeEnum::AExpr(Box::new(AExpr {
        kind: AExprKind::AexprOp as i32,
        name: vec![tree::string("*")],
        lexpr: Some(Box::new(left)),
        rexpr: Some(Box::new(right)),
        location: -1,
        ..AExpr::default()
    })))
}
