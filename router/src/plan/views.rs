//! Views over sharded tables: a statement is planned as if the view's query stood in place of its name.
//!
//! Takes a parse tree and the catalog snapshot; gives the tree with the views' queries in it. The client's text stays
//! what it is, and is what is sent to a shard, where the view is. So whatever comes from a view's query has a
//! `location` behind the end of that text, and none that anything else has.
//!
//! Must never know: keys, shards, how the rows are put together.

mod children;
mod target;

use std::sync::Arc;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    Alias, CommonTableExpr, Node, RangeSubselect, RangeVar, SelectStmt, String as Name, WithClause,
};
use schema::{Placement, Relation, RelationKind};

use super::facts::Facts;
use super::gather::print;
use super::scope::{self, Found};
use super::{Action, Fallback, Plan, PlanContext, Scatter, Split, unsupported};
use crate::error::RouterError;
use crate::parse::{self, Statement};
use children::children;
pub(super) use target::columns_behind;

/// Bytes of all view texts that one statement may be expanded by.
const MOST_TEXT: usize = 1 << 20;

/// A statement with the queries of the views that it reads.
#[derive(Debug)]
pub struct Expanded {
    pub node: NodeEnum,
    views: Vec<Arc<Relation>>,
    /// The view that is written through: only the client's own text does that.
    writes_through: Option<String>,
}

/// `node` with every view over sharded tables that it reads replaced by the view's query. `None`: it reads none.
///
/// # Errors
/// 0A000 where the view's query cannot stand there.
pub fn expand(
    statement: &Statement,
    node: &NodeEnum,
    context: &PlanContext<'_>,
) -> Result<Option<Expanded>, RouterError> {
    if !may_read(node) || !any_over_sharded(context) {
        return Ok(None);
    }
    let mut expansion = Expansion {
        context,
        next_location: statement.text.len() + 1,
        common_tables: Vec::new(),
        views: Vec::new(),
        writes_through: None,
    };
    let mut node = node.clone();
    expansion.statement(&mut node)?;
    let found = !expansion.views.is_empty() || expansion.writes_through.is_some();
    Ok(found.then_some(Expanded {
        node,
        views: expansion.views,
        writes_through: expansion.writes_through,
    }))
}

/// Statements whose tables are looked at row by row.
fn may_read(node: &NodeEnum) -> bool {
    match node {
        NodeEnum::SelectStmt(select) => select.into_clause.is_none(),
        NodeEnum::InsertStmt(_)
        | NodeEnum::UpdateStmt(_)
        | NodeEnum::DeleteStmt(_)
        | NodeEnum::MergeStmt(_) => true,
        _ => false,
    }
}

impl Expanded {
    /// The statement as its author would have had to write it without the views.
    ///
    /// # Errors
    /// 0A000 where that cannot be printed with certainty.
    pub fn written_out(&self) -> Result<Statement, RouterError> {
        let text = print::text(&self.node)?;
        parse::parse(&text)?
            .pop()
            .ok_or_else(unsupported::rewrite_not_possible)
    }

    /// The view that the statement writes through.
    pub fn target(&self) -> Option<&str> {
        self.writes_through.as_deref()
    }

    /// `plan`, which reads the views' tables in place of the views, unless only PostgreSQL may decide which of their
    /// rows are seen.
    pub fn checked(&self, plan: Plan, context: &PlanContext<'_>) -> Plan {
        let guarded = |view: &&Arc<Relation>| is_guarded(view, context);
        match self.views.iter().find(guarded) {
            Some(view) => Plan::refused(unsupported::view_guarded(&view.name)),
            None => plan,
        }
    }
}

/// Whether every shard is sent the statement as the client wrote it.
pub fn sends_own_text(action: &Action) -> bool {
    let own = |scatter: &Scatter| scatter.text.is_none();
    match action {
        Action::ByKey(by_key) => {
            by_key.rewrite.is_none()
                && match &by_key.fallback {
                    Fallback::Scatter(scatter) => own(scatter),
                    Fallback::Refuse(_) => true,
                }
        }
        Action::Scatter(scatter)
        | Action::Split(Split::Keys { scatter, .. } | Split::KeyArray { scatter, .. }) => {
            own(scatter)
        }
        _ => false,
    }
}

/// Whether the view sees other rows than its text run by the client: by row security of its owner's, or because
/// nothing may look at a row before the view's own conditions have.
fn is_guarded(view: &Relation, context: &PlanContext<'_>) -> bool {
    view.view.as_ref().is_none_or(|own| {
        own.security_barrier
            || !own.security_invoker && reads(view, context).any(|read| read.has_row_security)
    })
}

