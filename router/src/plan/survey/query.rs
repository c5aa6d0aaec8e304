//! Query levels: WITH, SELECT, set operations, VALUES.

use pg_query::NodeEnum;
use pg_query::protobuf::{CommonTableExpr, Node, SelectStmt, SetOperation, WithClause, a_const};

use super::{Body, Builder, CommonTable, Level, Output, Query, QueryId, Rows, Term, walk};
use crate::error::RouterError;
use crate::plan::scope::string;
use crate::plan::{functions, unsupported};

impl Builder<'_> {
    /// A whole statement, or the body of a WITH query.
    pub(super) fn statement(&mut self, node: &NodeEnum) -> Result<QueryId, RouterError> {
        match node {
            NodeEnum::SelectStmt(select) => self.select(select),
            NodeEnum::InsertStmt(insert) => self.insert(insert),
            NodeEnum::UpdateStmt(update) => self.update(update),
            NodeEnum::DeleteStmt(delete) => self.delete(delete),
            NodeEnum::MergeStmt(merge) => self.merge(merge),
            _ => Err(unsupported::syntax_not_understood()),
        }
    }

    pub(super) fn select(&mut self, select: &SelectStmt) -> Result<QueryId, RouterError> {
        let outer = self.with(select.with_clause.as_ref())?;
        let (body, outputs) =
            if select.op() != SetOperation::SetopNone && select.op() != SetOperation::Undefined {
                self.set_operation(select)?
            } else if !select.values_lists.is_empty() {
                self.values(select)?
            } else {
                self.level(|builder| builder.rows(select))?
            };
        let apart = self.end_with(outer);
        Ok(self.add_query(Query {
            body,
            outputs,
            apart,
            sorted: !select.sort_clause.is_empty(),
        }))
    }

    /// Runs `work` inside a new query level.
    pub(super) fn level<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, RouterError>,
    ) -> Result<T, RouterError> {
        self.levels.push(Level::default());
        let result = work(self);
        self.levels.pop();
        result
    }

    /// Brings WITH queries into scope; gives where they start.
    pub(super) fn with(&mut self, with: Option<&WithClause>) -> Result<usize, RouterError> {
        let start = self.common_tables.len();
        let Some(with) = with else { return Ok(start) };
        let tables: Vec<&CommonTableExpr> = with
            .ctes
            .iter()
            .filter_map(|node| match node.node.as_ref()? {
                NodeEnum::CommonTableExpr(table) => Some(table.as_ref()),
                _ => None,
            })
            .collect();
        if with.recursive {
            self.common_tables
                .extend(tables.iter().map(|table| common_table(table)));
        }
        for (index, table) in tables.iter().enumerate() {
            let body = table
                .ctequery
                .as_deref()
                .and_then(|node| node.node.as_ref());
            let query = self.statement(body.ok_or_else(unsupported::syntax_not_understood)?)?;
            if !with.recursive {
                self.common_tables.push(common_table(table));
            }
            self.common_tables[start + index].query = Some(query);
            // SEARCH and CYCLE add columns of their own.
            if table.search_clause.is_some() || table.cycle_clause.is_some() {
                self.queries[query.0].outputs = None;
            }
        }
        Ok(start)
    }

    /// Takes WITH queries out of scope; gives those that run on their own terms.
    pub(super) fn end_with(&mut self, start: usize) -> Vec<QueryId> {
        let ended = self.common_tables.split_off(start);
        let apart = ended
            .into_iter()
            .filter(|table| table.modifies || table.recursive || !table.mentioned);
        apart.filter_map(|table| table.query).collect()
    }

    fn set_operation(
        &mut self,
        select: &SelectStmt,
    ) -> Result<(Body, Option<Vec<Output>>), RouterError> {
        let mut branches = Vec::new();
        for branch in [&select.larg, &select.rarg] {
            let branch = branch
                .as_deref()
                .ok_or_else(unsupported::syntax_not_understood)?;
            branches.push(self.select(branch)?);
        }
        let mut subs = Vec::new();
        self.expressions(&select.sort_clause, &mut subs)?;
        let limited = self.limits(select, &mut subs)?;
        let outputs = self.common_outputs(&branches);
        Ok((
            Body::Set {
                branches,
                limited,
                subs,
            },
            outputs,
        ))
    }

    fn limits(
        &mut self,
        select: &SelectStmt,
        subs: &mut Vec<super::Sub>,
    ) -> Result<bool, RouterError> {
        self.maybe(select.limit_count.as_deref(), subs)?;
        self.maybe(select.limit_offset.as_deref(), subs)?;
        self.see_locked(select);
        Ok(select.limit_count.is_some() || select.limit_offset.is_some())
    }

    /// `FOR UPDATE OF t` names tables again.
    fn see_locked(&mut self, select: &SelectStmt) {
        let locks = !select.locking_clause.is_empty();
        self.locks |= locks;
        self.lock_levels += usize::from(locks);
        for clause in &select.locking_clause {
            if let Some(NodeEnum::LockingClause(clause)) = clause.node.as_ref() {
                self.relations_seen += clause.locked_rels.len();
            }
        }
    }

    fn values(&mut self, select: &SelectStmt) -> Result<(Body, Option<Vec<Output>>), RouterError> {
        let mut subs = Vec::new();
        self.expressions(&select.values_lists, &mut subs)?;
        self.expressions(&select.sort_clause, &mut subs)?;
        self.limits(select, &mut subs)?;
        Ok((Body::Values { subs }, values_outputs(&select.values_lists)))
    }

    fn rows(&mut self, select: &SelectStmt) -> Result<(Body, Option<Vec<Output>>), RouterError> {
        let from = self.join_list(&select.from_clause)?;
        let filter = self.conditions(select.where_clause.as_deref())?;
        let mut subs = Vec::new();
        let lists = [
            &select.target_list,
            &select.group_clause,
            &select.window_clause,
            &select.sort_clause,
        ];
        for list in lists {
            self.expressions(list, &mut subs)?;
        }
        let distinct_on = select
            .distinct_clause
            .iter()
            .any(|node| node.node.is_some());
        self.expressions(&select.distinct_clause, &mut subs)?;
        self.maybe(select.having_clause.as_deref(), &mut subs)?;
        let limited = self.limits(select, &mut subs)?;
        let outputs = self.outputs(&select.target_list);
        let grouped = self.grouped(select, outputs.as_deref());
        let closed = limited || distinct_on || has_window(select);
        self.note_outer_aggregates(select);
        self.note_columns(select);
        let rows = Rows {
            target: None,
            from,
            filter,
            subs,
            closed,
            grouped,
            added: Vec::new(),
            rekeyed: Vec::new(),
        };
        Ok((Body::Rows(Box::new(rows)), outputs))
    }

    /// The plain columns that rows are grouped by, if they are grouped at all.
    fn grouped(&mut self, select: &SelectStmt, outputs: Option<&[Output]>) -> Option<Vec<Term>> {
        if select.group_clause.is_empty() {
            let aggregated =
                select.having_clause.is_some() || functions::has_aggregate(select, self.context);
            return aggregated.then(Vec::new);
        }
        let mut terms = Vec::new();
        for item in &select.group_clause {
            match item.node.as_ref() {
                // Rolled-up rows have NULL where the column was.
                Some(NodeEnum::GroupingSet(_)) => return Some(Vec::new()),
                Some(NodeEnum::AConst(constant)) => {
                    self.literals_matter = true;
                    terms.extend(
                        position(constant.val.as_ref()).and_then(|index| outputs?.get(index)?.term),
                    );
                }
                _ => terms.extend(
                    self.column_term(item)
                        .or_else(|| named_output(item, outputs?)),
                ),
            }
        }
        Some(terms)
    }

    /// Resolves the columns that a merge may have to know.
    fn note_columns(&mut self, select: &SelectStmt) {
        let lists = [
            &select.target_list,
            &select.group_clause,
            &select.window_clause,
            &select.sort_clause,
        ];
        let having = select.having_clause.as_deref();
        for node in lists
            .into_iter()
            .flatten()
            .chain(&select.distinct_clause)
            .chain(having)
        {
            self.note_columns_of(node);
        }
    }

    pub(super) fn note_columns_of(&mut self, node: &Node) {
        let mut columns = Vec::new();
        walk::descend(node, &mut |inner| {
            if let NodeEnum::ColumnRef(column) = inner {
                columns.push(column.clone());
            }
        });
        for column in columns {
            if let Some(term) = self.resolve(&column) {
                self.columns.insert(column.location, term);
            }
        }
    }

    /// An aggregate whose arguments are all columns of outer levels is computed there.
    fn note_outer_aggregates(&mut self, select: &SelectStmt) {
        if self.levels.len() < 2 {
            return;
        }
        let context = self.context;
        let mut calls = Vec::new();
        functions::for_each_aggregate(select, context, &mut |call| calls.push(call.clone()));
        for call in calls {
            let mut columns = 0;
            let mut inner = 0;
            let parts = call
                .args
                .iter()
                .chain(&call.agg_order)
                .chain(call.agg_filter.as_deref());
            for part in parts {
                walk::descend(part, &mut |node| match node {
                    NodeEnum::ColumnRef(column) => {
                        columns += 1;
                        inner += usize::from(self.is_of_this_level(column));
                    }
                    // What it reads of outer levels is not looked for.
                    NodeEnum::SubLink(_) => columns += 1,
                    _ => {}
                });
            }
            self.outer_aggregates |= columns > 0 && inner == 0;
        }
    }

    fn is_of_this_level(&self, column: &pg_query::protobuf::ColumnRef) -> bool {
        let Some(level) = self.levels.last() else {
            return false;
        };
        match (self.resolve(column), column.fields.as_slice()) {
            (Some(Term::Column(leaf, _)), _) => level.leaves.contains(&leaf),
            // A name of this level goes first, whether its columns are known or not.
            (None, [relation, _]) => string(relation).is_some_and(|relation| {
                let mut leaves = level.leaves.iter();
                leaves.any(|leaf| self.leaves[leaf.0].name == relation)
            }),
            _ => false,
        }
    }
}

