//! The columns that a query gives, with their names as PostgreSQL derives them (`FigureColname` of
//! its `parse_target.c`).

use pg_query::NodeEnum;
use pg_query::protobuf::{AExprKind, ColumnRef, Node, ResTarget, SubLinkType};

use super::condition::last_name;
use super::{Builder, Column, Family, LeafId, Output, QueryId, Term};
use crate::plan::KeyExpr;
use crate::plan::key::{self, Constant};
use crate::plan::scope::string;

impl Builder<'_> {
    /// The output columns of a select or RETURNING list; `None` where they are not known.
    pub(super) fn outputs(&mut self, targets: &[Node]) -> Option<Vec<Output>> {
        let mut outputs = Vec::new();
        for target in targets {
            let NodeEnum::ResTarget(target) = target.node.as_ref()? else {
                return None;
            };
            match target.val.as_deref()?.node.as_ref()? {
                NodeEnum::ColumnRef(column) if is_star(column) => {
                    outputs.extend(self.star(column)?)
                }
                NodeEnum::AIndirection(it) if it.indirection.iter().any(is_star_node) => {
                    return None;
                }
                _ => outputs.push(self.output(target)?),
            }
        }
        Some(outputs)
    }

    fn output(&mut self, target: &ResTarget) -> Option<Output> {
        let value = target.val.as_deref()?;
        let name = if target.name.is_empty() {
            derived_name(value)
        } else {
            Some(target.name.clone())
        };
        let key = key::read(value);
        let term = self.column_term(value).or_else(|| {
            let key = key.clone()?;
            let family = own_family(&key)?;
            self.add_value(key, family).map(Term::Value)
        });
        let family = term.and_then(|term| match term {
            Term::Column(leaf, column) => self.column_family(leaf, column),
            Term::Value(value) => Some(self.values[value.0].family),
        });
        Some(Output {
            column: Column { name, family },
            term,
            key,
        })
    }

    /// `*` or `t.*`.
    fn star(&self, column: &ColumnRef) -> Option<Vec<Output>> {
        let level = self.levels.last()?;
        let leaves: Vec<LeafId> = match column.fields.as_slice() {
            // Merged columns come first and once: not worth the trouble.
            [_] if !level.merged.is_empty() => return None,
            [_] => level.leaves.clone(),
            [relation, _] | [_, relation, _] => {
                let name = string(relation)?;
                level
                    .leaves
                    .iter()
                    .copied()
                    .filter(|leaf| self.leaves[leaf.0].name == name)
                    .collect()
            }
            _ => return None,
        };
        let [.., _] = leaves.as_slice() else {
            return None;
        };
        let mut outputs = Vec::new();
        for leaf in leaves {
            let columns = self.leaves[leaf.0].columns.as_ref()?;
            outputs.extend(columns.iter().enumerate().map(|(index, column)| Output {
                column: column.clone(),
                term: Some(Term::Column(leaf, index)),
                key: None,
            }));
        }
        Some(outputs)
    }

    pub(super) fn output_columns(&self, query: QueryId) -> Option<Vec<Column>> {
        let outputs = self.queries[query.0].outputs.as_ref()?;
        Some(outputs.iter().map(|output| output.column.clone()).collect())
    }

    /// The columns of a set operation: names of the first branch, families where all agree.
    pub(super) fn common_outputs(&self, branches: &[QueryId]) -> Option<Vec<Output>> {
        let mut columns = self.output_columns(*branches.first()?)?;
        for branch in &branches[1..] {
            let others = self.output_columns(*branch)?;
            if others.len() != columns.len() {
                return None;
            }
            for (column, other) in columns.iter_mut().zip(others) {
                column.family = column.family.filter(|family| other.family == Some(*family));
            }
        }
        Some(
            columns
                .into_iter()
                .map(|column| Output {
                    column,
                    term: None,
                    key: None,
                })
                .collect(),
        )
    }
}

/// The family of a constant that has a type of its own.
fn own_family(key: &KeyExpr) -> Option<Family> {
    match key {
        KeyExpr::Literal {
            cast_to: Some(oid), ..
        }
        | KeyExpr::Parameter {
            cast_to: Some(oid), ..
        } => Family::of_type(*oid),
        KeyExpr::Literal {
            value: Constant::Integer(_),
            ..
        } => Some(Family::Integer),
        _ => None,
    }
}

fn is_star_node(node: &Node) -> bool {
    matches!(node.node, Some(NodeEnum::AStar(_)))
}

pub(crate) fn is_star(column: &ColumnRef) -> bool {
    column.fields.last().is_some_and(is_star_node)
}

/// The name of an output column without AS. `None`: some name, not derived here.
fn derived_name(value: &Node) -> Option<String> {
    name_of(value).map(|name| name.unwrap_or("?column?").to_owned())
}

/// Outer `None`: not derived here. Inner `None`: PostgreSQL has no name for it.
fn name_of(value: &Node) -> Option<Option<&str>> {
    match value.node.as_ref()? {
        NodeEnum::ColumnRef(column) => Some(column.fields.iter().rev().find_map(string)),
        NodeEnum::FuncCall(call) => Some(last_name(&call.funcname)),
        NodeEnum::TypeCast(cast) => match name_of(cast.arg.as_deref()?)? {
            None => Some(last_name(&cast.type_name.as_ref()?.names)),
            name => Some(name),
        },
        NodeEnum::CollateClause(collate) => name_of(collate.arg.as_deref()?),
        NodeEnum::AExpr(expression) if expression.kind() == AExprKind::AexprNullif => {
            Some(Some("nullif"))
        }
        NodeEnum::AConst(_)
        | NodeEnum::AExpr(_)
        | NodeEnum::ParamRef(_)
        | NodeEnum::BoolExpr(_)
        | NodeEnum::NullTest(_)
        | NodeEnum::BooleanTest(_) => Some(None),
        NodeEnum::SubLink(link) => match link.sub_link_type() {
            SubLinkType::ExistsSublink => Some(Some("exists")),
            SubLinkType::ArraySublink => Some(Some("array")),
            SubLinkType::AnySublink | SubLinkType::AllSublink => Some(None),
            _ => None,
        },
        NodeEnum::AArrayExpr(_) => Some(Some("array")),
        NodeEnum::RowExpr(_) => Some(Some("row")),
        NodeEnum::CoalesceExpr(_) => Some(Some("coalesce")),
        _ => None,
    }
}
