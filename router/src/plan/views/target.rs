//! UPDATE and DELETE of a view over a sharded table: planned as if the table stood there, under the names that the view
//! gives its columns. What is sent is the client's own text, for PostgreSQL alone knows how to write through a view.

use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, Node, RangeVar, SelectStmt, SetOperation};
use schema::{Placement, Relation, RelationKind};

use crate::error::RouterError;
use crate::parse;
use crate::plan::facts::Facts;
use crate::plan::gather::tree;
use crate::plan::scope::{self, Found, string};
use crate::plan::{PlanContext, unsupported};

/// What no column is called, for those that the view hides.
const HIDDEN: &str = "";

/// The table behind `view`, as the target of a statement that names the view as `range`.
///
/// # Errors
/// 0A000 where the view is more than some columns and rows of one table.
pub(super) fn table(
    range: &RangeVar,
    view: &Relation,
    context: &PlanContext<'_>,
) -> Result<RangeVar, RouterError> {
    let refused = || unsupported::view_write(&view.name);
    let text = &view.view.as_ref().ok_or_else(refused)?.definition;
    let Some(NodeEnum::SelectStmt(select)) = parse::parse_at(text, 0)? else {
        return Err(refused());
    };
    let (table, alias) = only_table(&select, context).ok_or_else(refused)?;
    let facts = Facts::of(&select);
    let is_plain = facts.sublinks == 0
        && !view.has_user_triggers
        && view.calls.is_empty()
        && matches!(scope::placement(&table, context), Placement::Sharded { .. });
    let names = names(&select, view, &table, &alias)
        .filter(|_| is_plain)
        .filter(|names| keeps_key(&table, names, context));
    let given = range.alias.as_ref().map(|alias| alias.aliasname.clone());
    Ok(RangeVar {
        schemaname: table.schema.clone(),
        relname: table.name.clone(),
        alias: Some(Alias {
            aliasname: given.unwrap_or_else(|| range.relname.clone()),
            colnames: names.ok_or_else(refused)?,
        }),
        ..range.clone()
    })
}

/// The table behind `view`, and which of its columns each of the view's is. `None`: the view is more than some columns
/// and rows of one sharded table.
pub(in crate::plan) fn columns_behind(
    view: &Relation,
    context: &PlanContext<'_>,
) -> Option<(std::sync::Arc<Relation>, Vec<usize>)> {
    let text = &view.view.as_ref()?.definition;
    let Some(NodeEnum::SelectStmt(select)) = parse::parse_at(text, 0).ok()? else {
        return None;
    };
    let (table, alias) = only_table(&select, context)?;
    let plain = Facts::of(&select).sublinks == 0
        && !view.has_user_triggers
        && view.calls.is_empty()
        && matches!(scope::placement(&table, context), Placement::Sharded { .. })
        && select.target_list.len() == view.columns.len();
    let columns = select.target_list.iter();
    let columns: Option<Vec<usize>> = columns
        .map(|target| table.column(plain_column(target, &alias)?))
        .collect();
    let columns = columns.filter(|_| plain)?;
    let mut known = std::collections::HashSet::new();
    let once = columns.iter().all(|column| known.insert(*column));
    once.then_some((table, columns))
}

/// `SELECT ... FROM table [WHERE ...]` and nothing else; the table and what its columns are qualified with.
fn only_table(
    select: &SelectStmt,
    context: &PlanContext<'_>,
) -> Option<(std::sync::Arc<Relation>, String)> {
    let plain = select.group_clause.is_empty()
        && select.having_clause.is_none()
        && select.distinct_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.with_clause.is_none()
        && matches!(
            select.op(),
            SetOperation::SetopNone | SetOperation::Undefined
        );
    let [from] = select.from_clause.as_slice() else {
        return None;
    };
    let Some(NodeEnum::RangeVar(range)) = from.node.as_ref() else {
        return None;
    };
    let alias = range.alias.as_ref();
    if !plain || alias.is_some_and(|alias| !alias.colnames.is_empty()) {
        return None;
    }
    let name = alias.map_or(&range.relname, |alias| &alias.aliasname);
    match scope::find(range, context) {
        Found::Relation(found)
            if matches!(found.kind, RelationKind::Table | RelationKind::Partitioned) =>
        {
            Some((found, name.clone()))
        }
        _ => None,
    }
}

/// What the view calls each column of the table. `None`: a column of the view is not plainly one of the table's, or two
/// are the same.
fn names(select: &SelectStmt, view: &Relation, table: &Relation, alias: &str) -> Option<Vec<Node>> {
    let mut names = vec![HIDDEN; table.columns.len()];
    if select.target_list.len() != view.columns.len() {
        return None;
    }
    for (target, column) in select.target_list.iter().zip(&view.columns) {
        let index = table.column(plain_column(target, alias)?)?;
        let name = names.get_mut(index).filter(|name| **name == HIDDEN)?;
        *name = &column.name;
    }
    Some(names.into_iter().map(tree::string).collect())
}

fn plain_column<'a>(target: &'a Node, alias: &str) -> Option<&'a str> {
    let Some(NodeEnum::ResTarget(target)) = target.node.as_ref() else {
        return None;
    };
    let Some(NodeEnum::ColumnRef(column)) = target.val.as_deref()?.node.as_ref() else {
        return None;
    };
    match column.fields.as_slice() {
        [name] => string(name),
        [table, name] if string(table) == Some(alias) => string(name),
        _ => None,
    }
}

/// The shard key must be known by its own name wherever it can be set.
fn keeps_key(table: &Relation, names: &[Node], context: &PlanContext<'_>) -> bool {
    let Placement::Sharded { key, .. } = scope::placement(table, context) else {
        return false;
    };
    let (own, shown) = (table.columns.get(key), names.get(key).and_then(string));
    let own = own.map(|column| column.name.as_str());
    shown == Some(HIDDEN) || shown == own
}