/// The relations that a view reads, through other views too.
fn reads<'a>(
    view: &'a Relation,
    context: &'a PlanContext<'_>,
) -> impl Iterator<Item = &'a Arc<Relation>> {
    view.reads
        .iter()
        .filter_map(|(schema, name)| context.snapshot.relations.get(schema)?.get(name))
}

fn any_over_sharded(context: &PlanContext<'_>) -> bool {
    let mut relations = context.snapshot.relations.values().flatten();
    relations.any(|(_, relation)| is_over_sharded(relation, context))
}

/// Whether `relation` is a view (not a materialised one) that reads a sharded table.
pub fn is_over_sharded(relation: &Relation, context: &PlanContext<'_>) -> bool {
    relation.kind == RelationKind::View
        && reads(relation, context)
            .any(|read| matches!(scope::placement(read, context), Placement::Sharded { .. }))
}

struct Expansion<'a> {
    context: &'a PlanContext<'a>,
    /// Where the next view's text starts, as far as locations go.
    next_location: usize,
    /// Names of WITH queries in scope.
    common_tables: Vec<String>,
    /// Those found, each as often as it is.
    views: Vec<Arc<Relation>>,
    writes_through: Option<String>,
}

type Done = Result<(), RouterError>;

impl Expansion<'_> {
    fn statement(&mut self, node: &mut NodeEnum) -> Done {
        match node {
            NodeEnum::SelectStmt(select) => self.select(select),
            NodeEnum::InsertStmt(insert) => {
                let outer = self.with(insert.with_clause.as_mut())?;
                self.maybe(insert.select_stmt.as_deref_mut())?;
                self.below(node)?;
                self.common_tables.truncate(outer);
                Ok(())
            }
            NodeEnum::UpdateStmt(update) => {
                let outer = self.with(update.with_clause.as_mut())?;
                self.target(update.relation.as_mut())?;
                self.items_of_from(&mut update.from_clause)?;
                self.below(node)?;
                self.common_tables.truncate(outer);
                Ok(())
            }
            NodeEnum::DeleteStmt(delete) => {
                let outer = self.with(delete.with_clause.as_mut())?;
                self.target(delete.relation.as_mut())?;
                self.items_of_from(&mut delete.using_clause)?;
                self.below(node)?;
                self.common_tables.truncate(outer);
                Ok(())
            }
            NodeEnum::MergeStmt(merge) => {
                let outer = self.with(merge.with_clause.as_mut())?;
                if let Some(source) = merge.source_relation.as_deref_mut() {
                    self.item_of_from(source)?;
                }
                self.below(node)?;
                self.common_tables.truncate(outer);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What UPDATE or DELETE writes.
    fn target(&mut self, range: Option<&mut RangeVar>) -> Done {
        let Some(range) = range else { return Ok(()) };
        if let Found::Relation(view) = scope::find(range, self.context)
            && is_over_sharded(&view, self.context)
        {
            *range = target::table(range, &view, self.context)?;
            self.writes_through = Some(view.name.clone());
        }
        Ok(())
    }

    fn select(&mut self, select: &mut SelectStmt) -> Done {
        let outer = self.with(select.with_clause.as_mut())?;
        for side in [&mut select.larg, &mut select.rarg].into_iter().flatten() {
            self.select(side)?;
        }
        self.items_of_from(&mut select.from_clause)?;
        let lists = [
            &mut select.target_list,
            &mut select.distinct_clause,
            &mut select.group_clause,
            &mut select.window_clause,
            &mut select.sort_clause,
            &mut select.values_lists,
        ];
        for node in lists.into_iter().flatten() {
            self.node(node)?;
        }
        let clauses = [
            &mut select.where_clause,
            &mut select.having_clause,
            &mut select.limit_count,
            &mut select.limit_offset,
        ];
        for clause in clauses {
            self.maybe(clause.as_deref_mut())?;
        }
        self.common_tables.truncate(outer);
        Ok(())
    }

    /// WITH queries see those before them; those of a recursive WITH see all. Gives what was in scope before.
    fn with(&mut self, with: Option<&mut WithClause>) -> Result<usize, RouterError> {
        let outer = self.common_tables.len();
        let Some(with) = with else { return Ok(outer) };
        let recursive = with.recursive;
        let mut tables: Vec<&mut CommonTableExpr> =
            with.ctes.iter_mut().filter_map(common_table).collect();
        if recursive {
            self.common_tables
                .extend(tables.iter().map(|table| table.ctename.clone()));
        }
        for table in &mut tables {
            self.maybe(table.ctequery.as_deref_mut())?;
            if !recursive {
                self.common_tables.push(table.ctename.clone());
            }
        }
        Ok(outer)
    }

    fn maybe(&mut self, node: Option<&mut Node>) -> Done {
        node.map_or(Ok(()), |node| self.node(node))
    }

    /// An expression, or a whole query.
    fn node(&mut self, node: &mut Node) -> Done {
        match node.node.as_mut() {
            None => Ok(()),
            Some(NodeEnum::SubLink(link)) => {
                self.maybe(link.testexpr.as_deref_mut())?;
                self.maybe(link.subselect.as_deref_mut())
            }
            Some(
                inner @ (NodeEnum::SelectStmt(_)
                | NodeEnum::InsertStmt(_)
                | NodeEnum::UpdateStmt(_)
                | NodeEnum::DeleteStmt(_)
                | NodeEnum::MergeStmt(_)),
            ) => self.statement(inner),
            Some(inner) => self.below(inner),
        }
    }

    fn below(&mut self, node: &mut NodeEnum) -> Done {
        let mut result = Ok(());
        children(node, &mut |child| {
            if result.is_ok() {
                result = self.node(child);
            }
        });
        result
    }

    fn items_of_from(&mut self, items: &mut [Node]) -> Done {
        items
            .iter_mut()
            .try_for_each(|item| self.item_of_from(item))
    }

    fn item_of_from(&mut self, item: &mut Node) -> Done {
        match item.node.as_mut() {
            Some(NodeEnum::RangeVar(range)) => {
                if let Some(query) = self.query_of(range)? {
                    item.node = Some(NodeEnum::RangeSubselect(Box::new(query)));
                }
                Ok(())
            }
            Some(NodeEnum::RangeSubselect(select)) => self.maybe(select.subquery.as_deref_mut()),
            Some(NodeEnum::JoinExpr(join)) => {
                for side in [&mut join.larg, &mut join.rarg].into_iter().flatten() {
                    self.item_of_from(side)?;
                }
                self.maybe(join.quals.as_deref_mut())
            }
            // TABLESAMPLE takes no view.
            Some(NodeEnum::RangeTableSample(_)) | None => Ok(()),
            Some(other) => self.below(other),
        }
    }

    /// What a name in FROM stands for, where it is a view over sharded tables.
    fn query_of(&mut self, range: &RangeVar) -> Result<Option<RangeSubselect>, RouterError> {
        if range.schemaname.is_empty() && self.common_tables.contains(&range.relname) {
            return Ok(None);
        }
        let Found::Relation(relation) = scope::find(range, self.context) else {
            return Ok(None);
        };
        if !is_over_sharded(&relation, self.context) {
            return Ok(None);
        }
        let mut query = self.definition(&relation)?;
        let alias = alias(range, &relation);
        self.views.push(relation);
        // The names in it are not those of WITH queries around it.
        let outer = std::mem::take(&mut self.common_tables);
        self.statement(&mut query)?;
        self.common_tables = outer;
        Ok(Some(RangeSubselect {
            lateral: false,
            subquery: Some(Box::new(Node { node: Some(query) })),
            alias: Some(alias),
        }))
    }

    fn definition(&mut self, view: &Relation) -> Result<NodeEnum, RouterError> {
        let refused = || unsupported::view_over_sharded(&view.name);
        let text = &view.view.as_ref().ok_or_else(refused)?.definition;
        let start = self.next_location;
        self.next_location += text.len() + 1;
        if self.next_location > MOST_TEXT {
            return Err(refused());
        }
        let query = parse::parse_at(text, start)?.ok_or_else(refused)?;
        // Catalogs stand there without their schema, which a WITH query around it would hide.
        let facts = Facts::of(&query);
        let mut unqualified = facts.tables().filter(|table| table.schema.is_none());
        if unqualified.any(|table| self.common_tables.contains(&table.name)) {
            return Err(refused());
        }
        Ok(query)
    }
}

/// The name that the view goes by, and those of all its columns.
fn alias(range: &RangeVar, view: &Relation) -> Alias {
    let given = range.alias.as_ref();
    let mut names: Vec<Node> = given
        .map(|alias| alias.colnames.clone())
        .unwrap_or_default();
    let rest = view.columns.iter().skip(names.len());
    names.extend(rest.map(|column| string(&column.name)));
    Alias {
        aliasname: given.map_or_else(|| range.relname.clone(), |alias| alias.aliasname.clone()),
        colnames: names,
    }
}

fn string(value: &str) -> Node {
    let sval = value.to_owned();
    Node {
        node: Some(NodeEnum::String(Name { sval })),
    }
}

fn common_table(node: &mut Node) -> Option<&mut CommonTableExpr> {
    match node.node.as_mut()? {
        NodeEnum::CommonTableExpr(table) => Some(table),
        _ => None,
    }
}
