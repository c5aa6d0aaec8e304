//! Subqueries in conditions that lock rows (`WHERE id IN (SELECT ... FOR UPDATE SKIP LOCKED)`, as queues have them)
//! become WITH queries: they are run once, before the rest.

use pg_query::NodeEnum;
use pg_query::protobuf::{CommonTableExpr, Node, SelectStmt, WithClause};

use super::tree;
use crate::parse;
use crate::plan::PlanContext;
use crate::plan::gather::change;
use crate::plan::survey::Survey;

/// Begins the names of the WITH queries that are made here.
const NAME: &str = "oskol_locked_";

/// Only writes have them moved: a SELECT is more often refused for what else it does.
pub(super) fn may_be_in(node: &NodeEnum) -> bool {
    let condition = match node {
        NodeEnum::UpdateStmt(update) => update.where_clause.as_deref(),
        NodeEnum::DeleteStmt(delete) => delete.where_clause.as_deref(),
        _ => None,
    };
    let Some(mut condition) = condition.cloned() else {
        return false;
    };
    let mut found = false;
    change::everything(&mut condition, &mut |node| found |= locking(node).is_some());
    found
}

/// Moves them in front of the statement.
pub(super) fn lift(node: &mut NodeEnum, context: &PlanContext<'_>) {
    let (with, condition) = match node {
        NodeEnum::UpdateStmt(update) => (&mut update.with_clause, &mut update.where_clause),
        NodeEnum::DeleteStmt(delete) => (&mut delete.with_clause, &mut delete.where_clause),
        _ => return,
    };
    let Some(condition) = condition else { return };
    let mut tables = Vec::new();
    change::everything(condition, &mut |node| {
        let Some(select) = locking(node).filter(|select| is_closed(select, context)) else {
            return;
        };
        let name = format!("{NAME}{}", tables.len());
        let Some(from) = all_of(&name) else { return };
        tables.push(table(name, select.clone()));
        if let Some(NodeEnum::SubLink(link)) = node.node.as_mut() {
            link.subselect = Some(Box::new(from));
        }
    });
    if tables.is_empty() {
        return;
    }
    let with = with.get_or_insert_with(|| WithClause {
        location: -1,
        ..WithClause::default()
    });
    with.ctes.extend(tables);
}

/// The SELECT of a subquery in an expression, if it locks rows.
fn locking(node: &Node) -> Option<&SelectStmt> {
    let Some(NodeEnum::SubLink(link)) = node.node.as_ref() else {
        return None;
    };
    match link.subselect.as_deref()?.node.as_ref()? {
        NodeEnum::SelectStmt(select) if !select.locking_clause.is_empty() => Some(select),
        _ => None,
    }
}

/// Whether all columns that it names are its own.
fn is_closed(select: &SelectStmt, context: &PlanContext<'_>) -> bool {
    let node = NodeEnum::SelectStmt(Box::new(select.clone()));
    let Ok(survey) = Survey::of(&node, context) else {
        return false;
    };
    let facts = &survey.facts;
    let is_leaf = |name: &String| survey.leaves.iter().any(|leaf| leaf.name == *name);
    let mut columns = facts.columns.iter();
    columns.all(|column| match (column.parts.as_slice(), column.is_star) {
        ([], true) => true,
        ([table, ..], true) | ([table, _, ..], false) => is_leaf(table),
        ([name], false) => survey.leaves.iter().any(|leaf| {
            let mut columns = leaf.columns.iter().flatten();
            columns.any(|own| own.name.as_ref() == Some(name))
        }),
        ([], false) => false,
    })
}

fn table(name: String, select: SelectStmt) -> Node {
    let table = CommonTableExpr {
        ctename: name,
        ctequery: Some(Box::new(tree::node(NodeEnum::SelectStmt(Box::new(select))))),
        ctematerialized: 1,
        location: -1,
        ..CommonTableExpr::default()
    };
    tree::node(NodeEnum::CommonTableExpr(Box::new(table)))
}

/// `SELECT * FROM name`
fn all_of(name: &str) -> Option<Node> {
    let parsed = parse::parse(&format!("SELECT * FROM {name}")).ok()?.pop()?;
    Some(tree::node(parsed.node))
}
