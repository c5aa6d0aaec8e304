//! Expressions of a query level to expressions over pulled rows. What of an expression is computed on the shards,
//! and what in the finishing statement, is decided here, atom by atom.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node};

use super::build;
use super::collation::{self, Collation};
use super::finals::{self, call_node};
use super::level::{Level, leaves_of};
use super::pulled::Pulled;
use crate::error::RouterError;
use crate::plan::gather::change;
use crate::plan::scope::string;
use crate::plan::survey::walk;
use crate::plan::{functions, unsupported};

/// Where aggregates are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregates {
    /// On the shards, each of which has whole groups.
    Whole,
    /// In two steps.
    Partial,
    /// In the finishing statement, over plain rows.
    Kept,
}

/// A grouping expression and the pulled column that it is.
#[derive(Debug)]
pub struct Group {
    identity: String,
    pub column: usize,
    collation: Collation,
    /// A constant is not looked for in other expressions: its type there may be another.
    is_constant: bool,
}

pub struct Finisher<'a> {
    pub level: &'a Level<'a>,
    pub pulled: Pulled,
    pub groups: Vec<Group>,
    aggregates: Aggregates,
    /// Rows are grouped, so that a column outside aggregates is one of the group's.
    is_grouped: bool,
    /// Columns that the groups' columns decide (those of a primary key's table).
    pub dependents: Vec<usize>,
    /// Arguments of DISTINCT aggregates: the shards group by them too.
    pub distinct: Vec<usize>,
    inside_aggregate: bool,
}

impl<'a> Finisher<'a> {
    pub fn new(level: &'a Level<'a>, aggregates: Aggregates) -> Result<Self, RouterError> {
        let mut finisher = Self {
            level,
            pulled: Pulled::default(),
            groups: Vec::new(),
            aggregates,
            is_grouped: level.anchored.rows.grouped.is_some(),
            dependents: Vec::new(),
            distinct: Vec::new(),
            inside_aggregate: false,
        };
        for item in leaves_of(&level.select.group_clause) {
            finisher.add_group(item)?;
        }
        Ok(finisher)
    }

