//! One query level as the planner of combined statements sees it: its select list without stars, and when two of its
//! expressions are the same.

use std::collections::HashMap;

use pg_query::NodeEnum;
use pg_query::protobuf::{CoercionForm, ColumnRef, Node, SelectStmt, a_const};

use super::{build, collation};
use crate::error::RouterError;
use crate::plan::functions;
use crate::plan::gather::change;
use crate::plan::gather::print::shown;
use crate::plan::gather::tree;
use crate::plan::scatter::Anchored;
use crate::plan::scope::string;
use crate::plan::survey::{Join, LeafId, LeafKind, Term, derived_name, is_star};
use crate::plan::unsupported;

/// Locations of columns that a star stood for are below this.
const FIRST_OF_STARS: i32 = -1_000;

pub struct Level<'a> {
    pub anchored: &'a Anchored<'a>,
    /// The statement, with stars in the select list written out.
    pub select: SelectStmt,
    stars: HashMap<i32, Term>,
    pub leaves: Vec<LeafId>,
    /// Every collation is that of the type.
    pub is_plain: bool,
}

impl<'a> Level<'a> {
    /// # Errors
    /// A star that cannot be written out.
    pub fn of(select: &SelectStmt, anchored: &'a Anchored<'a>) -> Result<Self, RouterError> {
        let mut leaves = Vec::new();
        anchored
            .rows
            .from
            .iter()
            .for_each(|from| collect(from, &mut leaves));
        let mut level = Self {
            anchored,
            select: select.clone(),
            stars: HashMap::new(),
            leaves,
            is_plain: collation::is_plain(
                anchored.survey,
                &NodeEnum::SelectStmt(Box::new(select.clone())),
            ),
        };
        let targets = std::mem::take(&mut level.select.target_list);
        for target in targets {
            level.add_target(target)?;
        }
        Ok(level)
    }

    fn add_target(&mut self, target: Node) -> Result<(), RouterError> {
        let star = match value(&target).and_then(|value| value.node.as_ref()) {
            Some(NodeEnum::ColumnRef(column)) if is_star(column) => column.clone(),
            _ => {
                self.select.target_list.push(target);
                return Ok(());
            }
        };
        for (leaf, index) in self
            .columns_of(&star)
            .ok_or_else(unsupported::star_over_shards)?
        {
            let column = self.column(leaf, index)?;
            self.select.target_list.push(tree::target(column, ""));
        }
        Ok(())
    }

    /// What a star stands for.
    fn columns_of(&self, star: &ColumnRef) -> Option<Vec<(LeafId, usize)>> {
        // The survey knows whether columns are merged, and then gives no outputs.
        self.anchored.outputs()?;
        let survey = self.anchored.survey;
        let named = match star.fields.as_slice() {
            [_] => None,
            [relation, _] | [_, relation, _] => Some(string(relation)?),
            _ => return None,
        };
        let mut columns = Vec::new();
        for &id in &self.leaves {
            let leaf = survey.leaf(id);
            if named.is_none_or(|name| name == leaf.name) {
                columns.extend((0..leaf.columns.as_ref()?.len()).map(|index| (id, index)));
            }
        }
        Some(columns)
    }

    /// A reference to a column of a leaf.
    fn column(&mut self, leaf: LeafId, index: usize) -> Result<Node, RouterError> {
        let refuse = unsupported::star_over_shards;
        let survey = self.anchored.survey;
        let relation = &survey.leaf(leaf).name;
        let same_name = |other: &&LeafId| survey.leaf(**other).name == *relation;
        if relation.is_empty() || self.leaves.iter().filter(same_name).count() != 1 {
            return Err(refuse());
        }
        let name = survey
            .column(leaf, index)
            .and_then(|column| column.name.as_deref());
        // A statement has fewer columns than that.
        let location = FIRST_OF_STARS - i32::try_from(self.stars.len()).unwrap_or(i32::MAX / 2);
        self.stars.insert(location, Term::Column(leaf, index));
        Ok(build::column_at(
            relation,
            name.ok_or_else(refuse)?,
            location,
        ))
    }

    /// One group of all rows, and nothing that asks about them: PostgreSQL does not even look whether there are
    /// any, so that no error of WHERE comes up.
    pub fn reads_nothing(&self) -> bool {
        let select = &self.select;
        let groups = leaves_of(&select.group_clause);
        (select.having_clause.is_some() || !select.group_clause.is_empty())
            && groups.iter().all(|item| item.node.is_none())
            && !functions::has_aggregate(select, self.anchored.context)
    }

    /// Rows are grouped in several ways.
    pub fn has_sets(&self) -> bool {
        let mut items = self.select.group_clause.iter();
        items.any(|item| matches!(item.node, Some(NodeEnum::GroupingSet(_))))
    }

    pub fn targets(&self) -> impl Iterator<Item = (&Node, &str)> {
        self.select
            .target_list
            .iter()
            .filter_map(|node| match node.node.as_ref()? {
                NodeEnum::ResTarget(target) => Some((target.val.as_deref()?, target.name.as_str())),
                _ => None,
            })
    }

    pub fn term(&self, column: &ColumnRef) -> Option<Term> {
        self.stars
            .get(&column.location)
            .or_else(|| self.anchored.survey.columns.get(&column.location))
            .copied()
    }

    /// Equal for expressions that are the same, whatever their columns are qualified with.
    pub fn identity(&self, expression: &Node) -> String {
        let mut expression = expression.clone();
        change::everything(&mut expression, &mut |inner| {
            if let Some(NodeEnum::ColumnRef(column)) = inner.node.as_mut()
                && let Some(Term::Column(leaf, index)) = self.term(column)
            {
                column.fields = vec![tree::string(&format!("{}.{index}", leaf.0))];
            }
        });
        expression.node.as_ref().map_or_else(String::new, shown)
    }

