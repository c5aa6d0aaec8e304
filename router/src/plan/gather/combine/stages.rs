//! Plans whose select list is computed in the finishing statement: over partial aggregates, over whole groups (for
//! windows across them), or over plain rows.

use pg_query::NodeEnum;
use pg_query::protobuf::{CoercionForm, Node, SelectStmt};

use super::finisher::{Aggregates, Finisher};
use super::level::Level;
use super::{build, collation, pulled};
use crate::error::RouterError;
use crate::plan::gather::{Gather, tree};
use crate::plan::survey::derived_name;

/// # Errors
/// What has no exact plan of this kind.
pub fn plan(level: &Level<'_>, aggregates: Aggregates, why: &str) -> Result<Gather, RouterError> {
    let mut finisher = Finisher::new(level, aggregates)?;
    let mut finish = outer(&mut finisher, aggregates)?;
    if aggregates != Aggregates::Whole {
        group(&mut finish, &mut finisher)?;
    }
    if finisher.pulled.len() == 0 {
        let one = match aggregates {
            Aggregates::Kept => "1",
            // Without any aggregate left it must be one row all the same.
            Aggregates::Partial | Aggregates::Whole => "pg_catalog.count(*)",
        };
        let one = build::expression(one)?;
        finisher.pulled.add_always(one, &collation::Collation::Own);
    }
    let pull = inner(&finisher, aggregates);
    pulled::gather(level, &finisher.pulled, pull, finish, why)
}

/// The finishing statement but for FROM and GROUP BY.
fn outer(finisher: &mut Finisher<'_>, aggregates: Aggregates) -> Result<SelectStmt, RouterError> {
    let select = &finisher.level.select;
    let mut finish = SelectStmt {
        limit_count: select.limit_count.clone(),
        limit_offset: select.limit_offset.clone(),
        limit_option: select.limit_option,
        op: select.op,
        group_distinct: select.group_distinct,
        ..SelectStmt::default()
    };
    for (value, name) in finisher.level.targets() {
        let name = match name {
            "" => derived_name(value),
            name => Some(name.to_owned()),
        };
        let value = finisher.expression(value)?;
        let target = tree::target(value, name.as_deref().unwrap_or_default());
        finish.target_list.push(target);
    }
    if aggregates != Aggregates::Whole
        && let Some(having) = select.having_clause.as_deref()
    {
        finish.having_clause = Some(Box::new(finisher.expression(having)?));
    }
    for window in &select.window_clause {
        finish.window_clause.push(finisher.expression(window)?);
    }
    for item in &select.distinct_clause {
        finish.distinct_clause.push(ordered(item, finisher)?);
    }
    for item in &select.sort_clause {
        let mut item = item.clone();
        if let Some(NodeEnum::SortBy(item)) = item.node.as_mut()
            && let Some(by) = item.node.as_deref_mut()
        {
            *by = ordered(by, finisher)?;
        }
        finish.sort_clause.push(item);
    }
    Ok(finish)
}

/// An item of ORDER BY or DISTINCT ON.
fn ordered(item: &Node, finisher: &mut Finisher<'_>) -> Result<Node, RouterError> {
    if item.node.is_none() {
        return Ok(item.clone());
    }
    match finisher.level.output(item)? {
        Some(position) => Ok(build::ordinal(position)),
        None => finisher.expression(item),
    }
}

/// GROUP BY of the finishing statement. Columns that a primary key decides are grouped by as well.
fn group(finish: &mut SelectStmt, finisher: &mut Finisher<'_>) -> Result<(), RouterError> {
    let items = &finisher.level.select.group_clause;
    finish.group_clause = items
        .iter()
        .map(|item| group_item(item, finisher))
        .collect::<Result<_, _>>()?;
    let dependents = finisher.dependents.iter();
    finish
        .group_clause
        .extend(dependents.map(|column| build::pulled(*column)));
    Ok(())
}

fn group_item(item: &Node, finisher: &Finisher<'_>) -> Result<Node, RouterError> {
    let each = |items: &[Node]| {
        let items = items.iter().map(|item| group_item(item, finisher));
        items.collect::<Result<Vec<_>, _>>()
    };
    let mut changed = item.clone();
    match changed.node.as_mut() {
        None => {}
        Some(NodeEnum::GroupingSet(set)) => set.content = each(&set.content)?,
        Some(NodeEnum::RowExpr(row)) if row.row_format() == CoercionForm::CoerceImplicitCast => {
            row.args = each(&row.args)?;
        }
        Some(_) => return finisher.group_item(item),
    }
    Ok(changed)
}

/// What the shards run.
fn inner(finisher: &Finisher<'_>, aggregates: Aggregates) -> SelectStmt {
    let select = &finisher.level.select;
    let mut pull = SelectStmt {
        target_list: finisher.pulled.targets(),
        from_clause: select.from_clause.clone(),
        where_clause: select.where_clause.clone(),
        with_clause: select.with_clause.clone(),
        limit_option: select.limit_option,
        op: select.op,
        ..SelectStmt::default()
    };
    pull.limit_option = pg_query::protobuf::LimitOption::Default as i32;
    if finisher.level.reads_nothing() {
        pull.where_clause = Some(Box::new(tree::boolean(false)));
    }
    if aggregates == Aggregates::Kept {
        return pull;
    }
    let groups = finisher.groups.iter().map(|group| group.column);
    let columns = groups.chain(finisher.distinct.iter().copied());
    pull.group_clause = columns.map(build::ordinal).collect();
    if aggregates == Aggregates::Whole {
        pull.having_clause.clone_from(&select.having_clause);
    }
    pull
}
