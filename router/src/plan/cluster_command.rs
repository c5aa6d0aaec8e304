//! SELECTs that the router itself carries out: `oskol.shard_table(...)` and its like, sequence functions on
//! sequences that it leases, and `set_config` as a SET. Gives `None` for any other SELECT. Must never know
//! how tables are moved or ids are leased.

pub mod action;
mod route_command;
mod sequence_command;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt};
use schema::{DefaultValue, Placement, Relation, RelationKind};

use super::ddl::constraints::{Placed, is_partitioned};
use super::ddl::existing;
use super::facts::Facts;
use super::names::{self, OnlyCall};
use super::scope::{self, Found};
use super::{Action, ClusterCommand, Effect, Plan, PlanContext, sequence, session_command};
use crate::error::RouterError;
use crate::parse::Statement;

pub fn plan(statement: &Statement, select: &SelectStmt, context: &PlanContext<'_>) -> Option<Plan> {
    if let Some(plan) = session_command::set_config(select, &statement.text) {
        return Some(plan);
    }
    let placing = names::only_call(select).filter(|call| call.schema == Some("oskol"));
    if let Some(result) = placing.and_then(|call| table_command(&call, context)) {
        return Some(result.unwrap_or_else(Plan::refused));
    }
    let facts = Facts::of(select);
    if facts.calls(&["set_config"]) {
        return Some(Plan::refused(session_command::set_config_refusal()));
    }
    facts
        .calls(&sequence::FUNCTIONS)
        .then(|| sequence_command::plan(select, &facts, context))
}

type Planned = Result<Plan, RouterError>;

fn table_command(call: &OnlyCall<'_>, context: &PlanContext<'_>) -> Option<Planned> {
    let names: &[&str] = match call.function {
        "shard_table" => &["relation", "key", "accept_unenforced"],
        "reference_table" | "local_table" => &["relation"],
        "route_by" | "unroute_by" => &["relation", "column_name"],
        _ => return None,
    };
    Some(
        arguments(call, names).and_then(|arguments| match call.function {
            "shard_table" => shard_table(&arguments, context),
            "reference_table" => place(&arguments, Placed::Reference, context),
            "route_by" => route_command::plan(&arguments, true, context),
            "unroute_by" => route_command::plan(&arguments, false, context),
            _ => place(&arguments, Placed::Local, context),
        }),
    )
}

/// The call's arguments in the order of `names`, by position or by name.
fn arguments<'a>(
    call: &OnlyCall<'a>,
    names: &[&str],
) -> Result<Vec<Option<&'a Node>>, RouterError> {
    let mut found = vec![None; names.len()];
    for (position, argument) in call.arguments.iter().enumerate() {
        let (position, value) = match argument.node.as_ref() {
            Some(NodeEnum::NamedArgExpr(named)) => (
                names.iter().position(|name| *name == named.name),
                named.arg.as_deref(),
            ),
            _ => (Some(position), Some(argument)),
        };
        match position.and_then(|position| found.get_mut(position)) {
            Some(place) => *place = value,
            None => return Err(no_such_function(call)),
        }
    }
    Ok(found)
}

/// As PostgreSQL says it.
fn no_such_function(call: &OnlyCall<'_>) -> RouterError {
    RouterError::new("42883", format!("function oskol.{} with these arguments does not exist", call.function))
        .hint("Use oskol.shard_table(relation, key [, accept_unenforced]), oskol.reference_table(relation), oskol.local_table(relation), oskol.route_by(relation, column_name) or oskol.unroute_by(relation, column_name).")
}

fn text(argument: Option<&Option<&Node>>) -> Result<String, RouterError> {
    argument
        .copied()
        .flatten()
        .and_then(names::string_constant)
        .map(str::to_owned)
        .ok_or_else(|| {
            RouterError::unsupported(
                "cluster-function-argument",
                "the arguments of this function must be constants",
            )
            .hint("Write the names out as in SELECT oskol.shard_table('posts', 'user_id').")
        })
}

