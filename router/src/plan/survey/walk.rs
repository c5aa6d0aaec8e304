//! The direct children of an expression. Subqueries are not entered.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, WindowDef};

/// Calls `visit` with every direct child of `node` that is an expression of the same query level.
pub fn children<'a>(node: &'a NodeEnum, visit: &mut dyn FnMut(&'a Node)) {
    match node {
        NodeEnum::SubLink(it) => one(it.testexpr.as_deref(), visit),
        NodeEnum::AExpr(it) => {
            one(it.lexpr.as_deref(), visit);
            one(it.rexpr.as_deref(), visit);
        }
        NodeEnum::FuncCall(it) => call(it, visit),
        NodeEnum::WindowDef(it) => window(it, visit),
        NodeEnum::CaseExpr(it) => {
            one(it.arg.as_deref(), visit);
            it.args.iter().for_each(&mut *visit);
            one(it.defresult.as_deref(), visit);
        }
        NodeEnum::CaseWhen(it) => {
            one(it.expr.as_deref(), visit);
            one(it.result.as_deref(), visit);
        }
        NodeEnum::AIndirection(it) => {
            one(it.arg.as_deref(), visit);
            it.indirection.iter().for_each(visit);
        }
        NodeEnum::AIndices(it) => {
            one(it.lidx.as_deref(), visit);
            one(it.uidx.as_deref(), visit);
        }
        NodeEnum::XmlExpr(it) => it.args.iter().chain(&it.named_args).for_each(visit),
        _ => simple(node, visit),
    }
}

/// Kinds with one list of children or one child.
fn simple<'a>(node: &'a NodeEnum, visit: &mut dyn FnMut(&'a Node)) {
    match node {
        NodeEnum::TypeCast(it) => one(it.arg.as_deref(), visit),
        NodeEnum::CollateClause(it) => one(it.arg.as_deref(), visit),
        NodeEnum::ResTarget(it) => one(it.val.as_deref(), visit),
        NodeEnum::SortBy(it) => one(it.node.as_deref(), visit),
        NodeEnum::NullTest(it) => one(it.arg.as_deref(), visit),
        NodeEnum::BooleanTest(it) => one(it.arg.as_deref(), visit),
        NodeEnum::NamedArgExpr(it) => one(it.arg.as_deref(), visit),
        NodeEnum::XmlSerialize(it) => one(it.expr.as_deref(), visit),
        NodeEnum::MultiAssignRef(it) => one(it.source.as_deref(), visit),
        NodeEnum::BoolExpr(it) => it.args.iter().for_each(visit),
        NodeEnum::AArrayExpr(it) => it.elements.iter().for_each(visit),
        NodeEnum::RowExpr(it) => it.args.iter().for_each(visit),
        NodeEnum::CoalesceExpr(it) => it.args.iter().for_each(visit),
        NodeEnum::MinMaxExpr(it) => it.args.iter().for_each(visit),
        NodeEnum::GroupingFunc(it) => it.args.iter().for_each(visit),
        NodeEnum::GroupingSet(it) => it.content.iter().for_each(visit),
        NodeEnum::List(it) => it.items.iter().for_each(visit),
        _ => {}
    }
}

fn one<'a>(node: Option<&'a Node>, visit: &mut dyn FnMut(&'a Node)) {
    node.into_iter().for_each(visit);
}

fn call<'a>(call: &'a FuncCall, visit: &mut dyn FnMut(&'a Node)) {
    call.args
        .iter()
        .chain(&call.agg_order)
        .for_each(&mut *visit);
    one(call.agg_filter.as_deref(), visit);
    if let Some(over) = call.over.as_deref() {
        window(over, visit);
    }
}

fn window<'a>(window: &'a WindowDef, visit: &mut dyn FnMut(&'a Node)) {
    window
        .partition_clause
        .iter()
        .chain(&window.order_clause)
        .for_each(&mut *visit);
    one(window.start_offset.as_deref(), visit);
    one(window.end_offset.as_deref(), visit);
}

/// Calls `visit` with `node` and everything below it at the same query level.
pub fn descend(node: &Node, visit: &mut dyn FnMut(&NodeEnum)) {
    if let Some(inner) = node.node.as_ref() {
        visit(inner);
        children(inner, &mut |child| descend(child, visit));
    }
}