    /// The output column (0-based) that an item of ORDER BY or DISTINCT ON means: by number, by name, or by being
    /// the same expression.
    pub fn output(&self, item: &Node) -> Result<Option<usize>, RouterError> {
        if let Some(position) = position(item) {
            return Ok(Some(position));
        }
        if let Some(name) = bare_name(item)
            && let Some(position) = self.named(name)?
        {
            return Ok(Some(position));
        }
        let wanted = self.identity(item);
        Ok(self
            .targets()
            .position(|(value, _)| self.identity(value) == wanted))
    }

    /// The first output column of that name.
    fn named(&self, wanted: &str) -> Result<Option<usize>, RouterError> {
        let mut found = None;
        for (index, (value, name)) in self.targets().enumerate() {
            let name = match name {
                "" => derived_name(value).ok_or_else(unsupported::name_over_shards)?,
                name => name.to_owned(),
            };
            if found.is_none() && name == wanted {
                found = Some(index);
            }
        }
        Ok(found)
    }

    /// The expression that an item of GROUP BY means: a bare name is first an input column's.
    pub fn grouping<'b>(&'b self, item: &'b Node) -> Result<&'b Node, RouterError> {
        let target = |index| self.targets().nth(index).map(|(value, _)| value);
        if let Some(position) = position(item) {
            return target(position).ok_or_else(unsupported::name_over_shards);
        }
        let (Some(name), Some(NodeEnum::ColumnRef(column))) = (bare_name(item), item.node.as_ref())
        else {
            return Ok(item);
        };
        if self.term(column).is_some() {
            return Ok(item);
        }
        match self.named(name)?.and_then(target) {
            Some(value) if self.identity(value) != self.identity(item) => {
                // It may be a column of a function in FROM.
                if self.has_unknown_columns() {
                    return Err(unsupported::name_over_shards());
                }
                Ok(value)
            }
            _ => Ok(item),
        }
    }

    fn has_unknown_columns(&self) -> bool {
        let survey = self.anchored.survey;
        let unknown = |leaf: &LeafId| match &survey.leaf(*leaf).columns {
            None => true,
            Some(columns) => columns.iter().any(|column| column.name.is_none()),
        };
        self.leaves.iter().any(unknown)
            || self.anchored.rows.from.as_ref().is_some_and(has_full_join)
    }

    /// # Errors
    /// A column that cannot be handed over: a row without a type of its own, an object's number.
    pub fn check_column(&self, column: &ColumnRef) -> Result<(), RouterError> {
        let is_table = |kind: &LeafKind| matches!(kind, LeafKind::Table { .. });
        let is_record = self.whole_row(column).is_some_and(|kind| !is_table(kind));
        // Object numbers differ from shard to shard.
        let is_number = column.fields.last().and_then(string) == Some("tableoid");
        if is_star(column) || is_record || is_number {
            return Err(unsupported::star_over_shards());
        }
        Ok(())
    }

    /// Whether a name stands for all columns of a FROM item.
    fn whole_row(&self, column: &ColumnRef) -> Option<&LeafKind> {
        let [name] = column.fields.as_slice() else {
            return None;
        };
        let name = string(name).filter(|_| self.term(column).is_none())?;
        let survey = self.anchored.survey;
        self.leaves
            .iter()
            .map(|leaf| survey.leaf(*leaf))
            .find(|leaf| leaf.name == name)
            .map(|leaf| &leaf.kind)
    }
}

/// The expression of an item of a select list.
pub fn value(target: &Node) -> Option<&Node> {
    match target.node.as_ref()? {
        NodeEnum::ResTarget(target) => target.val.as_deref(),
        _ => None,
    }
}

/// The items of GROUP BY without the sets they stand in; `(a, b)` is two.
pub fn leaves_of(items: &[Node]) -> Vec<&Node> {
    items
        .iter()
        .flat_map(|item| match item.node.as_ref() {
            Some(NodeEnum::GroupingSet(set)) => leaves_of(&set.content),
            Some(NodeEnum::RowExpr(row))
                if row.row_format() == CoercionForm::CoerceImplicitCast =>
            {
                leaves_of(&row.args)
            }
            _ => vec![item],
        })
        .collect()
}

fn collect(join: &Join, leaves: &mut Vec<LeafId>) {
    match join {
        Join::Leaf { leaf, .. } => leaves.push(*leaf),
        Join::Inner { left, right, .. } | Join::Full { left, right, .. } => {
            collect(left, leaves);
            collect(right, leaves);
        }
        Join::Outer { kept, nullable, .. } => {
            collect(kept, leaves);
            collect(nullable, leaves);
        }
    }
    leaves.sort_unstable();
}

fn has_full_join(join: &Join) -> bool {
    match join {
        Join::Leaf { .. } => false,
        Join::Full { .. } => true,
        Join::Inner { left, right, .. } => has_full_join(left) || has_full_join(right),
        Join::Outer { kept, nullable, .. } => has_full_join(kept) || has_full_join(nullable),
    }
}

fn bare_name(item: &Node) -> Option<&str> {
    match item.node.as_ref()? {
        NodeEnum::ColumnRef(column) => match column.fields.as_slice() {
            [name] => string(name),
            _ => None,
        },
        _ => None,
    }
}

/// The 0-based index that a bare number means.
fn position(item: &Node) -> Option<usize> {
    match item.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            a_const::Val::Ival(number) => usize::try_from(number.ival).ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    }
}