fn shard_table(arguments: &[Option<&Node>], context: &PlanContext<'_>) -> Planned {
    let table = table(&text(arguments.first())?, context)?;
    let key = text(arguments.get(1))?;
    let accept_unenforced = match arguments.get(2).copied().flatten() {
        None => false,
        Some(value) => names::boolean_constant(value)
            .ok_or_else(|| RouterError::new("22023", "accept_unenforced must be true or false"))?,
    };
    let column = table
        .column(&key)
        .map(|index| &table.columns[index])
        .ok_or_else(|| no_such_column(&key, &table))?;
    let key_type = column
        .key_type()
        .filter(|_| column.default != DefaultValue::Generated);
    let key_type = key_type.ok_or_else(|| super::ddl::key_type_refusal(&key))?;
    let placed = Placed::Sharded {
        key: key.clone(),
        key_type,
    };
    let judged = existing::judge(
        &table,
        &placed,
        accept_unenforced,
        is_partitioned(&table),
        context,
    )?;
    let command = ClusterCommand::ShardTable {
        schema: Some(table.schema.clone()),
        table: table.name.clone(),
        key,
        accept_unenforced,
        drops: judged.drops,
    };
    Ok(Plan {
        notices: judged.notices,
        ..command_plan(command)
    })
}

fn place(arguments: &[Option<&Node>], placed: Placed, context: &PlanContext<'_>) -> Planned {
    let table = table(&text(arguments.first())?, context)?;
    let judged = existing::judge(&table, &placed, false, is_partitioned(&table), context)?;
    let (schema, table, drops) = (Some(table.schema.clone()), table.name.clone(), judged.drops);
    let command = match placed {
        Placed::Local => ClusterCommand::LocalTable {
            schema,
            table,
            drops,
        },
        Placed::Reference | Placed::Sharded { .. } => ClusterCommand::ReferenceTable {
            schema,
            table,
            drops,
        },
    };
    Ok(Plan {
        notices: judged.notices,
        ..command_plan(command)
    })
}

fn command_plan(command: ClusterCommand) -> Plan {
    let effect = Effect {
        writes: true,
        returns_rows: true,
        ..Effect::default()
    };
    Plan::new(
        Action::Cluster(command),
        effect,
        "carried out by the router",
    )
}

fn table(name: &str, context: &PlanContext<'_>) -> Result<std::sync::Arc<Relation>, RouterError> {
    let (schema, table) = names::parse_qualified(name)
        .ok_or_else(|| RouterError::new("42602", format!("invalid name syntax: \"{name}\"")))?;
    let found = match scope::find_name(schema.as_deref(), &table, context) {
        Found::Relation(found) => found,
        Found::Temporary => return Err(not_a_table(name)),
        Found::Home => {
            return Err(RouterError::new(
                "42P01",
                format!("relation \"{name}\" does not exist"),
            ));
        }
    };
    if found.schema == "oskol" {
        return Err(super::unsupported::oskol_schema());
    }
    if !matches!(found.kind, RelationKind::Table | RelationKind::Partitioned) {
        return Err(not_a_table(name));
    }
    if let Some((_, parent)) = &found.parent {
        return Err(RouterError::new(
            "42809",
            format!("\"{name}\" is a child of table \"{parent}\""),
        )
        .hint("Place the parent: its partitions are placed with it."));
    }
    if found.placement == Placement::Local
        && has_children(&found, context)
        && found.kind == RelationKind::Table
    {
        return Err(RouterError::unsupported(
            "inherits-sharded",
            "sharded and reference tables take no part in inheritance",
        ));
    }
    Ok(found)
}

/// As PostgreSQL says it.
fn no_such_column(column: &str, table: &Relation) -> RouterError {
    let name = &table.name;
    RouterError::new(
        "42703",
        format!("column \"{column}\" of relation \"{name}\" does not exist"),
    )
}

fn has_children(table: &Relation, context: &PlanContext<'_>) -> bool {
    let itself = Some((table.schema.clone(), table.name.clone()));
    context
        .snapshot
        .relations
        .values()
        .flat_map(|relations| relations.values())
        .any(|child| child.parent == itself)
}

fn not_a_table(name: &str) -> RouterError {
    RouterError::new("42809", format!("\"{name}\" is not a permanent table"))
}
