//! The clock of a statement that runs in several places: `now()`, `CURRENT_DATE` and their like are replaced by one
//! instant, which every place is given.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    ColumnRef, FuncCall, Node, SqlValueFunction, SqlValueFunctionOp, TypeCast, TypeName,
};

use super::change;
use super::print::Holes;
use super::template::{Argument, Fragment};
use crate::plan::PlanContext;
use crate::plan::scope;
use crate::plan::survey::derived_name;
use crate::plan::tokens::{Span, Tokens};

/// Replaces every reading of the transaction's clock below `node`. Output columns keep their names.
pub fn stop(node: &mut Node, holes: &mut Holes, context: &PlanContext<'_>) {
    let mut hole = None;
    change::everything(node, &mut |node| {
        name_target(node, context);
    });
    change::everything(node, &mut |node| {
        let Some((type_name, precision)) = node.node.as_ref().and_then(|it| reading(it, context))
        else {
            return;
        };
        let hole = hole.get_or_insert_with(|| holes.add(vec![Fragment::Argument(Argument::Clock)]));
        *node = instant(hole, type_name, precision);
    });
}

/// The same in a text, where each reading becomes a subquery: so a column called after it keeps its name.
pub fn stop_in_text(text: &str, holes: &mut Holes, context: &PlanContext<'_>) -> String {
    let tokens = Tokens::of(text);
    let readings: Vec<(Span, String)> = (0..tokens.len())
        .filter_map(|index| reading_at(&tokens, index, context))
        .collect();
    if readings.is_empty() {
        return text.to_owned();
    }
    let hole = holes.add(vec![Fragment::Argument(Argument::Clock)]);
    let mut changed = String::with_capacity(text.len() + 64 * readings.len());
    let mut done = 0;
    for (span, sql) in readings {
        changed.push_str(&text[done..span.start]);
        changed.push_str(&sql.replace("$clock", &hole));
        done = span.end;
    }
    changed.push_str(&text[done..]);
    if has_sense(&changed) {
        changed
    } else {
        text.to_owned()
    }
}

/// A function in FROM, or a column called like one, cannot be a subquery.
fn has_sense(text: &str) -> bool {
    let Ok(parsed) = pg_query::parse(text, 0) else {
        return false;
    };
    let mut statements = parsed.protobuf.stmts.into_iter();
    statements.all(|statement| {
        let mut nameless = false;
        if let Some(mut statement) = statement.stmt {
            change::everything(&mut statement, &mut |node| {
                nameless |=
                    matches!(&node.node, Some(NodeEnum::RangeSubselect(it)) if it.alias.is_none());
            });
        }
        !nameless
    })
}

/// The reading of the clock that starts at a token, and what stands for it.
fn reading_at(
    tokens: &Tokens<'_>,
    index: usize,
    context: &PlanContext<'_>,
) -> Option<(Span, String)> {
    let before = |back: usize| index.checked_sub(back).map_or("", |at| tokens.word(at));
    let word = tokens.word(index).to_ascii_lowercase();
    if before(1).eq_ignore_ascii_case("as") || before(1).eq_ignore_ascii_case("from") {
        return None;
    }
    let is_call = tokens.word(index + 1) == "(" && tokens.word(index + 2) == ")";
    let qualified = before(1) == ".";
    let of_users = !qualified && context.snapshot.functions.contains_key(&word);
    let (first, last, cast) = match word.as_str() {
        "now" | "transaction_timestamp" if is_call && !of_users => {
            let first = match qualified {
                true if before(2) == "pg_catalog" => index - 2,
                true => return None,
                false => index,
            };
            (first, index + 2, String::new())
        }
        _ if qualified => return None,
        name => {
            let (type_name, has_precision) = value_type(name)?;
            let precise = has_precision && tokens.word(index + 1) == "(";
            let precision = if precise { tokens.word(index + 2) } else { "" };
            let cast = match precision {
                "" => format!("::pg_catalog.{type_name}"),
                digits => format!("::pg_catalog.{type_name}({digits})"),
            };
            (index, index + if precise { 3 } else { 0 }, cast)
        }
    };
    let span = tokens.span(first).start..tokens.span(last).end;
    let sql = format!("(SELECT $clock::pg_catalog.timestamptz{cast} AS {word})");
    Some((span, sql))
}

