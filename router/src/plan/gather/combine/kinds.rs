//! Types of expressions, as far as they decide whether partial sums are exact. What is not known for sure has none.

use pg_query::NodeEnum;
use pg_query::protobuf::{AExpr, AExprKind, CaseExpr, FuncCall, Node, TypeName, a_const};

use super::collation;
use super::level::Level;
use crate::plan::names::strings;
use crate::plan::scatter::is_built_in;
use crate::plan::scope::{self, DATE, INT2, INT4, INT8, TEXT, TIMESTAMP, TIMESTAMPTZ, VARCHAR};

pub const NUMERIC: u32 = 1700;
pub const INTERVAL: u32 = 1186;
pub const MONEY: u32 = 790;
const BPCHAR: u32 = 1042;
const BYTEA: u32 = 17;

/// The type of an expression, by oid; a domain counts as what it is over.
pub fn of(expression: &Node, level: &Level<'_>) -> Option<u32> {
    match expression.node.as_ref()? {
        NodeEnum::ColumnRef(column) => {
            let oid = collation::type_of(level.anchored.survey, level.term(column)?)?;
            let domains = &level.anchored.context.snapshot.domains;
            Some(domains.get(&oid).copied().unwrap_or(oid))
        }
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            a_const::Val::Ival(_) => Some(INT4),
            a_const::Val::Fval(number) => Some(of_number(&number.fval)),
            _ => None,
        },
        NodeEnum::TypeCast(cast) => of_name(cast.type_name.as_ref()?),
        NodeEnum::AExpr(expression) => of_operator(expression, level),
        NodeEnum::CaseExpr(case) => of_case(case, level),
        NodeEnum::CoalesceExpr(it) => common(it.args.iter(), level),
        NodeEnum::MinMaxExpr(it) => common(it.args.iter(), level),
        NodeEnum::FuncCall(call) => of_call(call, level),
        _ => None,
    }
}

/// A number with a point, or too large for int4.
fn of_number(text: &str) -> u32 {
    match text.parse::<i64>() {
        Ok(_) => INT8,
        Err(_) => NUMERIC,
    }
}

fn of_name(name: &TypeName) -> Option<u32> {
    if name.setof || name.pct_type || !name.array_bounds.is_empty() {
        return None;
    }
    match scope::qualified(&name.names)? {
        (None | Some("pg_catalog"), "int2") => Some(INT2),
        (None | Some("pg_catalog"), "int4") => Some(INT4),
        (None | Some("pg_catalog"), "int8") => Some(INT8),
        (None | Some("pg_catalog"), "numeric") => Some(NUMERIC),
        (None | Some("pg_catalog"), "interval") => Some(INTERVAL),
        (None | Some("pg_catalog"), "money") => Some(MONEY),
        _ => None,
    }
}

/// PostgreSQL's own arithmetic on integers and numerics.
fn of_operator(expression: &AExpr, level: &Level<'_>) -> Option<u32> {
    let [operator] = strings(&expression.name)[..] else {
        return None;
    };
    let made_by_users = &level.anchored.context.snapshot.user_operators;
    if expression.kind() != AExprKind::AexprOp || made_by_users.contains(operator) {
        return None;
    }
    let right = of(expression.rexpr.as_deref()?, level)?;
    let Some(left) = expression.lexpr.as_deref() else {
        return (operator == "-" || operator == "+").then_some(right);
    };
    let left = of(left, level)?;
    if (left, right) == (INTERVAL, INTERVAL) && matches!(operator, "+" | "-") {
        return Some(INTERVAL);
    }
    match (left, right, operator) {
        (TIMESTAMP, TIMESTAMP, "-") | (TIMESTAMPTZ, TIMESTAMPTZ, "-") => return Some(INTERVAL),
        (DATE, DATE, "-") => return Some(INT4),
        _ => {}
    }
    let number = wider(left, right)?;
    matches!(operator, "+" | "-" | "*" | "/" | "%").then_some(number)
}

/// The type of arithmetic on two numbers.
fn wider(left: u32, right: u32) -> Option<u32> {
    let rank = |oid| match oid {
        INT2 => Some(0),
        INT4 => Some(1),
        INT8 => Some(2),
        NUMERIC => Some(3),
        _ => None,
    };
    Some(if rank(left)? >= rank(right)? {
        left
    } else {
        right
    })
}

fn of_case(case: &CaseExpr, level: &Level<'_>) -> Option<u32> {
    let results = case.args.iter().filter_map(|arm| match arm.node.as_ref() {
        Some(NodeEnum::CaseWhen(arm)) => arm.result.as_deref(),
        _ => None,
    });
    common(results.chain(case.defresult.as_deref()), level)
}

/// The type that all of them are brought to; NULLs have none.
fn common<'a>(values: impl Iterator<Item = &'a Node>, level: &Level<'_>) -> Option<u32> {
    let mut found = None;
    for value in values {
        if matches!(value.node.as_ref(), Some(NodeEnum::AConst(constant)) if constant.isnull) {
            continue;
        }
        let oid = of(value, level)?;
        found = Some(match found {
            None => oid,
            Some(other) if other == oid => oid,
            Some(other) => wider(other, oid)?,
        });
    }
    found
}

fn of_call(call: &FuncCall, level: &Level<'_>) -> Option<u32> {
    if !is_built_in(call, level.anchored.context) || call.over.is_some() {
        return None;
    }
    let argument = || of(call.args.first()?, level);
    match (scope::function_name(call)?.1, call.args.len()) {
        ("char_length" | "character_length" | "octet_length" | "bit_length", 1) => Some(INT4),
        // That of a path is a float.
        ("length", 1) => is_text(call.args.first()?, level).then_some(INT4),
        ("array_length" | "cardinality" | "strpos" | "ascii" | "jsonb_array_length", _) => {
            Some(INT4)
        }
        ("extract", 2) => Some(NUMERIC),
        ("abs", 1) => argument(),
        ("round" | "trunc" | "ceil" | "ceiling" | "floor" | "sign", _) => {
            argument().filter(|oid| *oid == NUMERIC)
        }
        _ => None,
    }
}

fn is_text(value: &Node, level: &Level<'_>) -> bool {
    match value.node.as_ref() {
        Some(NodeEnum::ColumnRef(column)) => {
            let term = level.term(column);
            let oid = term.and_then(|term| collation::type_of(level.anchored.survey, term));
            matches!(oid, Some(TEXT | VARCHAR | BPCHAR | BYTEA))
        }
        Some(NodeEnum::TypeCast(cast)) => cast
            .type_name
            .as_ref()
            .and_then(scope::plain_type)
            .is_some_and(|oid| matches!(oid, TEXT | VARCHAR)),
        _ => false,
    }
}
