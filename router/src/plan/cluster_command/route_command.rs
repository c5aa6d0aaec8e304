//! `oskol.route_by(table, column)` and `oskol.unroute_by`.

use pg_query::protobuf::Node;
use schema::{Column, DefaultValue, Placement, Relation};

use super::action::RouteCommand;
use super::{Planned, command_plan, no_such_column, table, text};
use crate::error::RouterError;
use crate::plan::ddl::constraints::is_partitioned;
use crate::plan::{ClusterCommand, PlanContext, scope};

/// `makes`: whether the routing index is made, or goes.
pub(super) fn plan(arguments: &[Option<&Node>], makes: bool, context: &PlanContext<'_>) -> Planned {
    let table = table(&text(arguments.first())?, context)?;
    let name = text(arguments.get(1))?;
    let position = table
        .column(&name)
        .ok_or_else(|| no_such_column(&name, &table))?;
    let is_there = table
        .routing_indexes
        .iter()
        .any(|index| index.column == position);
    let key = match makes {
        true if is_there => return Err(there_already(&name, &table)),
        true => Some(shard_key(&table, position, context)?),
        false if !is_there => return Err(not_there(&name, &table)),
        false => None,
    };
    Ok(command_plan(ClusterCommand::Route(RouteCommand {
        schema: table.schema.clone(),
        table: table.name.clone(),
        column: name,
        key,
    })))
}

/// The shard key of a table that may have a routing index on the column at `position`.
fn shard_key(
    table: &Relation,
    position: usize,
    context: &PlanContext<'_>,
) -> Result<String, RouterError> {
    let Placement::Sharded { key, .. } = scope::placement(table, context) else {
        return Err(not_sharded(table));
    };
    if is_partitioned(table) {
        return Err(partitioned(table));
    }
    let column = &table.columns[position];
    if key == position {
        return Err(is_key(&column.name, table));
    }
    if !leads_anywhere(column) {
        return Err(column_type(column));
    }
    Ok(table.columns[key].name.clone())
}

/// The router knows the hash of the column's values, and they stay unless a row is written.
fn leads_anywhere(column: &Column) -> bool {
    column.key_type().is_some()
        && column.collation_is_deterministic
        && column.default != DefaultValue::Generated
}

fn there_already(column: &str, table: &Relation) -> RouterError {
    let name = &table.name;
    RouterError::new(
        "42710",
        format!("column \"{column}\" of relation \"{name}\" has a routing index already"),
    )
}

fn not_there(column: &str, table: &Relation) -> RouterError {
    let name = &table.name;
    RouterError::new(
        "42704",
        format!("column \"{column}\" of relation \"{name}\" has no routing index"),
    )
}

fn not_sharded(table: &Relation) -> RouterError {
    RouterError::unsupported(
        "route-not-sharded",
        format!("\"{}\" is not a sharded table", table.name),
    )
    .detail("A routing index tells which shards have rows with a value; the rows of other tables are on the home shard, or on every shard.")
    .hint("Use oskol.shard_table first, or create an ordinary index.")
}

fn partitioned(table: &Relation) -> RouterError {
    RouterError::unsupported(
        "route-partitioned",
        format!(
            "\"{}\" is partitioned and cannot have a routing index",
            table.name
        ),
    )
    .detail("What is written to a partition by itself would not be noted.")
    .hint("Use a table without partitions, or bind statements to the shard key.")
}

fn is_key(column: &str, table: &Relation) -> RouterError {
    RouterError::unsupported(
        "route-shard-key",
        format!("\"{column}\" is the shard key of \"{}\"", table.name),
    )
    .detail("Its values tell the shard of their rows by themselves.")
    .hint("Leave the routing index out.")
}

fn column_type(column: &Column) -> RouterError {
    RouterError::unsupported(
        "route-column-type",
        format!("column \"{}\" cannot have a routing index", column.name),
    )
    .detail(format!(
        "It is of type {}; the router must know the hash of its values, and which are equal.",
        column.type_name
    ))
    .hint("A column with a routing index is a smallint, integer, bigint, text, varchar or uuid, with a deterministic collation, and not generated.")
}