    fn add_group(&mut self, item: &Node) -> Result<(), RouterError> {
        let level = self.level;
        // GROUP BY ().
        if item.node.is_none() {
            return Ok(());
        }
        let value = level.grouping(item)?;
        let identity = level.identity(value);
        if self.groups.iter().any(|group| group.identity == identity) {
            return Ok(());
        }
        let is_constant = matches!(
            value.node,
            Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_))
        );
        // In the other sets a constant of the select list is NULL where it is the one that is grouped by, and no
        // other: which of them the finishing statement could not tell.
        if level.has_sets() && !has_column(value) {
            return Err(unsupported::syntax_over_shards());
        }
        // Not all of the sets together can be sorted, or hashed, as each of them can.
        if level.has_sets() && self.aggregates == Aggregates::Partial && !has_order(value, level) {
            return Err(unsupported::syntax_over_shards());
        }
        refuse_record(value)?;
        let collation = collation::of(value, level)?;
        let column = self.pulled.add(value.clone(), &collation, level);
        self.groups.push(Group {
            identity,
            column,
            collation,
            is_constant,
        });
        Ok(())
    }

    /// The grouping expression that an item of GROUP BY means, over pulled rows.
    pub fn group_item(&self, item: &Node) -> Result<Node, RouterError> {
        let identity = self.level.identity(self.level.grouping(item)?);
        let mut groups = self.groups.iter();
        groups
            .find(|group| group.identity == identity)
            .map(|group| self.reference(group.column, &group.collation))
            .ok_or_else(unsupported::name_over_shards)
    }

    /// # Errors
    /// What cannot be told apart into shards' work and the finishing statement's.
    pub fn expression(&mut self, node: &Node) -> Result<Node, RouterError> {
        let Some(inner) = node.node.as_ref() else {
            return Ok(node.clone());
        };
        if let Some(group) = self.as_group(node) {
            return Ok(group);
        }
        match inner {
            NodeEnum::ColumnRef(column) => {
                self.level.check_column(column)?;
                self.column(node)
            }
            NodeEnum::SubLink(link) => {
                self.check_test(link.testexpr.as_deref())?;
                self.column(node)
            }
            NodeEnum::FuncCall(call)
                if !self.inside_aggregate
                    && functions::is_aggregate(call, self.level.anchored.context) =>
            {
                self.aggregate(call)
            }
            _ => self.below(node),
        }
    }

    /// The children, each rewritten.
    fn below(&mut self, node: &Node) -> Result<Node, RouterError> {
        let mut changed = node.clone();
        let Some(inner) = changed.node.as_mut().filter(|inner| change::knows(inner)) else {
            return Err(unsupported::syntax_over_shards());
        };
        let mut failed = None;
        change::children(inner, &mut |child| match self.expression(child) {
            Ok(rewritten) => *child = rewritten,
            Err(error) => failed = Some(error),
        });
        failed.map_or(Ok(changed), Err)
    }

    fn as_group(&self, node: &Node) -> Option<Node> {
        if self.groups.is_empty() {
            return None;
        }
        let identity = self.level.identity(node);
        self.groups
            .iter()
            .find(|group| !group.is_constant && group.identity == identity)
            .map(|group| self.reference(group.column, &group.collation))
    }

    /// A pulled column as an expression.
    pub fn reference(&self, column: usize, collation: &Collation) -> Node {
        match collation {
            Collation::Written(name) => build::collated(build::pulled(column), name),
            _ => build::pulled(column),
        }
    }

    /// What a subquery's rows are compared with may not be an aggregate: no shard alone knows it.
    fn check_test(&self, test: Option<&Node>) -> Result<(), RouterError> {
        let mut aggregated = false;
        if let Some(test) = test.filter(|_| !self.inside_aggregate) {
            let context = self.level.anchored.context;
            functions::aggregates_in(test, context, &mut |_| aggregated = true);
        }
        match aggregated {
            true => Err(unsupported::aggregate_over_shards()),
            false => Ok(()),
        }
    }

    /// A column of the level, or a subquery, as it is on the shards.
    fn column(&mut self, node: &Node) -> Result<Node, RouterError> {
        let collation = collation::of(node, self.level)?;
        let column = self.pulled.add(node.clone(), &collation, self.level);
        let depends =
            self.is_grouped && !self.inside_aggregate && self.aggregates != Aggregates::Whole;
        if depends && self.groups.is_empty() {
            return Err(unsupported::syntax_over_shards());
        }
        // What a subquery takes from a group is NULL in the sets without it, and no further group keeps the empty set's row.
        if depends && self.level.has_sets() && matches!(node.node, Some(NodeEnum::SubLink(_))) {
            return Err(unsupported::syntax_over_shards());
        }
        if depends && !has_equality(node, self.level) {
            return build::expression(&format!(
                "(pg_catalog.array_agg({}))[1]",
                build::pulled_sql(column)
            ));
        }
        if depends && !self.dependents.contains(&column) {
            self.dependents.push(column);
        }
        Ok(self.reference(column, &collation))
    }

    fn aggregate(&mut self, call: &FuncCall) -> Result<Node, RouterError> {
        match self.aggregates {
            Aggregates::Whole => {
                let value = call_node(call.clone());
                let collation = match is_count(call) {
                    true => Collation::Own,
                    false => self.collation_of_result(call)?,
                };
                let column = self.pull_collated(value, &collation);
                Ok(self.reference(column, &collation))
            }
            Aggregates::Kept => self.kept(call),
            Aggregates::Partial => match finals::plan(call, self)? {
                Some(last) => Ok(last),
                None if call.agg_distinct && !call.agg_within_group => self.distinct(call),
                None => Err(unsupported::aggregate_over_shards()),
            },
        }
    }

    /// That of an aggregate's arguments is that of its result.
    fn collation_of_result(&self, call: &FuncCall) -> Result<Collation, RouterError> {
        let mut found = Collation::Own;
        for argument in &call.args {
            match collation::of(argument, self.level)? {
                Collation::Own => {}
                other if call.args.len() == 1 => found = other,
                _ => return Err(unsupported::collation_over_shards()),
            }
        }
        Ok(found)
    }

    fn kept(&mut self, call: &FuncCall) -> Result<Node, RouterError> {
        self.inside_aggregate = true;
        let kept = self.below(&call_node(call.clone()));
        self.inside_aggregate = false;
        kept
    }

    /// The same aggregate over the shards' groups, which have each argument apart.
    fn distinct(&mut self, call: &FuncCall) -> Result<Node, RouterError> {
        let mut last = call.clone();
        let arguments = last.args.iter_mut();
        for argument in arguments.chain(last.agg_filter.as_deref_mut()) {
            *argument = self.apart(argument)?;
        }
        for item in &mut last.agg_order {
            if let Some(NodeEnum::SortBy(item)) = item.node.as_mut()
                && let Some(by) = item.node.as_deref_mut()
            {
                *by = self.apart(by)?;
            }
        }
        Ok(call_node(last))
    }

    fn apart(&mut self, value: &Node) -> Result<Node, RouterError> {
        if matches!(
            value.node,
            Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_))
        ) {
            // Without another argument or a group, a shard without rows would count as one with the constant.
            return match self.distinct.is_empty() && self.groups.is_empty() {
                true => Err(unsupported::aggregate_over_shards()),
                false => Ok(value.clone()),
            };
        }
        if let Some(NodeEnum::ColumnRef(column)) = value.node.as_ref() {
            self.level.check_column(column)?;
        }
        refuse_record(value)?;
        let collation = collation::of(value, self.level)?;
        let column = self.pulled.add(value.clone(), &collation, self.level);
        let known = self.distinct.contains(&column)
            || self.groups.iter().any(|group| group.column == column);
        if !known {
            self.distinct.push(column);
        }
        Ok(self.reference(column, &collation))
    }

    /// A partial result that has no collation.
    pub fn pull_call(&mut self, call: FuncCall) -> Result<usize, RouterError> {
        Ok(self.pull_collated(call_node(call), &Collation::Own))
    }

    pub fn pull_collated(&mut self, value: Node, collation: &Collation) -> usize {
        self.pulled.add(value, collation, self.level)
    }
}

