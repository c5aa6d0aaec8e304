//! The query levels of a parse tree: every FROM list with its WHERE, however deep. A level that is not
//! found only costs a filter that could have been pushed down.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, SubLinkType, WithClause};

use crate::plan::survey::walk;

/// One FROM list with what filters it.
pub(super) struct Level<'a> {
    pub from: &'a [Node],
    pub filter: Option<&'a Node>,
    /// Of a SELECT.
    pub select: Option<&'a SelectStmt>,
    /// It stands in EXISTS (...): what it selects is looked at by nobody.
    pub only_exists: bool,
}

/// Calls `visit` with every level of a statement.
pub(super) fn each<'a>(statement: &'a NodeEnum, visit: &mut dyn FnMut(&Level<'a>)) {
    match statement {
        NodeEnum::SelectStmt(it) => select(it, false, visit),
        NodeEnum::UpdateStmt(it) => {
            with(it.with_clause.as_ref(), visit);
            visit(&Level {
                from: &it.from_clause,
                filter: it.where_clause.as_deref(),
                select: None,
                only_exists: false,
            });
            items(&it.from_clause, visit);
            expressions(
                it.target_list.iter().chain(it.where_clause.as_deref()),
                visit,
            );
        }
        NodeEnum::DeleteStmt(it) => {
            with(it.with_clause.as_ref(), visit);
            visit(&Level {
                from: &it.using_clause,
                filter: it.where_clause.as_deref(),
                select: None,
                only_exists: false,
            });
            items(&it.using_clause, visit);
            expressions(it.where_clause.as_deref(), visit);
        }
        NodeEnum::MergeStmt(it) => {
            with(it.with_clause.as_ref(), visit);
            items(it.source_relation.as_deref(), visit);
        }
        NodeEnum::InsertStmt(it) => {
            with(it.with_clause.as_ref(), visit);
            query(it.select_stmt.as_deref(), visit);
        }
        _ => {}
    }
}

fn select<'a>(select: &'a SelectStmt, only_exists: bool, visit: &mut dyn FnMut(&Level<'a>)) {
    with(select.with_clause.as_ref(), visit);
    for side in [&select.larg, &select.rarg] {
        if let Some(side) = side.as_deref() {
            self::select(side, false, visit);
        }
    }
    visit(&Level {
        from: &select.from_clause,
        filter: select.where_clause.as_deref(),
        select: Some(select),
        only_exists,
    });
    items(&select.from_clause, visit);
    let lists = [
        &select.target_list,
        &select.group_clause,
        &select.window_clause,
        &select.sort_clause,
        &select.distinct_clause,
        &select.values_lists,
    ];
    let single = [
        &select.where_clause,
        &select.having_clause,
        &select.limit_count,
        &select.limit_offset,
    ];
    expressions(lists.into_iter().flatten(), visit);
    expressions(single.into_iter().filter_map(|node| node.as_deref()), visit);
}

fn with<'a>(clause: Option<&'a WithClause>, visit: &mut dyn FnMut(&Level<'a>)) {
    for table in clause.into_iter().flat_map(|clause| &clause.ctes) {
        if let Some(NodeEnum::CommonTableExpr(table)) = table.node.as_ref() {
            query(table.ctequery.as_deref(), visit);
        }
    }
}

fn query<'a>(node: Option<&'a Node>, visit: &mut dyn FnMut(&Level<'a>)) {
    if let Some(inner) = node.and_then(|node| node.node.as_ref()) {
        each(inner, visit);
    }
}

/// Subqueries in FROM items.
fn items<'a>(from: impl IntoIterator<Item = &'a Node>, visit: &mut dyn FnMut(&Level<'a>)) {
    for item in from {
        match item.node.as_ref() {
            Some(NodeEnum::RangeSubselect(it)) => query(it.subquery.as_deref(), visit),
            Some(NodeEnum::JoinExpr(it)) => {
                items(it.larg.as_deref(), visit);
                items(it.rarg.as_deref(), visit);
                expressions(it.quals.as_deref(), visit);
            }
            Some(NodeEnum::RangeFunction(it)) => expressions(&it.functions, visit),
            _ => {}
        }
    }
}

/// Subqueries in expressions.
fn expressions<'a>(nodes: impl IntoIterator<Item = &'a Node>, visit: &mut dyn FnMut(&Level<'a>)) {
    for node in nodes {
        expression(node, visit);
    }
}

fn expression<'a>(node: &'a Node, visit: &mut dyn FnMut(&Level<'a>)) {
    let Some(inner) = node.node.as_ref() else {
        return;
    };
    if let NodeEnum::SubLink(link) = inner {
        match link
            .subselect
            .as_deref()
            .and_then(|node| node.node.as_ref())
        {
            Some(NodeEnum::SelectStmt(it)) => {
                select(
                    it,
                    link.sub_link_type() == SubLinkType::ExistsSublink,
                    visit,
                );
            }
            _ => query(link.subselect.as_deref(), visit),
        }
    }
    walk::children(inner, &mut |child| expression(child, visit));
}
