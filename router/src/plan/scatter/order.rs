//! ORDER BY over several shards: which columns, of which exactly known order.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    ColumnRef, LimitOption, Node, SelectStmt, SetOperation, SortBy, SortByDir, SortByNulls, a_const,
};

use super::column_type::{ColumnType, column_type};
use super::{Anchored, aggregate};
use crate::error::RouterError;
use crate::merge::{Fold, SortKey, SortOrder};
use crate::plan::names::quote_identifier;
use crate::plan::scope::{self, TEXT, VARCHAR, string};
use crate::plan::unsupported;

/// Sort keys, and expressions to add to the select list for them.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub keys: Vec<SortKey>,
    pub hidden: Vec<String>,
}

/// What one ORDER BY item sorts by.
enum Subject {
    Output(usize),
    Hidden { sql: String, order: SortOrder },
}

pub(super) fn of_rows(select: &SelectStmt, anchored: &Anchored<'_>) -> Result<Order, RouterError> {
    let mut order = Order::default();
    for item in sort_items(select) {
        let subject = subject(item, anchored)
            .or_else(|error| by_aggregate(item, select, anchored).ok_or(error))?;
        let (column, kind) = match subject {
            Subject::Output(column) => (column, output_order(column, select, anchored)?),
            Subject::Hidden { sql, order: kind } => {
                let shown = anchored
                    .outputs()
                    .ok_or_else(unsupported::order_by_type)?
                    .len();
                order.hidden.push(sql);
                (shown + order.hidden.len() - 1, kind)
            }
        };
        order.keys.push(key(item, column, kind)?);
    }
    Ok(order)
}

/// `ORDER BY count(*)` of groups that are whole on one shard each.
fn by_aggregate(item: &SortBy, select: &SelectStmt, anchored: &Anchored<'_>) -> Option<Subject> {
    if let Some(column) = same_expression(item, select) {
        return Some(Subject::Output(column));
    }
    let node = item.node.as_deref()?;
    Some(Subject::Hidden {
        sql: printed(node)?,
        order: expression_order(node, anchored)?,
    })
}

/// The order of an aggregate's values, where it is known exactly.
fn expression_order(node: &Node, anchored: &Anchored<'_>) -> Option<SortOrder> {
    let NodeEnum::FuncCall(call) = node.node.as_ref()? else {
        return None;
    };
    match aggregate::aggregate(call, anchored) {
        Ok(Fold::Count | Fold::SumInt8) => Some(SortOrder::Integer),
        Ok(Fold::Min(order) | Fold::Max(order)) => Some(order),
        Ok(Fold::BoolAnd | Fold::BoolOr) => Some(SortOrder::Boolean),
        // Which rows are counted is the shard's affair; the result is an integer anyhow.
        Err(_)
            if scope::function_name(call)?.1 == "count"
                && super::is_built_in(call, anchored.context) =>
        {
            Some(SortOrder::Integer)
        }
        _ => None,
    }
}

/// ORDER BY over folded rows sorts by output columns only.
pub(super) fn of_folds(
    select: &SelectStmt,
    anchored: &Anchored<'_>,
    folds: &[Fold],
) -> Result<Vec<SortKey>, RouterError> {
    let mut keys = Vec::new();
    for item in sort_items(select) {
        let column = match subject(item, anchored) {
            Ok(Subject::Output(column)) => column,
            _ => same_expression(item, select).ok_or_else(unsupported::order_by_type)?,
        };
        let kind = match folds.get(column) {
            Some(Fold::Group) => output_order(column, select, anchored)?,
            Some(Fold::Count | Fold::SumInt8) => SortOrder::Integer,
            Some(Fold::Min(order) | Fold::Max(order)) => *order,
            Some(Fold::BoolAnd | Fold::BoolOr) => SortOrder::Boolean,
            Some(Fold::SumNumericInteger) | None => return Err(unsupported::order_by_type()),
        };
        keys.push(key(item, column, kind)?);
    }
    Ok(keys)
}

/// `ORDER BY count(*)` where count(*) is selected too: equal texts are equal expressions.
fn same_expression(item: &SortBy, select: &SelectStmt) -> Option<usize> {
    let wanted = printed(item.node.as_deref()?)?;
    select
        .target_list
        .iter()
        .position(|target| match target.node.as_ref() {
            Some(NodeEnum::ResTarget(target)) => target
                .val
                .as_deref()
                .and_then(printed)
                .is_some_and(|printed| printed == wanted),
            _ => false,
        })
}

/// An expression as SQL text of one form.
fn printed(node: &Node) -> Option<String> {
    let target = pg_query::protobuf::ResTarget {
        val: Some(Box::new(node.clone())),
        ..Default::default()
    };
    let target = Node {
        node: Some(NodeEnum::ResTarget(Box::new(target))),
    };
    let select = SelectStmt {
        target_list: vec![target],
        op: SetOperation::SetopNone as i32,
        limit_option: LimitOption::Default as i32,
        ..Default::default()
    };
    let text = NodeEnum::SelectStmt(Box::new(select))
        .deparse(Default::default())
        .ok()?;
    text.strip_prefix("SELECT ").map(str::to_owned)
}

