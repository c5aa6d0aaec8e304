//! Defaults written out: a shard key whose default is an expression is computed with the rows, before their
//! shards are chosen.

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, ResTarget, SelectStmt, SetOperation};
use schema::{Column, DefaultValue};

use super::is_default;
use super::target::Target;
use crate::parse;

/// The INSERT with the default of column `key` among its values, where it is left out or given as DEFAULT. `None`:
/// its rows have a form that no value can be added to.
pub fn written_out(insert: &InsertStmt, target: &Target, key: usize) -> Option<InsertStmt> {
    let mut insert = insert.clone();
    let columns = &target.relation.columns;
    let select = select_mut(&mut insert)?;
    for row in &mut select.values_lists {
        for (position, value) in row_items(row)?.iter_mut().enumerate() {
            if is_default(value) {
                *value = expression(columns.get(*target.columns.get(position)?)?)?;
            }
        }
    }
    if target.position(key).is_none() && target.is_explicit() {
        append(select_mut(&mut insert)?, &expression(&columns[key])?)?;
        insert.cols.push(named(&columns[key].name));
    }
    Some(insert)
}

fn select_mut(insert: &mut InsertStmt) -> Option<&mut SelectStmt> {
    match insert.select_stmt.as_deref_mut()?.node.as_mut()? {
        NodeEnum::SelectStmt(select) => Some(select),
        _ => None,
    }
}

fn row_items(row: &mut Node) -> Option<&mut Vec<Node>> {
    match row.node.as_mut()? {
        NodeEnum::List(list) => Some(&mut list.items),
        _ => None,
    }
}

/// Puts a value at the end of every row.
fn append(select: &mut SelectStmt, value: &Node) -> Option<()> {
    if !select.values_lists.is_empty() {
        for row in &mut select.values_lists {
            row_items(row)?.push(value.clone());
        }
        return Some(());
    }
    let plain = select.op() == SetOperation::SetopNone
        && select.distinct_clause.is_empty()
        && select.group_clause.is_empty();
    plain.then_some(())?;
    let item = ResTarget {
        val: Some(Box::new(value.clone())),
        ..ResTarget::default()
    };
    select.target_list.push(Node {
        node: Some(NodeEnum::ResTarget(Box::new(item))),
    });
    Some(())
}

/// A default that is no sequence.
fn expression(column: &Column) -> Option<Node> {
    let text = match &column.default {
        DefaultValue::Expression { text, .. } => text.as_str(),
        DefaultValue::None => "NULL",
        _ => return None,
    };
    let statement = parse::parse(&format!("SELECT {text}")).ok()?.pop()?;
    let NodeEnum::SelectStmt(select) = statement.node else {
        return None;
    };
    match select.target_list.into_iter().next()?.node? {
        NodeEnum::ResTarget(target) => target.val.map(|value| *value),
        _ => None,
    }
}

fn named(name: &str) -> Node {
    let target = ResTarget {
        name: name.to_owned(),
        ..ResTarget::default()
    };
    Node {
        node: Some(NodeEnum::ResTarget(Box::new(target))),
    }
}
