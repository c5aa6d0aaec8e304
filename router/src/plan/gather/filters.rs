//! Conditions that a table's rows can be filtered by before they are pulled. They stay in the finishing
//! statement too, so a filter may only take away rows that could not matter there.
//!
//! A condition of WHERE may be pushed to tables that are on no nullable side of an outer join; one of ON to
//! the nullable side only (or both sides of an inner join).

use std::collections::{BTreeSet, HashMap};

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExpr, AExprKind, BoolExprType, JoinExpr, JoinType, Node, SelectStmt, SetOperation, SubLink,
    SubLinkType,
};

use super::levels::{self, Level};
use crate::plan::PlanContext;
use crate::plan::facts::Facts;
use crate::plan::scope::{self, string};
use crate::plan::survey::{LeafId, LeafKind, Survey, Term, walk};
use crate::plan::volatile;

/// The conditions of each table.
pub(super) type Filters = HashMap<LeafId, Vec<Node>>;

/// Rows of one table that matter have in one column a value that some row of the other has in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub narrowed: (LeafId, usize),
    pub by: (LeafId, usize),
}

/// Finds all filters and links of a statement.
pub(super) fn find(
    statement: &NodeEnum,
    survey: &Survey,
    context: &PlanContext<'_>,
) -> (Filters, Vec<Link>) {
    let by_location = survey
        .leaves
        .iter()
        .enumerate()
        .filter_map(|(index, leaf)| {
            let location = i32::try_from(leaf.mention?.location).ok()?;
            Some((location, LeafId(index)))
        });
    let mut finder = Finder {
        survey,
        context,
        by_location: by_location.collect(),
        filters: Filters::new(),
        links: Vec::new(),
    };
    levels::each(statement, &mut |level| finder.level(level));
    (finder.filters, finder.links)
}

struct Finder<'a> {
    survey: &'a Survey,
    context: &'a PlanContext<'a>,
    by_location: HashMap<i32, LeafId>,
    filters: Filters,
    links: Vec<Link>,
}