fn common_table(table: &CommonTableExpr) -> CommonTable {
    let body = table
        .ctequery
        .as_deref()
        .and_then(|node| node.node.as_ref());
    CommonTable {
        name: table.ctename.clone(),
        query: None,
        recursive: false,
        modifies: !matches!(body, Some(NodeEnum::SelectStmt(_))),
        mentioned: false,
        column_names: table
            .aliascolnames
            .iter()
            .filter_map(string)
            .map(str::to_owned)
            .collect(),
    }
}

/// The 0-based index that `GROUP BY 1` means.
fn position(constant: Option<&a_const::Val>) -> Option<usize> {
    match constant? {
        a_const::Val::Ival(number) => usize::try_from(number.ival).ok()?.checked_sub(1),
        _ => None,
    }
}

/// GROUP BY the name of an output column.
fn named_output(item: &Node, outputs: &[Output]) -> Option<Term> {
    let NodeEnum::ColumnRef(column) = item.node.as_ref()? else {
        return None;
    };
    let [name] = column.fields.as_slice() else {
        return None;
    };
    let name = string(name)?;
    let mut named = outputs
        .iter()
        .filter(|output| output.column.name.as_deref() == Some(name));
    let first = named.next()?;
    named.next().is_none().then_some(first.term).flatten()
}

fn has_window(select: &SelectStmt) -> bool {
    let mut found = !select.window_clause.is_empty();
    for target in select.target_list.iter().chain(&select.sort_clause) {
        walk::descend(target, &mut |node| {
            found |= matches!(node, NodeEnum::FuncCall(call) if call.over.is_some());
        });
    }
    found
}

/// Columns of VALUES, named `column1` and so on; a key where all rows have the same.
fn values_outputs(rows: &[Node]) -> Option<Vec<Output>> {
    let rows: Vec<&[Node]> = rows
        .iter()
        .map(|row| match row.node.as_ref() {
            Some(NodeEnum::List(row)) => Some(row.items.as_slice()),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let width = rows.first()?.len();
    let output = |index: usize| {
        let first = crate::plan::key::read(rows[0].get(index)?);
        let same = rows.len() == 1;
        Some(Output {
            column: super::Column {
                name: Some(format!("column{}", index + 1)),
                family: None,
            },
            term: None,
            key: first.filter(|_| same),
        })
    };
    (0..width).map(output).collect()
}
