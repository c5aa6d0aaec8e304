//! The direct children of a node, to be changed. Queries are not entered, nor what a FROM list names.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, ReturningClause, WindowDef};

/// Calls `visit` with every direct child of `node` that may hold an expression. A kind that is not here has none, or
/// none that PostgreSQL lets hold a subquery; `Survey` counts what it sees and refuses what was missed.
pub fn children(node: &mut NodeEnum, visit: &mut dyn FnMut(&mut Node)) {
    match node {
        NodeEnum::AExpr(it) => {
            one(it.lexpr.as_deref_mut(), visit);
            one(it.rexpr.as_deref_mut(), visit);
        }
        NodeEnum::FuncCall(it) => call(it, visit),
        NodeEnum::WindowDef(it) => window(it, visit),
        NodeEnum::CaseExpr(it) => {
            one(it.arg.as_deref_mut(), visit);
            it.args.iter_mut().for_each(&mut *visit);
            one(it.defresult.as_deref_mut(), visit);
        }
        NodeEnum::CaseWhen(it) => {
            one(it.expr.as_deref_mut(), visit);
            one(it.result.as_deref_mut(), visit);
        }
        NodeEnum::AIndirection(it) => {
            one(it.arg.as_deref_mut(), visit);
            it.indirection.iter_mut().for_each(visit);
        }
        NodeEnum::AIndices(it) => {
            one(it.lidx.as_deref_mut(), visit);
            one(it.uidx.as_deref_mut(), visit);
        }
        NodeEnum::XmlExpr(it) => it.args.iter_mut().chain(&mut it.named_args).for_each(visit),
        NodeEnum::RangeFunction(it) => it.functions.iter_mut().for_each(visit),
        NodeEnum::RangeTableFunc(it) => {
            one(it.docexpr.as_deref_mut(), visit);
            one(it.rowexpr.as_deref_mut(), visit);
        }
        _ => simple(node, visit),
    }
}

/// Kinds with one list of children or one child.
fn simple(node: &mut NodeEnum, visit: &mut dyn FnMut(&mut Node)) {
    match node {
        NodeEnum::TypeCast(it) => one(it.arg.as_deref_mut(), visit),
        NodeEnum::CollateClause(it) => one(it.arg.as_deref_mut(), visit),
        NodeEnum::ResTarget(it) => one(it.val.as_deref_mut(), visit),
        NodeEnum::SortBy(it) => one(it.node.as_deref_mut(), visit),
        NodeEnum::NullTest(it) => one(it.arg.as_deref_mut(), visit),
        NodeEnum::BooleanTest(it) => one(it.arg.as_deref_mut(), visit),
        NodeEnum::NamedArgExpr(it) => one(it.arg.as_deref_mut(), visit),
        NodeEnum::XmlSerialize(it) => one(it.expr.as_deref_mut(), visit),
        NodeEnum::MultiAssignRef(it) => one(it.source.as_deref_mut(), visit),
        NodeEnum::BoolExpr(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::AArrayExpr(it) => it.elements.iter_mut().for_each(visit),
        NodeEnum::RowExpr(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::CoalesceExpr(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::MinMaxExpr(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::GroupingFunc(it) => it.args.iter_mut().for_each(visit),
        NodeEnum::GroupingSet(it) => it.content.iter_mut().for_each(visit),
        NodeEnum::List(it) => it.items.iter_mut().for_each(visit),
        _ => written(node, visit),
    }
}

/// What INSERT, UPDATE, DELETE and MERGE have beside their FROM lists.
fn written(node: &mut NodeEnum, visit: &mut dyn FnMut(&mut Node)) {
    match node {
        NodeEnum::InsertStmt(it) => {
            if let Some(conflict) = it.on_conflict_clause.as_deref_mut() {
                conflict.target_list.iter_mut().for_each(&mut *visit);
                one(conflict.where_clause.as_deref_mut(), visit);
            }
            returning(it.returning_clause.as_mut(), visit);
        }
        NodeEnum::UpdateStmt(it) => {
            it.target_list.iter_mut().for_each(&mut *visit);
            one(it.where_clause.as_deref_mut(), visit);
            returning(it.returning_clause.as_mut(), visit);
        }
        NodeEnum::DeleteStmt(it) => {
            one(it.where_clause.as_deref_mut(), visit);
            returning(it.returning_clause.as_mut(), visit);
        }
        NodeEnum::MergeStmt(it) => {
            one(it.join_condition.as_deref_mut(), visit);
            it.merge_when_clauses.iter_mut().for_each(&mut *visit);
            returning(it.returning_clause.as_mut(), visit);
        }
        NodeEnum::MergeWhenClause(it) => {
            one(it.condition.as_deref_mut(), visit);
            it.target_list
                .iter_mut()
                .chain(&mut it.values)
                .for_each(visit);
        }
        _ => {}
    }
}

fn one(node: Option<&mut Node>, visit: &mut dyn FnMut(&mut Node)) {
    node.into_iter().for_each(visit);
}

fn returning(clause: Option<&mut ReturningClause>, visit: &mut dyn FnMut(&mut Node)) {
    if let Some(clause) = clause {
        clause.exprs.iter_mut().for_each(&mut *visit);
    }
}

fn call(call: &mut FuncCall, visit: &mut dyn FnMut(&mut Node)) {
    call.args
        .iter_mut()
        .chain(&mut call.agg_order)
        .for_each(&mut *visit);
    one(call.agg_filter.as_deref_mut(), visit);
    if let Some(over) = call.over.as_deref_mut() {
        window(over, visit);
    }
}

fn window(window: &mut WindowDef, visit: &mut dyn FnMut(&mut Node)) {
    window
        .partition_clause
        .iter_mut()
        .chain(&mut window.order_clause)
        .for_each(&mut *visit);
    one(window.start_offset.as_deref_mut(), visit);
    one(window.end_offset.as_deref_mut(), visit);
}
