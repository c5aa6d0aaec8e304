//! The query of an INSERT as a statement of its own. PostgreSQL reads a bare literal in its select list, and
//! every value in VALUES, as the column's type: by itself the query must say so.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, SetOperation, TypeCast, TypeName, WithClause};
use schema::Column;

use super::target::Target;
use super::{Job, is_default, items};
use crate::error::RouterError;
use crate::parse;
use crate::plan::survey::Survey;
use crate::plan::unsupported;

/// The query with the statement's WITH.
pub fn of(job: &Job<'_>, target: Option<&Target>) -> Result<NodeEnum, RouterError> {
    let mut select = select(job)
        .ok_or_else(super::target::unforeseen_form)?
        .clone();
    take_with(&mut select, job.insert.with_clause.as_ref())?;
    if !select.values_lists.is_empty() {
        values(&mut select, job, target)?;
    } else if select.op() == SetOperation::SetopNone {
        literals(&mut select, job, target)?;
    }
    Ok(NodeEnum::SelectStmt(Box::new(select)))
}

/// Number of the query's columns, where it can be told.
pub fn width(job: &Job<'_>) -> Option<usize> {
    let mut select = select(job)?.clone();
    if let Some(row) = select.values_lists.first() {
        return Some(items(row).len());
    }
    if select.op() == SetOperation::SetopNone && !select.target_list.iter().any(is_star) {
        return Some(select.target_list.len());
    }
    take_with(&mut select, job.insert.with_clause.as_ref()).ok()?;
    let survey = Survey::of(&NodeEnum::SelectStmt(Box::new(select)), job.context).ok()?;
    survey.query(survey.root).outputs.as_ref().map(Vec::len)
}

fn select<'a>(job: &Job<'a>) -> Option<&'a SelectStmt> {
    match job.insert.select_stmt.as_deref()?.node.as_ref()? {
        NodeEnum::SelectStmt(select) => Some(select),
        _ => None,
    }
}

/// The WITH of the INSERT goes ahead of the query's own.
fn take_with(select: &mut SelectStmt, outer: Option<&WithClause>) -> Result<(), RouterError> {
    let Some(outer) = outer else { return Ok(()) };
    let Some(own) = select.with_clause.as_mut() else {
        select.with_clause = Some(outer.clone());
        return Ok(());
    };
    let clash = own.ctes.iter().any(|one| {
        let name = with_name(one);
        outer.ctes.iter().any(|other| with_name(other) == name)
    });
    if clash || own.recursive != outer.recursive {
        return Err(two_withs());
    }
    own.ctes.splice(0..0, outer.ctes.iter().cloned());
    Ok(())
}

fn with_name(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::CommonTableExpr(table) => Some(&table.ctename),
        _ => None,
    }
}

/// Every value as the column's type: the assignment to it, its length left aside, is the same conversion.
fn values(
    select: &mut SelectStmt,
    job: &Job<'_>,
    target: Option<&Target>,
) -> Result<(), RouterError> {
    for row in &mut select.values_lists {
        let Some(NodeEnum::List(row)) = row.node.as_mut() else {
            return Err(super::target::unforeseen_form());
        };
        for (position, value) in row.items.iter_mut().enumerate() {
            if is_default(value) {
                return Err(default_beside_query());
            }
            let column = column(job, target, position);
            let column = column.ok_or_else(|| literal_type(position))?;
            cast(value, column)?;
        }
    }
    Ok(())
}

/// The bare literals of a select list as their columns' types.
fn literals(
    select: &mut SelectStmt,
    job: &Job<'_>,
    target: Option<&Target>,
) -> Result<(), RouterError> {
    let places = places(&select.target_list, || width(job));
    for (item, position) in select.target_list.iter_mut().zip(places) {
        let Some(value) = value_of(item).filter(|value| is_untyped(value)) else {
            continue;
        };
        let column = position.and_then(|position| column(job, target, position));
        cast(value, column.ok_or_else(|| literal_type(0))?)?;
    }
    Ok(())
}

/// Which column each item of a select list is. A star is as many columns as the others leave.
fn places(list: &[Node], width: impl Fn() -> Option<usize>) -> Vec<Option<usize>> {
    let stars = list.iter().filter(|item| is_star(item)).count();
    let first = list.iter().position(is_star).unwrap_or(list.len());
    let last = list.iter().rposition(is_star).unwrap_or(0);
    let width = if stars == 0 {
        Some(list.len())
    } else {
        width()
    };
    let place = |index: usize| {
        if index < first {
            return Some(index);
        }
        if index <= last && stars > 0 {
            return None;
        }
        // Counted from the end.
        width?.checked_sub(list.len() - index)
    };
    (0..list.len()).map(place).collect()
}

fn is_star(item: &Node) -> bool {
    let Some(NodeEnum::ResTarget(target)) = item.node.as_ref() else {
        return false;
    };
    match target.val.as_deref().and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::ColumnRef(column)) => column
            .fields
            .last()
            .is_some_and(|last| matches!(last.node, Some(NodeEnum::AStar(_)))),
        // `(composite).*`
        Some(NodeEnum::AIndirection(indirection)) => indirection
            .indirection
            .last()
            .is_some_and(|last| matches!(last.node, Some(NodeEnum::AStar(_)))),
        _ => false,
    }
}

