//! UPDATE, DELETE, MERGE and INSERT as query levels.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CmdType, DeleteStmt, InsertStmt, MergeStmt, MergeWhenClause, Node, RangeVar, ReturningClause,
    UpdateStmt,
};
use schema::DefaultValue;

use super::from::{cross, leaf};
use super::{Body, Builder, Join, LeafId, Output, Query, QueryId, Rows, Sub, Term};
use crate::error::RouterError;
use crate::plan::{key, unsupported};

impl Builder<'_> {
    pub(super) fn update(&mut self, update: &UpdateStmt) -> Result<QueryId, RouterError> {
        let outer = self.with(update.with_clause.as_ref())?;
        let (body, outputs) = self.level(|builder| {
            let target = builder.target(update.relation.as_ref())?;
            let from = builder.target_and(target, &update.from_clause)?;
            let filter = builder.conditions(update.where_clause.as_deref())?;
            let mut subs = Vec::new();
            builder.assignments(&update.target_list, &mut subs)?;
            let rekeyed = builder
                .rekeyed(target, &update.target_list)
                .into_iter()
                .collect();
            let outputs = builder.returning(update.returning_clause.as_ref(), &mut subs)?;
            let rows = Rows {
                target: Some(target),
                rekeyed,
                ..rows(from, filter, subs)
            };
            Ok((Body::Rows(Box::new(rows)), outputs))
        })?;
        let apart = self.end_with(outer);
        Ok(self.add_query(Query {
            body,
            outputs,
            apart,
            sorted: false,
        }))
    }

    pub(super) fn delete(&mut self, delete: &DeleteStmt) -> Result<QueryId, RouterError> {
        let outer = self.with(delete.with_clause.as_ref())?;
        let (body, outputs) = self.level(|builder| {
            let target = builder.target(delete.relation.as_ref())?;
            let from = builder.target_and(target, &delete.using_clause)?;
            let filter = builder.conditions(delete.where_clause.as_deref())?;
            let mut subs = Vec::new();
            let outputs = builder.returning(delete.returning_clause.as_ref(), &mut subs)?;
            let rows = Rows {
                target: Some(target),
                ..rows(from, filter, subs)
            };
            Ok((Body::Rows(Box::new(rows)), outputs))
        })?;
        let apart = self.end_with(outer);
        Ok(self.add_query(Query {
            body,
            outputs,
            apart,
            sorted: false,
        }))
    }

    /// Rows of the source that match no row of the target are still seen: the source is the side of a
    /// join that keeps its rows.
    pub(super) fn merge(&mut self, merge: &MergeStmt) -> Result<QueryId, RouterError> {
        let outer = self.with(merge.with_clause.as_ref())?;
        let (body, outputs) = self.level(|builder| {
            let target = builder.target(merge.relation.as_ref())?;
            let source = merge
                .source_relation
                .as_deref()
                .ok_or_else(unsupported::syntax_not_understood)?;
            let source = builder.join_item(source)?;
            let on = builder.conditions(merge.join_condition.as_deref())?;
            let mut subs = Vec::new();
            let mut added = Vec::new();
            let mut rekeyed = Vec::new();
            for clause in &merge.merge_when_clauses {
                let Some(NodeEnum::MergeWhenClause(clause)) = clause.node.as_ref() else {
                    continue;
                };
                builder.merge_clause(clause, target, &mut subs, &mut added, &mut rekeyed)?;
            }
            let outputs = builder.returning(merge.returning_clause.as_ref(), &mut subs)?;
            let join = Join::Outer {
                kept: Box::new(source),
                nullable: Box::new(leaf(target)),
                on,
            };
            let rows = Rows {
                target: Some(target),
                added,
                rekeyed,
                ..rows(Some(join), super::Conditions::default(), subs)
            };
            Ok((Body::Rows(Box::new(rows)), outputs))
        })?;
        let apart = self.end_with(outer);
        Ok(self.add_query(Query {
            body,
            outputs,
            apart,
            sorted: false,
        }))
    }

    fn merge_clause(
        &mut self,
        clause: &MergeWhenClause,
        target: LeafId,
        subs: &mut Vec<Sub>,
        added: &mut Vec<(LeafId, Option<Term>)>,
        rekeyed: &mut Vec<(LeafId, Option<Term>)>,
    ) -> Result<(), RouterError> {
        self.maybe(clause.condition.as_deref(), subs)?;
        self.assignments(&clause.target_list, subs)?;
        self.expressions(&clause.values, subs)?;
        match clause.command_type() {
            CmdType::CmdUpdate => rekeyed.extend(self.rekeyed(target, &clause.target_list)),
            CmdType::CmdInsert => {
                let names: Vec<&str> = clause.target_list.iter().filter_map(assigned).collect();
                let position = self.key_position(target, &names);
                let value = position.and_then(|position| clause.values.get(position));
                let term = value.and_then(|value| self.assigned_term(target, value));
                self.leaves[target.0]
                    .shard_key()
                    .inspect(|_| added.push((target, term)));
            }
            _ => {}
        }
        Ok(())
    }

    /// An INSERT inside a WITH, or one whose plan asks where its rows come from.
    pub(super) fn insert(&mut self, insert: &InsertStmt) -> Result<QueryId, RouterError> {
        let outer = self.with(insert.with_clause.as_ref())?;
        let source = match insert
            .select_stmt
            .as_deref()
            .and_then(|node| node.node.as_ref())
        {
            Some(NodeEnum::SelectStmt(select)) => Some(self.select(select)?),
            _ => None,
        };
        let (body, outputs) = self.level(|builder| {
            let target = builder.target(insert.relation.as_ref())?;
            let names: Vec<&str> = insert.cols.iter().filter_map(assigned).collect();
            let key = builder.key_position(target, &names);
            builder.needs_ids_somewhere |= builder.needs_ids(target, &names);
            let value = key.and_then(|key| builder.inserted_value(target, source?, key));
            let mut subs = Vec::new();
            if let Some(conflict) = insert.on_conflict_clause.as_deref() {
                builder.assignments(&conflict.target_list, &mut subs)?;
                builder.maybe(conflict.where_clause.as_deref(), &mut subs)?;
                if builder.rekeyed(target, &conflict.target_list).is_some() {
                    return Err(unsupported::shard_key_update());
                }
            }
            let outputs = builder.returning(insert.returning_clause.as_ref(), &mut subs)?;
            Ok((
                Body::Insert {
                    target,
                    source,
                    key,
                    value,
                    subs,
                },
                outputs,
            ))
        })?;
        let apart = self.end_with(outer);
        Ok(self.add_query(Query {
            body,
            outputs,
            apart,
            sorted: false,
        }))
    }

    /// The constant that the key column is in all rows inserted. A number with a fraction is none: it
    /// is rounded on the way in.
    fn inserted_value(&mut self, target: LeafId, source: QueryId, key: usize) -> Option<Term> {
        let expression = self.queries[source.0]
            .outputs
            .as_ref()?
            .get(key)?
            .key
            .clone()?;
        let (column, _) = self.leaves[target.0].shard_key()?;
        let family = self.column_family(target, column)?;
        self.add_value(expression, family).map(Term::Value)
    }

    fn target(&mut self, relation: Option<&RangeVar>) -> Result<LeafId, RouterError> {
        let target = self.table(relation.ok_or_else(unsupported::syntax_not_understood)?)?;
        self.writes.push(target);
        Ok(target)
    }

    fn target_and(&mut self, target: LeafId, from: &[Node]) -> Result<Option<Join>, RouterError> {
        Ok(Some(match self.join_list(from)? {
            Some(from) => cross(leaf(target), from),
            None => leaf(target),
        }))
    }

    fn returning(
        &mut self,
        returning: Option<&ReturningClause>,
        subs: &mut Vec<Sub>,
    ) -> Result<Option<Vec<Output>>, RouterError> {
        let Some(returning) = returning else {
            return Ok(Some(Vec::new()));
        };
        self.expressions(&returning.exprs, subs)?;
        Ok(self.outputs(&returning.exprs))
    }

    /// The values of a SET list. `(a, b) = (SELECT ...)` has its one source at the first column.
    fn assignments(&mut self, targets: &[Node], subs: &mut Vec<Sub>) -> Result<(), RouterError> {
        for target in targets {
            let Some(NodeEnum::ResTarget(assignment)) = target.node.as_ref() else {
                continue;
            };
            match assignment
                .val
                .as_deref()
                .and_then(|value| value.node.as_ref())
            {
                Some(NodeEnum::MultiAssignRef(multiple)) if multiple.colno > 1 => {
                    // The tree repeats the source for every column; the count of subqueries must too.
                    let mut repeated = Vec::new();
                    self.maybe(multiple.source.as_deref(), &mut repeated)?;
                }
                _ => self.expression(target, subs)?,
            }
        }
        Ok(())
    }

    /// The key that a SET list gives, unless it is plainly what it was.
    fn rekeyed(&mut self, target: LeafId, targets: &[Node]) -> Option<(LeafId, Option<Term>)> {
        let (key, _) = self.leaves[target.0].shard_key()?;
        let name = self.leaves[target.0].relation()?.columns[key].name.clone();
        let assignment = targets
            .iter()
            .find(|target| assigned(target) == Some(name.as_str()))?;
        let NodeEnum::ResTarget(assignment) = assignment.node.as_ref()? else {
            return None;
        };
        let term = assignment
            .val
            .as_deref()
            .and_then(|value| self.assigned_term(target, value));
        (term != Some(Term::Column(target, key))).then_some((target, term))
    }

    /// What a value assigned to the key column is.
    fn assigned_term(&mut self, target: LeafId, value: &Node) -> Option<Term> {
        let (key, _) = self.leaves[target.0].shard_key()?;
        let family = self.column_family(target, key)?;
        match self.column_term(value) {
            Some(Term::Column(leaf, column)) => (self.column_family(leaf, column) == Some(family))
                .then_some(Term::Column(leaf, column)),
            Some(Term::Value(_)) => None,
            None => self.add_value(key::read(value)?, family).map(Term::Value),
        }
    }

    /// Where the shard key stands among the columns inserted; without a list, all columns are.
    fn key_position(&self, target: LeafId, names: &[&str]) -> Option<usize> {
        let (key, _) = self.leaves[target.0].shard_key()?;
        let name = &self.leaves[target.0].relation()?.columns[key].name;
        if names.is_empty() {
            Some(key)
        } else {
            names.iter().position(|column| column == name)
        }
    }

    /// Whether an INSERT leaves a column to a sequence that the router fills in elsewhere.
    pub(super) fn needs_ids(&self, target: LeafId, names: &[&str]) -> bool {
        self.leaves[target.0].relation().is_some_and(|relation| {
            relation.columns.iter().any(|column| {
                let from_sequence = matches!(
                    column.default,
                    DefaultValue::Sequence { .. } | DefaultValue::Identity { .. }
                );
                from_sequence && !names.is_empty() && !names.contains(&column.name.as_str())
            })
        })
    }
}

fn rows(from: Option<Join>, filter: super::Conditions, subs: Vec<Sub>) -> Rows {
    Rows {
        target: None,
        from,
        filter,
        subs,
        closed: false,
        grouped: None,
        added: Vec::new(),
        rekeyed: Vec::new(),
    }
}

/// The column that an item of a SET or column list names.
fn assigned(target: &Node) -> Option<&str> {
    match target.node.as_ref()? {
        NodeEnum::ResTarget(target) => Some(&target.name),
        _ => None,
    }
}
