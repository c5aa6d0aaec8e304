//! `nextval`, `currval`, `lastval` and `setval` in a statement: which sequence is meant, whether the router
//! leases it, and where the call stands in the text. Must never know how ids are leased.

use pg_query::protobuf::Node;
use schema::{DefaultValue, Relation, RelationKind};

use super::facts::{Facts, Mention};
use super::scope::{self, Found};
use super::tokens::{Span, Tokens};
use super::{Piece, PlanContext, SequenceName, names};
use crate::error::RouterError;

pub const FUNCTIONS: [&str; 4] = ["nextval", "currval", "lastval", "setval"];

/// A sequence whose ids the router gives out: the default of a column of a sharded or reference table.
pub fn is_leased(sequence: &Relation) -> bool {
    sequence.kind == RelationKind::Sequence && sequence.owned_by.is_some()
}

/// The sequence that fills `column`, if any does.
pub fn of_default(default: &DefaultValue) -> Option<SequenceName> {
    match default {
        DefaultValue::Sequence { schema, name } | DefaultValue::Identity { schema, name, .. } => {
            Some(SequenceName {
                schema: schema.clone(),
                name: name.clone(),
            })
        }
        _ => None,
    }
}

/// Which sequence an argument means.
#[derive(Debug, PartialEq, Eq)]
pub enum Meant {
    /// One the router leases.
    Leased(SequenceName),
    /// Any other, or none of that name: the home shard's affair.
    Home,
    /// Not a constant.
    Unknown,
}

/// Reads `'name'`, `'name'::regclass` or `pg_get_serial_sequence('table', 'column')`.
pub fn meant(argument: &Node, context: &PlanContext<'_>) -> Meant {
    if let Some(name) = names::string_constant(argument) {
        return by_name(name, context);
    }
    let Some(call) = names::function_call(argument) else {
        return Meant::Unknown;
    };
    let ours = matches!(
        scope::function_name(call),
        Some((None | Some("pg_catalog"), "pg_get_serial_sequence"))
    );
    match call.args.as_slice() {
        [table, column] if ours => of_column(table, column, context),
        _ => Meant::Unknown,
    }
}

fn by_name(name: &str, context: &PlanContext<'_>) -> Meant {
    let Some((schema, name)) = names::parse_qualified(name) else {
        return Meant::Unknown;
    };
    match scope::find_name(schema.as_deref(), &name, context) {
        Found::Relation(found) if is_leased(&found) => Meant::Leased(SequenceName::of(&found)),
        _ => Meant::Home,
    }
}

/// The column's name is taken as it is written, unlike the table's: PostgreSQL 15, 9.26.
fn of_column(table: &Node, column: &Node, context: &PlanContext<'_>) -> Meant {
    let (Some(table), Some(column)) = (
        names::string_constant(table),
        names::string_constant(column),
    ) else {
        return Meant::Unknown;
    };
    let Some((schema, table)) = names::parse_qualified(table) else {
        return Meant::Unknown;
    };
    let Found::Relation(table) = scope::find_name(schema.as_deref(), &table, context) else {
        return Meant::Home;
    };
    let Some(column) = table.columns.iter().find(|found| found.name == column) else {
        return Meant::Home;
    };
    let Some(sequence) = of_default(&column.default) else {
        return Meant::Home;
    };
    match context
        .snapshot
        .relations
        .get(&sequence.schema)
        .and_then(|schema| schema.get(&sequence.name))
    {
        Some(found) if is_leased(found) => Meant::Leased(sequence),
        _ => Meant::Home,
    }
}

/// The holes for `nextval` and `currval` calls anywhere in a statement that does not run on the home shard.
pub fn holes(
    facts: &Facts,
    tokens: &Tokens<'_>,
    context: &PlanContext<'_>,
) -> Result<Vec<(Span, Piece)>, RouterError> {
    facts
        .functions
        .iter()
        .filter(|call| {
            call.built_in_name()
                .is_some_and(|name| FUNCTIONS.contains(&name))
        })
        .map(|call| hole(call, tokens, context))
        .collect()
}

/// Whether every sequence function in the statement means a sequence of the home shard's own.
pub fn are_all_at_home(facts: &Facts, tokens: &Tokens<'_>, context: &PlanContext<'_>) -> bool {
    facts
        .functions
        .iter()
        .filter(|call| {
            call.built_in_name()
                .is_some_and(|name| FUNCTIONS.contains(&name))
        })
        .all(|call| match call_text(call, tokens) {
            Some((_, Some(argument))) => meant(&argument, context) == Meant::Home,
            // setval takes more than one argument.
            _ => false,
        })
}

fn hole(
    call: &Mention,
    tokens: &Tokens<'_>,
    context: &PlanContext<'_>,
) -> Result<(Span, Piece), RouterError> {
    let refuse = || refusal(&call.name);
    let (span, argument) = call_text(call, tokens).ok_or_else(refuse)?;
    let piece = match (call.name.as_str(), argument) {
        ("lastval", None) => Piece::CurrentId(None),
        ("nextval", Some(argument)) => {
            Piece::NextId(leased(&argument, context).ok_or_else(refuse)?)
        }
        ("currval", Some(argument)) => {
            Piece::CurrentId(Some(leased(&argument, context).ok_or_else(refuse)?))
        }
        _ => return Err(refuse()),
    };
    Ok((span, piece))
}

/// Where the call stands, and its one argument as a parsed expression.
fn call_text(call: &Mention, tokens: &Tokens<'_>) -> Option<(Span, Option<Node>)> {
    let first = tokens.index_at(call.location);
    let open = if tokens.word(first + 1) == "." {
        first + 3
    } else {
        first + 1
    };
    (tokens.word(open) == "(").then_some(())?;
    let close = tokens.closing(open)?;
    let span = tokens.span(first).start..tokens.span(close).end;
    match tokens.list_items(open)?.as_slice() {
        [] => Some((span, None)),
        [item] => Some((span, Some(parse_expression(&tokens.text[item.clone()])?))),
        _ => None,
    }
}

fn parse_expression(text: &str) -> Option<Node> {
    let mut statement = crate::parse::parse(&format!("SELECT {text}")).ok()?.pop()?;
    let pg_query::NodeEnum::SelectStmt(select) = &mut statement.node else {
        return None;
    };
    match select.target_list.pop()?.node? {
        pg_query::NodeEnum::ResTarget(target) => target.val.map(|value| *value),
        _ => None,
    }
}

fn leased(argument: &Node, context: &PlanContext<'_>) -> Option<SequenceName> {
    match meant(argument, context) {
        Meant::Leased(sequence) => Some(sequence),
        Meant::Home | Meant::Unknown => None,
    }
}

pub fn refusal(function: &str) -> RouterError {
    RouterError::unsupported(
        "sequence-function-inside",
        format!("{function}() is not supported in this place"),
    )
    .detail("The ids of sharded and reference tables are given out by the router, not by a shard's sequence.")
    .hint(format!("Call it alone, as in SELECT {function}('name'), and pass the value."))
}