/// The type of a value function, and whether it may have a precision.
fn value_type(name: &str) -> Option<(&'static str, bool)> {
    Some(match name {
        "current_date" => ("date", false),
        "current_time" => ("timetz", true),
        "current_timestamp" => ("timestamptz", true),
        "localtime" => ("time", true),
        "localtimestamp" => ("timestamp", true),
        _ => return None,
    })
}

/// A column called after the function it was.
fn name_target(node: &mut Node, context: &PlanContext<'_>) {
    let Some(NodeEnum::ResTarget(target)) = node.node.as_mut() else {
        return;
    };
    let Some(value) = target.val.as_deref_mut().filter(|_| target.name.is_empty()) else {
        return;
    };
    let mut reads = false;
    let name = derived_name(value);
    change::everything(value, &mut |inner| {
        reads |= inner
            .node
            .as_ref()
            .is_some_and(|it| reading(it, context).is_some());
    });
    if reads && let Some(name) = name.filter(|name| name != "?column?") {
        target.name = name;
    }
}

/// The type, and its precision, that a reading of the clock has.
fn reading(node: &NodeEnum, context: &PlanContext<'_>) -> Option<(&'static str, Option<i32>)> {
    match node {
        NodeEnum::FuncCall(call) => is_now(call, context).then_some(("timestamptz", None)),
        NodeEnum::SqlvalueFunction(function) => value_function(function),
        _ => None,
    }
}

fn is_now(call: &FuncCall, context: &PlanContext<'_>) -> bool {
    let built_in = match scope::function_name(call) {
        Some((Some("pg_catalog"), name)) => Some(name),
        Some((None, name)) if !context.snapshot.functions.contains_key(name) => Some(name),
        _ => None,
    };
    call.args.is_empty() && matches!(built_in, Some("now" | "transaction_timestamp"))
}

fn value_function(function: &SqlValueFunction) -> Option<(&'static str, Option<i32>)> {
    let precision = Some(function.typmod);
    Some(match function.op() {
        SqlValueFunctionOp::SvfopCurrentDate => ("date", None),
        SqlValueFunctionOp::SvfopCurrentTime => ("timetz", None),
        SqlValueFunctionOp::SvfopCurrentTimeN => ("timetz", precision),
        SqlValueFunctionOp::SvfopCurrentTimestamp => ("timestamptz", None),
        SqlValueFunctionOp::SvfopCurrentTimestampN => ("timestamptz", precision),
        SqlValueFunctionOp::SvfopLocaltime => ("time", None),
        SqlValueFunctionOp::SvfopLocaltimeN => ("time", precision),
        SqlValueFunctionOp::SvfopLocaltimestamp => ("timestamp", None),
        SqlValueFunctionOp::SvfopLocaltimestampN => ("timestamp", precision),
        _ => return None,
    })
}

/// `$clock::timestamptz::type(precision)`
fn instant(hole: &str, type_name: &str, precision: Option<i32>) -> Node {
    let argument = NodeEnum::ColumnRef(ColumnRef {
        fields: vec![string(hole)],
        location: -1,
    });
    let moment = cast(
        Node {
            node: Some(argument),
        },
        "timestamptz",
        None,
    );
    match (type_name, precision) {
        ("timestamptz", None) => moment,
        _ => cast(moment, type_name, precision),
    }
}

fn cast(argument: Node, type_name: &str, precision: Option<i32>) -> Node {
    let integer = |value| Node {
        node: Some(NodeEnum::AConst(pg_query::protobuf::AConst {
            isnull: false,
            location: -1,
            val: Some(pg_query::protobuf::a_const::Val::Ival(
                pg_query::protobuf::Integer { ival: value },
            )),
        })),
    };
    let type_name = TypeName {
        names: vec![string("pg_catalog"), string(type_name)],
        typmods: precision.map(integer).into_iter().collect(),
        typemod: -1,
        location: -1,
        ..TypeName::default()
    };
    Node {
        node: Some(NodeEnum::TypeCast(Box::new(TypeCast {
            arg: Some(Box::new(argument)),
            type_name: Some(type_name),
            location: -1,
        }))),
    }
}

fn string(text: &str) -> Node {
    Node {
        node: Some(NodeEnum::String(pg_query::protobuf::String {
            sval: text.to_owned(),
        })),
    }
}
