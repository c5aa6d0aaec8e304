//! `SELECT nextval('s')` and its like.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, NullTestType, SelectStmt};
use schema::Placement;

use crate::error::RouterError;
use crate::plan::facts::Facts;
use crate::plan::names::{self, OnlyCall};
use crate::plan::scope::{self, Found};
use crate::plan::sequence::{self, Meant};
use crate::plan::{Action, ClusterCommand, Effect, Plan, PlanContext, SequenceName};

/// Plans a SELECT that calls sequence functions somewhere.
pub fn plan(select: &SelectStmt, facts: &Facts, context: &PlanContext<'_>) -> Plan {
    let alone = names::single_call(select).filter(|call| call.name().is_some());
    match alone.and_then(|call| command(&call, select, context)) {
        Some(Ok(command)) => {
            let effect = Effect {
                returns_rows: true,
                ..Effect::default()
            };
            Plan::new(
                Action::Cluster(command),
                effect,
                "ids are given out by the router",
            )
        }
        Some(Err(refusal)) => Plan::refused(refusal),
        None => elsewhere(facts, context),
    }
}

type Commanded = Option<Result<ClusterCommand, RouterError>>;

fn command(call: &OnlyCall<'_>, select: &SelectStmt, context: &PlanContext<'_>) -> Commanded {
    let column = call.column.clone();
    if call.function == "lastval" && call.arguments.is_empty() && select.from_clause.is_empty() {
        return Some(Ok(ClusterCommand::CurrentValue {
            sequence: None,
            column,
        }));
    }
    let sequence = match sequence::meant(call.arguments.first()?, context) {
        Meant::Leased(sequence) => sequence,
        Meant::Home => return None,
        Meant::Unknown => return Some(Err(sequence::refusal(call.function))),
    };
    let refused = || Err(sequence::refusal(call.function));
    if let [table] = select.from_clause.as_slice() {
        return Some(set_from_max(call, sequence, table, context).map_or_else(refused, Ok));
    }
    if !select.from_clause.is_empty() {
        return Some(refused());
    }
    Some(match (call.function, call.arguments) {
        ("nextval", [_]) => Ok(ClusterCommand::NextValue { sequence, column }),
        ("currval", [_]) => Ok(ClusterCommand::CurrentValue {
            sequence: Some(sequence),
            column,
        }),
        ("setval", [_, value, rest @ ..]) => {
            set_value(sequence, value, rest, column).map_or_else(refused, Ok)
        }
        _ => refused(),
    })
}

fn set_value(
    sequence: SequenceName,
    value: &Node,
    rest: &[Node],
    column: String,
) -> Option<ClusterCommand> {
    let is_called = match rest {
        [] => true,
        [is_called] => names::boolean_constant(is_called)?,
        _ => return None,
    };
    Some(ClusterCommand::SetValue {
        sequence,
        value: names::integer_constant(value)?,
        is_called,
        column,
    })
}

/// `setval(s, coalesce(max(c), 1), max(c) IS NOT NULL) FROM t`.
fn set_from_max(
    call: &OnlyCall<'_>,
    sequence: SequenceName,
    table: &Node,
    context: &PlanContext<'_>,
) -> Option<ClusterCommand> {
    let ("setval", [_, value, is_called]) = (call.function, call.arguments) else {
        return None;
    };
    let max_of = coalesced_max(value)?;
    (tested_max(is_called)? == max_of).then_some(())?;
    let Found::Relation(table) = scope::find(names::range_var(table)?, context) else {
        return None;
    };
    table.column(max_of)?;
    let column = call.column.clone();
    let table = SequenceName {
        schema: table.schema.clone(),
        name: table.name.clone(),
    };
    Some(ClusterCommand::SetValueFromMax {
        sequence,
        table,
        max_of: max_of.to_owned(),
        column,
    })
}

/// The column of `coalesce(max(column), 1)`.
fn coalesced_max(node: &Node) -> Option<&str> {
    let NodeEnum::CoalesceExpr(coalesce) = node.node.as_ref()? else {
        return None;
    };
    let [value, otherwise] = coalesce.args.as_slice() else {
        return None;
    };
    (names::integer_constant(otherwise)? == 1)
        .then(|| max_column(value))
        .flatten()
}

/// The column of `max(column) IS NOT NULL`.
fn tested_max(node: &Node) -> Option<&str> {
    let NodeEnum::NullTest(test) = node.node.as_ref()? else {
        return None;
    };
    (test.nulltesttype() == NullTestType::IsNotNull)
        .then(|| max_column(test.arg.as_deref()?))
        .flatten()
}

fn max_column(node: &Node) -> Option<&str> {
    let call = names::function_call(node)?;
    let [argument] = call.args.as_slice() else {
        return None;
    };
    let plain = call.agg_filter.is_none() && call.over.is_none() && !call.agg_distinct;
    let is_max = matches!(
        scope::function_name(call)?,
        (None | Some("pg_catalog"), "max")
    );
    match argument.node.as_ref()? {
        NodeEnum::ColumnRef(column) if plain && is_max => {
            names::strings(&column.fields).last().copied()
        }
        _ => None,
    }
}

/// A sequence function somewhere inside: right only where all of it is about the home shard.
fn elsewhere(facts: &Facts, context: &PlanContext<'_>) -> Plan {
    let function = facts.functions.iter().find(|call| {
        call.built_in_name()
            .is_some_and(|name| sequence::FUNCTIONS.contains(&name))
    });
    let name = function.map_or("nextval", |call| &call.name);
    let tables_at_home = facts.tables().all(|table| {
        match scope::find_name(table.schema.as_deref(), &table.name, context) {
            Found::Relation(found) => {
                found.reads.is_empty() && scope::placement(&found, context) == Placement::Local
            }
            Found::Temporary | Found::Home => true,
        }
    });
    if names_leased(facts, context) || !tables_at_home || facts.calls(&["lastval"]) {
        return Plan::refused(sequence::refusal(name));
    }
    let effect = Effect {
        writes: true,
        returns_rows: true,
        ..Effect::default()
    };
    Plan::new(
        Action::Home,
        effect,
        "sequences of local tables are on the home shard",
    )
}

/// Some string of the statement names a leased sequence, or a table whose ids are leased.
fn names_leased(facts: &Facts, context: &PlanContext<'_>) -> bool {
    facts.strings.iter().any(|text| {
        let Some((schema, name)) = names::parse_qualified(text) else { return false };
        matches!(scope::find_name(schema.as_deref(), &name, context),
            Found::Relation(found) if sequence::is_leased(&found) || scope::placement(&found, context) != Placement::Local)
    })
}