impl Finder<'_> {
    fn level(&mut self, level: &Level<'_>) {
        level
            .from
            .iter()
            .for_each(|item| self.conditions_of_joins(item));
        if let Some(filter) = level.filter {
            self.push(filter, &self.kept(level.from));
        }
    }

    fn conditions_of_joins(&mut self, item: &Node) {
        let Some(NodeEnum::JoinExpr(join)) = item.node.as_ref() else {
            return;
        };
        for side in [&join.larg, &join.rarg] {
            side.iter().for_each(|side| self.conditions_of_joins(side));
        }
        let (left, right) = self.sides(join);
        let to = match join.jointype() {
            JoinType::JoinInner => left.union(&right).copied().collect(),
            JoinType::JoinLeft => right,
            JoinType::JoinRight => left,
            _ => return,
        };
        if let Some(on) = join.quals.as_deref() {
            self.push(on, &to);
        }
    }

    /// The tables on no nullable side of a join.
    fn kept<'b>(&self, from: impl IntoIterator<Item = &'b Node>) -> BTreeSet<LeafId> {
        let items = from.into_iter().flat_map(|item| match item.node.as_ref() {
            Some(NodeEnum::RangeVar(range)) => self
                .by_location
                .get(&range.location)
                .copied()
                .into_iter()
                .collect(),
            Some(NodeEnum::JoinExpr(join)) => {
                let (left, right) = self.sides(join);
                match join.jointype() {
                    JoinType::JoinInner => left.union(&right).copied().collect(),
                    JoinType::JoinLeft => left,
                    JoinType::JoinRight => right,
                    _ => BTreeSet::new(),
                }
            }
            _ => BTreeSet::new(),
        });
        items.collect()
    }

    fn sides(&self, join: &JoinExpr) -> (BTreeSet<LeafId>, BTreeSet<LeafId>) {
        (
            self.kept(join.larg.as_deref()),
            self.kept(join.rarg.as_deref()),
        )
    }

    fn push(&mut self, condition: &Node, to: &BTreeSet<LeafId>) {
        if let Some(NodeEnum::BoolExpr(tests)) = condition.node.as_ref()
            && tests.boolop() == BoolExprType::AndExpr
        {
            return tests.args.iter().for_each(|test| self.push(test, to));
        }
        match condition.node.as_ref() {
            Some(NodeEnum::AExpr(test)) => self.link_columns(test, to),
            Some(NodeEnum::SubLink(link)) => self.link_subquery(link, to),
            _ => {}
        }
        if let Some(leaf) = self.only_leaf(condition).filter(|leaf| to.contains(leaf))
            && is_harmless(condition, self.context)
        {
            self.filters
                .entry(leaf)
                .or_default()
                .push(condition.clone());
        }
    }

    /// `a.x = b.y`
    fn link_columns(&mut self, test: &AExpr, to: &BTreeSet<LeafId>) {
        let is_equal = test.kind() == AExprKind::AexprOp && self.is_equal(&test.name);
        let sides = (test.lexpr.as_deref(), test.rexpr.as_deref());
        if let (true, (Some(left), Some(right))) = (is_equal, sides)
            && let (Some(left), Some(right)) = (self.column(left), self.column(right))
        {
            self.link(left, right, to);
            self.link(right, left, to);
        }
    }

    /// `a.x IN (SELECT b.y FROM ...)`
    fn link_subquery(&mut self, link: &SubLink, to: &BTreeSet<LeafId>) {
        let is_equal = link.oper_name.is_empty() || self.is_equal(&link.oper_name);
        let query = link
            .subselect
            .as_deref()
            .and_then(|query| query.node.as_ref());
        let Some(NodeEnum::SelectStmt(select)) = query else {
            return;
        };
        let outer = link.testexpr.as_deref().and_then(|test| self.column(test));
        let inner = only_target(select).and_then(|target| self.column(target));
        let (true, Some(outer), Some(inner)) = (is_equal, outer, inner) else {
            return;
        };
        if link.sub_link_type() != SubLinkType::AnySublink {
            return;
        }
        self.link(outer, inner, to);
        if gives_its_rows(select) {
            self.link(inner, outer, &self.kept(&select.from_clause));
        }
    }

    fn link(&mut self, narrowed: (LeafId, usize), by: (LeafId, usize), to: &BTreeSet<LeafId>) {
        let plain = |(leaf, column): (LeafId, usize)| match &self.survey.leaf(leaf).kind {
            // Collations of two kinds cannot be compared without saying which holds.
            LeafKind::Table { relation, .. } => relation
                .columns
                .get(column)
                .is_some_and(|column| column.collation.is_none()),
            _ => false,
        };
        if narrowed.0 != by.0 && to.contains(&narrowed.0) && plain(narrowed) && plain(by) {
            self.links.push(Link { narrowed, by });
        }
    }

    fn column(&self, node: &Node) -> Option<(LeafId, usize)> {
        match node.node.as_ref()? {
            NodeEnum::ColumnRef(column) => match self.survey.columns.get(&column.location)? {
                Term::Column(leaf, column) => Some((*leaf, *column)),
                Term::Value(_) => None,
            },
            _ => None,
        }
    }

    fn is_equal(&self, operator: &[Node]) -> bool {
        matches!(
            scope::qualified(operator),
            Some((None | Some("pg_catalog"), "="))
        ) && !self.context.snapshot.user_operators.contains("=")
    }

    /// The one table whose columns a condition names.
    fn only_leaf(&self, condition: &Node) -> Option<LeafId> {
        let mut leaves = BTreeSet::new();
        let mut clear = true;
        walk::descend(condition, &mut |inner| match inner {
            NodeEnum::SubLink(_) => clear = false,
            NodeEnum::ColumnRef(column) => match self.survey.columns.get(&column.location) {
                // With its schema it would not be found in the pull, whose table has an alias.
                // So it is with a name that a join's alias hides.
                Some(Term::Column(leaf, _))
                    if column.fields.len() < 3
                        && !(column.fields.len() == 2
                            && self.survey.leaf(*leaf).name.is_empty()) =>
                {
                    leaves.insert(*leaf);
                }
                _ => clear = false,
            },
            _ => {}
        });
        leaves.pop_first().filter(|_| clear && leaves.is_empty())
    }
}

/// The value of a select list of one column.
fn only_target(select: &SelectStmt) -> Option<&Node> {
    match select.target_list.as_slice() {
        [only] => match only.node.as_ref()? {
            NodeEnum::ResTarget(target) => target.val.as_deref(),
            _ => None,
        },
        _ => None,
    }
}

/// Which rows it gives does not depend on other rows.
fn gives_its_rows(select: &SelectStmt) -> bool {
    let plain = select.group_clause.is_empty()
        && select.having_clause.is_none()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select
            .distinct_clause
            .iter()
            .all(|node| node.node.is_none());
    plain && select.op() == SetOperation::SetopNone && select.values_lists.is_empty()
}

/// It may be computed on any shard and more than once.
pub(super) fn is_harmless(condition: &Node, context: &PlanContext<'_>) -> bool {
    let facts = Facts::of(condition);
    let users = |name: &str| context.snapshot.functions.get(name);
    let functions = facts.functions.iter().all(|call| {
        let own = users(&call.name).is_none_or(|known| known.iter().all(|it| it.volatility == 'i'));
        let built_in = call.built_in_name();
        let harmless = built_in.is_none_or(|name| !volatile::is_volatile(name) || is_clock(name));
        let known = built_in.is_some() || users(&call.name).is_some();
        own && harmless && known
    });
    let mut operators = true;
    walk::descend(condition, &mut |inner| {
        if let NodeEnum::AExpr(it) = inner {
            let name = it.name.last().and_then(string).unwrap_or_default();
            operators &= !context.snapshot.user_operators.contains(name);
        }
        if let NodeEnum::FuncCall(call) = inner {
            operators &= call.over.is_none() && scope::function_name(call).is_some();
        }
    });
    functions && operators && !facts.strings.iter().any(|text| volatile::names_clock(text))
}

/// Functions that give the transaction's start.
fn is_clock(name: &str) -> bool {
    matches!(name, "now" | "transaction_timestamp")
}
