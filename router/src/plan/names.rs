//! Small readings of the parse tree: names, constants, a SELECT that is one function call. Knows no
//! table and decides nothing.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, RangeVar, SelectStmt, SetOperation, a_const};
use schema::Relation;

use super::SequenceName;
use super::scope::{qualified, string};

pub fn range_var(node: &Node) -> Option<&RangeVar> {
    match node.node.as_ref()? {
        NodeEnum::RangeVar(relation) => Some(relation),
        _ => None,
    }
}

/// A list of String nodes, e.g. column names or the parts of a qualified name.
pub fn strings(nodes: &[Node]) -> Vec<&str> {
    nodes.iter().filter_map(string).collect()
}

/// A constant, looking through casts to text types (`'x'::text`, `'x'::regclass`).
fn constant(node: &Node) -> Option<&a_const::Val> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => constant.val.as_ref(),
        NodeEnum::TypeCast(cast) => constant(cast.arg.as_deref()?),
        _ => None,
    }
}

pub fn string_constant(node: &Node) -> Option<&str> {
    match constant(node)? {
        a_const::Val::Sval(string) => Some(&string.sval),
        _ => None,
    }
}

pub fn boolean_constant(node: &Node) -> Option<bool> {
    match constant(node)? {
        a_const::Val::Boolval(value) => Some(value.boolval),
        a_const::Val::Sval(value) => match value.sval.to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "yes" | "1" => Some(true),
            "f" | "false" | "off" | "no" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// An integer literal, with a minus or without.
pub fn integer_constant(node: &Node) -> Option<i64> {
    if let Some(NodeEnum::AExpr(expression)) = node.node.as_ref() {
        let minus = expression.lexpr.is_none() && strings(&expression.name) == ["-"];
        let value = integer_constant(expression.rexpr.as_deref()?)?;
        return minus.then(|| value.checked_neg()).flatten();
    }
    match constant(node)? {
        a_const::Val::Ival(value) => Some(i64::from(value.ival)),
        a_const::Val::Fval(value) => value.fval.parse().ok(),
        _ => None,
    }
}

/// `$n`, perhaps with a cast.
pub fn parameter(node: &Node) -> Option<u16> {
    match node.node.as_ref()? {
        NodeEnum::ParamRef(parameter) => u16::try_from(parameter.number).ok(),
        NodeEnum::TypeCast(cast) => parameter(cast.arg.as_deref()?),
        _ => None,
    }
}

pub fn function_call(node: &Node) -> Option<&FuncCall> {
    match node.node.as_ref()? {
        NodeEnum::FuncCall(call) => Some(call),
        NodeEnum::TypeCast(cast) => function_call(cast.arg.as_deref()?),
        _ => None,
    }
}

/// The one function call that a SELECT consists of.
#[derive(Debug)]
pub struct OnlyCall<'a> {
    pub schema: Option<&'a str>,
    pub function: &'a str,
    pub arguments: &'a [Node],
    /// Name of the output column.
    pub column: String,
}

impl OnlyCall<'_> {
    /// The function's name if it is PostgreSQL's own.
    pub fn name(&self) -> Option<&str> {
        matches!(self.schema, None | Some("pg_catalog")).then_some(self.function)
    }
}

/// `SELECT f(...) [AS x]` and nothing else.
pub fn only_call(select: &SelectStmt) -> Option<OnlyCall<'_>> {
    select
        .from_clause
        .is_empty()
        .then(|| single_call(select))
        .flatten()
}

/// `SELECT f(...) [AS x] [FROM ...]` and nothing else.
pub fn single_call(select: &SelectStmt) -> Option<OnlyCall<'_>> {
    let [target] = select.target_list.as_slice() else {
        return None;
    };
    let Some(NodeEnum::ResTarget(target)) = target.node.as_ref() else {
        return None;
    };
    if !is_bare(select) {
        return None;
    }
    let Some(NodeEnum::FuncCall(call)) = target.val.as_deref()?.node.as_ref() else {
        return None;
    };
    if is_adorned(call) {
        return None;
    }
    let (schema, function) = qualified(&call.funcname)?;
    let column = if target.name.is_empty() {
        function.to_owned()
    } else {
        target.name.clone()
    };
    Some(OnlyCall {
        schema,
        function,
        arguments: &call.args,
        column,
    })
}

fn is_bare(select: &SelectStmt) -> bool {
    select.where_clause.is_none()
        && select.group_clause.is_empty()
        && select.having_clause.is_none()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking_clause.is_empty()
        && select.distinct_clause.is_empty()
        && select.with_clause.is_none()
        && select.into_clause.is_none()
        && matches!(
            select.op(),
            SetOperation::SetopNone | SetOperation::Undefined
        )
}

fn is_adorned(call: &FuncCall) -> bool {
    call.over.is_some()
        || call.agg_filter.is_some()
        || call.agg_star
        || call.func_variadic
        || !call.agg_order.is_empty()
}

/// Reads a name written in a string as `regclass` input does: `users`, `public."Users"`.
pub fn parse_qualified(text: &str) -> Option<(Option<String>, String)> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = identifier(rest)?;
        parts.push(part);
        let after = after.trim_start();
        match after.strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if after.is_empty() => break,
            None => return None,
        }
    }
    let name = parts.pop()?;
    Some((parts.pop(), name))
}

/// One identifier at the start of `text`, folded to lower case unless quoted; and what follows.
fn identifier(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_ascii_lowercase(), &text[end..]));
    };
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Some((name, rest)),
        }
    }
}

/// An identifier, quoted always.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same whatever `standard_conforming_strings` is.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

impl SequenceName {
    pub fn of(relation: &Relation) -> Self {
        Self {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_strings_are_read_as_regclass_reads_them() {
        let read = |text| parse_qualified(text);
        assert_eq!(read("Users"), Some((None, "users".into())));
        assert_eq!(
            read(r#"Public."Us""er.s""#),
            Some((Some("public".into()), "Us\"er.s".into()))
        );
        assert_eq!(read(r#""users"x"#), None);
        assert_eq!(read(""), None);
    }
}