pub(super) fn sort_items(select: &SelectStmt) -> impl Iterator<Item = &SortBy> {
    select
        .sort_clause
        .iter()
        .filter_map(|node| match node.node.as_ref() {
            Some(NodeEnum::SortBy(item)) => Some(item.as_ref()),
            _ => None,
        })
}

fn output_order(
    column: usize,
    select: &SelectStmt,
    anchored: &Anchored<'_>,
) -> Result<SortOrder, RouterError> {
    let outputs = anchored.outputs().ok_or_else(unsupported::order_by_type)?;
    let output = outputs.get(column).ok_or_else(unsupported::order_by_type)?;
    let Some(term) = output.term else {
        // Without a star, the select list and the output columns go together.
        let target = select
            .target_list
            .get(column)
            .filter(|_| select.target_list.len() == outputs.len());
        let value = target.and_then(|target| match target.node.as_ref() {
            Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
            _ => None,
        });
        return value
            .and_then(|value| expression_order(value, anchored))
            .ok_or_else(unsupported::order_by_type);
    };
    let name = output.column.name.as_deref().unwrap_or_default();
    column_type(anchored.survey, term)
        .ok_or_else(unsupported::order_by_type)?
        .order(name)
}

fn subject(item: &SortBy, anchored: &Anchored<'_>) -> Result<Subject, RouterError> {
    let node = item
        .node
        .as_deref()
        .ok_or_else(unsupported::order_by_type)?;
    match node.node.as_ref() {
        Some(NodeEnum::AConst(constant)) => position(constant.val.as_ref()),
        Some(NodeEnum::ColumnRef(column)) => by_column(column, anchored),
        Some(NodeEnum::CollateClause(collate)) => {
            let column = match collate.arg.as_deref().and_then(|node| node.node.as_ref()) {
                Some(NodeEnum::ColumnRef(column)) if is_bytewise(&collate.collname) => column,
                _ => return Err(unsupported::order_by_type()),
            };
            let kind = anchored
                .survey
                .columns
                .get(&column.location)
                .and_then(|term| column_type(anchored.survey, *term));
            match kind {
                Some(ColumnType {
                    oid: TEXT | VARCHAR,
                    ..
                }) => Ok(Subject::Hidden {
                    sql: format!("{} COLLATE \"C\"", sql(column)?),
                    order: SortOrder::Bytes,
                }),
                _ => Err(unsupported::order_by_type()),
            }
        }
        _ => Err(unsupported::order_by_type()),
    }
}

/// A bare name is first an output column's; then, and when qualified, an input column's.
fn by_column(column: &ColumnRef, anchored: &Anchored<'_>) -> Result<Subject, RouterError> {
    let outputs = anchored.outputs().ok_or_else(unsupported::order_by_type)?;
    if let [name] = column.fields.as_slice()
        && let Some(name) = string(name)
    {
        if outputs.iter().any(|output| output.column.name.is_none()) {
            return Err(unsupported::order_by_type());
        }
        if let Some(position) = outputs
            .iter()
            .position(|output| output.column.name.as_deref() == Some(name))
        {
            return Ok(Subject::Output(position));
        }
    }
    let term = anchored
        .survey
        .columns
        .get(&column.location)
        .ok_or_else(unsupported::order_by_type)?;
    if let Some(position) = outputs.iter().position(|output| output.term == Some(*term)) {
        return Ok(Subject::Output(position));
    }
    let name = column.fields.last().and_then(string).unwrap_or_default();
    let order = column_type(anchored.survey, *term)
        .ok_or_else(unsupported::order_by_type)?
        .order(name)?;
    Ok(Subject::Hidden {
        sql: sql(column)?,
        order,
    })
}

fn position(constant: Option<&a_const::Val>) -> Result<Subject, RouterError> {
    match constant {
        Some(a_const::Val::Ival(number)) => usize::try_from(number.ival)
            .ok()
            .and_then(|number| number.checked_sub(1))
            .map(Subject::Output)
            .ok_or_else(unsupported::order_by_type),
        _ => Err(unsupported::order_by_type()),
    }
}

fn is_bytewise(collation: &[Node]) -> bool {
    matches!(
        scope::qualified(collation),
        Some((None | Some("pg_catalog"), "C" | "POSIX" | "ucs_basic"))
    )
}

/// A column reference as SQL.
fn sql(column: &ColumnRef) -> Result<String, RouterError> {
    let fields: Option<Vec<String>> = column
        .fields
        .iter()
        .map(|field| string(field).map(quote_identifier))
        .collect();
    fields
        .map(|fields| fields.join("."))
        .ok_or_else(unsupported::order_by_type)
}

/// NULLs are last when ascending and first when descending, unless said otherwise.
fn key(item: &SortBy, column: usize, order: SortOrder) -> Result<SortKey, RouterError> {
    let descending = match item.sortby_dir() {
        SortByDir::SortbyDefault | SortByDir::SortbyAsc | SortByDir::Undefined => false,
        SortByDir::SortbyDesc => true,
        SortByDir::SortbyUsing => return Err(unsupported::order_by_type()),
    };
    let nulls_first = match item.sortby_nulls() {
        SortByNulls::SortbyNullsFirst => true,
        SortByNulls::SortbyNullsLast => false,
        SortByNulls::SortbyNullsDefault | SortByNulls::Undefined => descending,
    };
    Ok(SortKey {
        column,
        order,
        descending,
        nulls_first,
    })
}
