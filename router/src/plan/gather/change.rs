//! The direct children of a node, to be changed in place. Unlike the survey's walk this one enters subqueries and
//! FROM items too. Knows nothing of what is changed or why.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, SelectStmt, WindowDef, WithClause};

type Visit<'a> = dyn FnMut(&mut Node) + 'a;

/// Calls `visit` with `node` after everything below it.
pub fn everything(node: &mut Node, visit: &mut Visit<'_>) {
    if let Some(inner) = node.node.as_mut() {
        children(inner, &mut |child| everything(child, visit));
    }
    visit(node);
}

/// Calls `visit` with every direct child. A kind of node that is not known here has none.
pub fn children(node: &mut NodeEnum, visit: &mut Visit<'_>) {
    match node {
        NodeEnum::SelectStmt(it) => select(it, visit),
        NodeEnum::RangeSubselect(it) => one(&mut it.subquery, visit),
        NodeEnum::RangeFunction(it) => it.functions.iter_mut().for_each(visit),
        NodeEnum::RangeTableSample(it) => {
            one(&mut it.relation, visit);
            it.args.iter_mut().for_each(&mut *visit);
            one(&mut it.repeatable, visit);
        }
        NodeEnum::JoinExpr(it) => {
            one(&mut it.larg, visit);
            one(&mut it.rarg, visit);
            one(&mut it.quals, visit);
        }
        NodeEnum::CommonTableExpr(it) => one(&mut it.ctequery, visit),
        NodeEnum::SubLink(it) => {
            one(&mut it.testexpr, visit);
            one(&mut it.subselect, visit);
        }
        _ => expression(node, visit),
    }
}

/// Of a query level, its WITH queries and its branches.
pub fn select(it: &mut SelectStmt, visit: &mut Visit<'_>) {
    with(it.with_clause.as_mut(), visit);
    let lists = [
        &mut it.distinct_clause,
        &mut it.target_list,
        &mut it.from_clause,
        &mut it.group_clause,
        &mut it.window_clause,
        &mut it.values_lists,
        &mut it.sort_clause,
    ];
    for list in lists {
        list.iter_mut().for_each(&mut *visit);
    }
    one(&mut it.where_clause, visit);
    one(&mut it.having_clause, visit);
    one(&mut it.limit_count, visit);
    one(&mut it.limit_offset, visit);
    for branch in [&mut it.larg, &mut it.rarg].into_iter().flatten() {
        select(branch, visit);
    }
}

fn with(clause: Option<&mut WithClause>, visit: &mut Visit<'_>) {
    if let Some(clause) = clause {
        clause.ctes.iter_mut().for_each(visit);
    }
}

fn expression(node: &mut NodeEnum, visit: &mut Visit<'_>) {
    match node {
        NodeEnum::AExpr(it) => {
            one(&mut it.lexpr, visit);
            one(&mut it.rexpr, visit);
        }
        NodeEnum::FuncCall(it) => call(it, visit),
        NodeEnum::WindowDef(it) => window(it, visit),
        NodeEnum::CaseExpr(it) => {
            one(&mut it.arg, visit);
            it.args.iter_mut().for_each(&mut *visit);
            one(&mut it.defresult, visit);
        }
        NodeEnum::CaseWhen(it) => {
            one(&mut it.expr, visit);
            one(&mut it.result, visit);
        }
        NodeEnum::AIndirection(it) => {
            one(&mut it.arg, visit);
            it.indirection.iter_mut().for_each(visit);
        }
        NodeEnum::AIndices(it) => {
            one(&mut it.lidx, visit);
            one(&mut it.uidx, visit);
        }
        NodeEnum::XmlExpr(it) => it.args.iter_mut().chain(&mut it.named_args).for_each(visit),
        _ => simple(node, visit),
    }
}

/// Kinds with one list of children or one child.
fn simple(node: &mut NodeEnum, visit: &mut Visit<'_>) {
    match node {
        NodeEnum::TypeCast(it) => one(&mut it.arg, visit),
        NodeEnum::CollateClause(it) => one(&mut it.arg, visit),
        NodeEnum::ResTarget(it) => one(&mut it.val, visit),
        NodeEnum::SortBy(it) => one(&mut it.node, visit),
        NodeEnum::NullTest(it) => one(&mut it.arg, visit),
        NodeEnum::BooleanTest(it) => one(&mut it.arg, visit),
        NodeEnum::NamedArgExpr(it) => one(&mut it.arg, visit),
        NodeEnum::XmlSerialize(it) => one(&mut it.expr, visit),
        NodeEnum::BoolExpr(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::AArrayExpr(it) => it.elements.iter_mut().for_each(visit),
        NodeEnum::RowExpr(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::CoalesceExpr(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::MinMaxExpr(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::GroupingFunc(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::GroupingSet(it) => it.content.iter_mut().for_each(visit),
        NodeEnum::List(it) => it.items.iter_mut().for_each(visit),
        _ => {}
    }
}

/// Whether [`children`] gives all that is below an expression, or there is nothing below it that could be a column.
pub fn knows(node: &NodeEnum) -> bool {
    matches!(
        node,
        NodeEnum::AExpr(_)
            | NodeEnum::FuncCall(_)
            | NodeEnum::WindowDef(_)
            | NodeEnum::CaseExpr(_)
            | NodeEnum::CaseWhen(_)
            | NodeEnum::AIndirection(_)
            | NodeEnum::AIndices(_)
            | NodeEnum::XmlExpr(_)
            | NodeEnum::XmlSerialize(_)
            | NodeEnum::TypeCast(_)
            | NodeEnum::CollateClause(_)
            | NodeEnum::ResTarget(_)
            | NodeEnum::SortBy(_)
            | NodeEnum::NullTest(_)
            | NodeEnum::BooleanTest(_)
            | NodeEnum::NamedArgExpr(_)
            | NodeEnum::BoolExpr(_)
            | NodeEnum::AArrayExpr(_)
            | NodeEnum::RowExpr(_)
            | NodeEnum::CoalesceExpr(_)
            | NodeEnum::MinMaxExpr(_)
            | NodeEnum::GroupingFunc(_)
            | NodeEnum::GroupingSet(_)
            | NodeEnum::List(_)
            | NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::String(_)
            | NodeEnum::Integer(_)
            | NodeEnum::AStar(_)
    )
}

fn one(node: &mut Option<Box<Node>>, visit: &mut Visit<'_>) {
    if let Some(node) = node {
        visit(node);
    }
}

fn call(call: &mut FuncCall, visit: &mut Visit<'_>) {
    call.args
        .iter_mut()
        .chain(&mut call.agg_order)
        .for_each(&mut *visit);
    one(&mut call.agg_filter, visit);
    if let Some(over) = call.over.as_deref_mut() {
        window(over, visit);
    }
}

fn window(window: &mut WindowDef, visit: &mut Visit<'_>) {
    window
        .partition_clause
        .iter_mut()
        .chain(&mut window.order_clause)
        .for_each(&mut *visit);
    one(&mut window.start_offset, visit);
    one(&mut window.end_offset, visit);
}