fn value_of(item: &mut Node) -> Option<&mut Node> {
    match item.node.as_mut()? {
        NodeEnum::ResTarget(target) => target.val.as_deref_mut(),
        _ => None,
    }
}

/// A string or NULL without a type of its own.
fn is_untyped(value: &Node) -> bool {
    use pg_query::protobuf::a_const::Val;
    match value.node.as_ref() {
        Some(NodeEnum::AConst(constant)) => {
            constant.isnull || matches!(constant.val, Some(Val::Sval(_)))
        }
        _ => false,
    }
}

/// The column that the query's column of this position goes to; none where only a part of it does.
fn column<'a>(job: &Job<'_>, target: Option<&'a Target>, position: usize) -> Option<&'a Column> {
    let target = target?;
    let columns = &target.relation.columns;
    if !target.is_explicit() {
        return columns.get(position);
    }
    let listed = job.insert.cols.get(position)?.node.as_ref()?;
    let whole = matches!(listed, NodeEnum::ResTarget(listed) if listed.indirection.is_empty());
    whole
        .then(|| target.columns.get(position))
        .flatten()
        .and_then(|index| columns.get(*index))
}

fn cast(value: &mut Node, column: &Column) -> Result<(), RouterError> {
    let type_name = type_node(&plain_type(column))?;
    let inner = std::mem::take(value);
    let cast = TypeCast {
        arg: Some(Box::new(inner)),
        type_name: Some(type_name),
        location: -1,
    };
    value.node = Some(NodeEnum::TypeCast(Box::new(cast)));
    Ok(())
}

fn type_node(name: &str) -> Result<TypeName, RouterError> {
    let failed = unsupported::rewrite_not_possible;
    let text = format!("SELECT NULL::{name}");
    let statement = parse::parse(&text)?.pop().ok_or_else(failed)?;
    let NodeEnum::SelectStmt(mut select) = statement.node else {
        return Err(failed());
    };
    let item = select.target_list.first_mut().and_then(value_of);
    match item.and_then(|value| value.node.take()) {
        Some(NodeEnum::TypeCast(cast)) => cast.type_name.ok_or_else(failed),
        _ => Err(failed()),
    }
}

/// The column's type without a length: an explicit cast to one cuts where an assignment raises an error.
pub fn plain_type(column: &Column) -> String {
    let full = column.type_name.as_str();
    if column.type_modifier < 0 {
        return full.to_owned();
    }
    let (base, rest) = match (full.find('('), full.rfind(')')) {
        (Some(open), Some(close)) => (&full[..open], &full[close + 1..]),
        _ => (full, ""),
    };
    match base {
        "character" => format!("bpchar{rest}"),
        "bit" => format!("\"bit\"{rest}"),
        // Also `interval day to second`.
        _ if base.starts_with("interval") => match full.ends_with("[]") {
            true => "interval[]".to_owned(),
            false => "interval".to_owned(),
        },
        _ => format!("{base}{rest}"),
    }
}

fn literal_type(_position: usize) -> RouterError {
    RouterError::unsupported(
        "insert-select-literal",
        "a literal in this INSERT ... SELECT needs a type of its own",
    )
    .detail("The query is run by itself, and the router does not know which column the literal goes to.")
    .hint("Cast it to the type of its column, as in '2020-01-01'::date.")
}

fn default_beside_query() -> RouterError {
    RouterError::unsupported(
        "insert-select-default",
        "DEFAULT cannot stand beside a query over several shards",
    )
    .hint("Leave the column out of the INSERT, or insert the row by a statement of its own.")
}

fn two_withs() -> RouterError {
    RouterError::unsupported(
        "insert-select-with",
        "two WITH clauses of this INSERT cannot be made one",
    )
    .detail("They have a name in common, or only one of them is recursive.")
    .hint("Put all WITH queries in front of INSERT.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_of(name: &str, modifier: i32) -> String {
        plain_type(&Column {
            type_name: name.to_owned(),
            type_modifier: modifier,
            ..Column::default()
        })
    }

    #[test]
    fn a_type_without_its_length_cuts_nothing() {
        assert_eq!(type_of("character varying(20)", 24), "character varying");
        assert_eq!(type_of("character(5)[]", 9), "bpchar[]");
        assert_eq!(type_of("bit(8)", 8), "\"bit\"");
        assert_eq!(
            type_of("timestamp(3) without time zone", 3),
            "timestamp without time zone"
        );
        assert_eq!(type_of("interval day to second(2)", 2), "interval");
        assert_eq!(type_of("bigint", -1), "bigint");
    }

    #[test]
    fn what_stands_behind_a_star_is_counted_from_the_end() {
        let statement = parse::parse("SELECT 'a', t.*, 'b', 'c' FROM t")
            .unwrap()
            .remove(0);
        let NodeEnum::SelectStmt(select) = statement.node else {
            panic!("a SELECT");
        };
        let places = places(&select.target_list, || Some(6));
        assert_eq!(places, [Some(0), None, Some(4), Some(5)]);
    }
}