fn is_count(call: &FuncCall) -> bool {
    call.funcname.last().and_then(string) == Some("count")
}

/// A row without a type of its own cannot be handed over.
fn refuse_record(value: &Node) -> Result<(), RouterError> {
    match value.node.as_ref() {
        Some(NodeEnum::RowExpr(_)) => Err(unsupported::syntax_over_shards()),
        _ => Ok(()),
    }
}

/// Whether there is a GROUP BY for values of this type: there is none for json, xml, point, lseg, path, box, polygon,
/// line and circle.
fn has_equality(value: &Node, level: &Level<'_>) -> bool {
    let Some(NodeEnum::ColumnRef(column)) = value.node.as_ref() else {
        return true;
    };
    let term = level.term(column);
    let oid = term.and_then(|term| collation::type_of(level.anchored.survey, term));
    !matches!(oid, Some(114 | 142 | 600..=604 | 628 | 718))
}

fn has_column(value: &Node) -> bool {
    let mut found = false;
    walk::descend(value, &mut |inner| {
        found |= matches!(inner, NodeEnum::ColumnRef(_))
    });
    found
}

/// Whether values of this type can be sorted: those of xid, cid and aclitem, and of arrays of them, cannot.
fn has_order(value: &Node, level: &Level<'_>) -> bool {
    match value.node.as_ref() {
        Some(NodeEnum::ColumnRef(column)) => {
            let term = level.term(column);
            let oid = term.and_then(|term| collation::type_of(level.anchored.survey, term));
            !matches!(oid, Some(28 | 29 | 1011 | 1012 | 1033 | 1034))
        }
        Some(NodeEnum::TypeCast(cast)) => {
            let names = cast.type_name.iter().flat_map(|of| of.names.last());
            let mut names = names.filter_map(string);
            !names.any(|name| ["xid", "cid", "aclitem"].contains(&name))
        }
        _ => true,
    }
}
