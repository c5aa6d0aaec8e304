//! Which columns of a table a statement can read: those whose names stand anywhere in it. More than is
//! needed costs bytes; fewer would be wrong, so names are taken by their looks.

use std::collections::HashSet;

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::levels;
use crate::error::RouterError;
use crate::plan::facts::{ColumnMention, Facts};
use crate::plan::survey::{Leaf, LeafId, LeafKind, Survey};
use crate::plan::unsupported;

/// Columns that no table has by its definition.
const SYSTEM: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// What the stars of a statement stand for.
#[derive(Debug, Default)]
pub(super) struct Stars {
    /// Byte offsets of the tables whose columns are all selected by a bare `*`.
    tables: HashSet<i32>,
    /// A bare `*` stands where it was not looked for: it may be any table's.
    unclear: bool,
}

impl Stars {
    pub fn of(statement: &NodeEnum, facts: &Facts) -> Self {
        let mut stars = Self::default();
        let mut found = 0;
        levels::each(statement, &mut |level| {
            let targets = level.select.map_or(&[][..], |select| &select.target_list);
            let bare = targets.iter().filter(|target| is_bare_star(target)).count();
            found += bare;
            if bare > 0 && !level.only_exists {
                level.from.iter().for_each(|item| stars.tables_of(item));
            }
        });
        let bare = |column: &&ColumnMention| column.is_star && column.parts.is_empty();
        stars.unclear = found != facts.columns.iter().filter(bare).count();
        stars
    }

    fn tables_of(&mut self, item: &Node) {
        match item.node.as_ref() {
            Some(NodeEnum::RangeVar(range)) => {
                self.tables.insert(range.location);
            }
            Some(NodeEnum::JoinExpr(join)) => {
                for side in [&join.larg, &join.rarg] {
                    side.iter().for_each(|side| self.tables_of(side));
                }
            }
            // Its own select list says which columns it needs.
            Some(NodeEnum::RangeSubselect(_) | NodeEnum::RangeFunction(_)) => {}
            _ => self.unclear = true,
        }
    }

    fn cover(&self, leaf: &Leaf) -> bool {
        let location = leaf
            .mention
            .and_then(|mention| i32::try_from(mention.location).ok());
        self.unclear || location.is_some_and(|at| self.tables.contains(&at))
    }
}

fn is_bare_star(target: &Node) -> bool {
    let value = match target.node.as_ref() {
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
        _ => None,
    };
    match value.and_then(|value| value.node.as_ref()) {
        Some(NodeEnum::ColumnRef(column)) => matches!(
            column.fields.as_slice(),
            [only] if matches!(only.node, Some(NodeEnum::AStar(_)))
        ),
        _ => false,
    }
}

/// Indexes into the leaf's columns.
pub(super) fn columns(survey: &Survey, leaf: LeafId, stars: &Stars) -> Vec<usize> {
    let facts = &survey.facts;
    let it = survey.leaf(leaf);
    let all = facts.has_natural_join
        || stars.cover(it)
        || facts.columns.iter().any(|column| names_all(it, column));
    let columns = it.columns.iter().flatten().enumerate();
    let is_named = |name: Option<&String>| name.is_some_and(|name| facts.name_parts.contains(name));
    columns
        .filter(|(_, column)| all || is_named(column.name.as_ref()))
        .map(|(index, _)| index)
        .collect()
}

/// `t.*`, or `t`, the row as a whole.
fn names_all(leaf: &Leaf, column: &ColumnMention) -> bool {
    match column.parts.as_slice() {
        [] => false,
        [.., name] if *name == leaf.name => column.is_star || column.parts.len() == 1,
        // The alias of a join may stand for any of its tables.
        _ => column.is_star && leaf.name.is_empty(),
    }
}

/// Refuses what rows lose when they are pulled: the columns that only a table has.
pub(super) fn check(survey: &Survey, pulled: &[LeafId]) -> Result<(), RouterError> {
    let facts: &Facts = &survey.facts;
    let is_own = |name: &str| {
        survey.leaves.iter().any(|leaf| {
            let mut columns = leaf.columns.iter().flatten();
            columns.any(|column| column.name.as_deref() == Some(name))
        })
    };
    for column in &facts.columns {
        if let Some(name) = column.parts.last()
            && SYSTEM.contains(&name.as_str())
            && !is_own(name)
        {
            return Err(unsupported::system_column(name));
        }
    }
    for leaf in pulled.iter().map(|leaf| survey.leaf(*leaf)) {
        let sampled = leaf
            .mention
            .is_none_or(|mention| mention.in_sample || mention.only);
        if sampled || !matches!(leaf.kind, LeafKind::Table { .. }) {
            return Err(unsupported::table_form_over_shards(&leaf.name));
        }
    }
    Ok(())
}
