//! Plans whose rows are finished on the shards, and only sorted, made distinct and counted off in the finishing
//! statement: the shards send their first rows, or their distinct ones.

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, Node, SelectStmt};

use super::build;
use super::collation::{self, Collation};
use super::level::Level;
use super::pulled::{self, Pulled};
use crate::error::RouterError;
use crate::plan::gather::{Gather, tree};
use crate::plan::scatter::{Anchored, first_rows};
use crate::plan::survey::derived_name;
use crate::plan::unsupported;

/// # Errors
/// What has no exact plan of this kind.
pub fn plan(
    select: &SelectStmt,
    anchored: &Anchored<'_>,
    why: &str,
) -> Result<Gather, RouterError> {
    let level = Level::of(select, anchored)?;
    let mut sorting = Sorting::of(&level)?;
    let mut pull = select.clone();
    let mut finish = SelectStmt {
        limit_count: select.limit_count.clone(),
        limit_offset: select.limit_offset.clone(),
        limit_option: select.limit_option,
        op: select.op,
        target_list: sorting.targets(),
        ..SelectStmt::default()
    };
    for item in &select.distinct_clause {
        finish.distinct_clause.push(sorting.item(item)?);
    }
    for item in &select.sort_clause {
        finish.sort_clause.push(sorting.sort_item(item)?);
    }
    // Names of the select list may stand in GROUP BY and ORDER BY.
    let hidden = sorting
        .pulled
        .targets()
        .into_iter()
        .skip(sorting.outputs.len());
    pull.target_list = level
        .select
        .target_list
        .iter()
        .cloned()
        .chain(hidden)
        .collect();
    on_shards(&mut pull)?;
    pulled::gather(&level, &sorting.pulled, pull, finish, why)
}

struct Sorting<'a> {
    level: &'a Level<'a>,
    pulled: Pulled,
    /// Of the select list.
    outputs: Vec<Collation>,
    is_distinct: bool,
}

impl<'a> Sorting<'a> {
    fn of(level: &'a Level<'a>) -> Result<Self, RouterError> {
        let mut pulled = Pulled::default();
        let mut outputs = Vec::new();
        for (value, _) in level.targets() {
            check(value, level)?;
            // It may only matter where it is sorted by.
            let collation = collation::of(value, level);
            pulled.add_always(value.clone(), collation.as_ref().unwrap_or(&Collation::Own));
            outputs.push(collation);
        }
        let distinct = &level.select.distinct_clause;
        let is_distinct = !distinct.is_empty() && distinct.iter().all(|item| item.node.is_none());
        let outputs = outputs
            .into_iter()
            .map(|collation| match collation {
                Err(_) if !is_distinct => Ok(Collation::Own),
                other => other,
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            level,
            pulled,
            outputs,
            is_distinct,
        })
    }

    fn targets(&self) -> Vec<Node> {
        let targets = self.level.targets().zip(&self.outputs).enumerate();
        targets
            .map(|(index, ((value, name), collation))| {
                let name = match name {
                    "" => derived_name(value),
                    name => Some(name.to_owned()),
                };
                let value = self.reference(index, collation);
                tree::target(value, name.as_deref().unwrap_or_default())
            })
            .collect()
    }

    fn reference(&self, column: usize, collation: &Collation) -> Node {
        match collation {
            Collation::Written(name) => build::collated(build::pulled(column), name),
            _ => build::pulled(column),
        }
    }

    /// An item of ORDER BY or DISTINCT ON, over pulled rows.
    fn item(&mut self, item: &Node) -> Result<Node, RouterError> {
        if item.node.is_none() {
            return Ok(item.clone());
        }
        if let Some(position) = self.level.output(item)? {
            // Its collation must be known now.
            let value = self.level.targets().nth(position).map(|(value, _)| value);
            collation::of(value.ok_or_else(unsupported::name_over_shards)?, self.level)?;
            return Ok(build::ordinal(position));
        }
        // DISTINCT leaves nothing to sort by but what is selected.
        if self.is_distinct {
            return Err(unsupported::name_over_shards());
        }
        check(item, self.level)?;
        let collation = collation::of(item, self.level)?;
        let column = self.pulled.add(item.clone(), &collation, self.level);
        Ok(self.reference(column, &collation))
    }

    fn sort_item(&mut self, item: &Node) -> Result<Node, RouterError> {
        let mut item = item.clone();
        if let Some(NodeEnum::SortBy(item)) = item.node.as_mut()
            && let Some(by) = item.node.as_deref_mut()
        {
            *by = self.item(by)?;
        }
        Ok(item)
    }
}

/// A row without a type of its own cannot be handed over.
fn check(value: &Node, level: &Level<'_>) -> Result<(), RouterError> {
    match value.node.as_ref() {
        Some(NodeEnum::RowExpr(_)) => Err(unsupported::syntax_over_shards()),
        Some(NodeEnum::ColumnRef(column)) => level.check_column(column),
        _ => Ok(()),
    }
}

/// Which rows each shard sends: as many of its first as are asked for of all.
fn on_shards(pull: &mut SelectStmt) -> Result<(), RouterError> {
    let is_distinct_on = pull.distinct_clause.iter().any(|item| item.node.is_some());
    let first = first_rows(pull);
    pull.limit_offset = None;
    pull.limit_count = match &first {
        None => None,
        Some(first) => Some(Box::new(build::expression(first)?)),
    };
    if first.is_none() {
        pull.limit_option = LimitOption::Default as i32;
        if !is_distinct_on {
            pull.sort_clause.clear();
        }
    }
    Ok(())
}
