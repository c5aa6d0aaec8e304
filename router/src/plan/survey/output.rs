//! The columns that a query gives, with their names as PostgreSQL derives them (`FigureColname` of
//! its `parse_target.c`).

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExprKind, ColumnRef, MinMaxOp, Node, ResTarget, SqlValueFunction, SqlValueFunctionOp, SubLink,
    SubLinkType, XmlExprOp,
};

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
pub(crate) fn derived_name(value: &Node) -> Option<String> {
    let name = match name_of(value)? {
        Name::Strong(name) | Name::Weak(name) => name,
        Name::No => "?column?",
    };
    Some(name.to_owned())
}

/// How sure PostgreSQL is of a name: a cast around it, or a CASE, puts its own in place of a weak one.
enum Name<'a> {
    No,
    Weak(&'a str),
    Strong(&'a str),
}

/// `None`: not derived here.
fn name_of(value: &Node) -> Option<Name<'_>> {
    let strong = |name: Option<_>| Some(name.map_or(Name::No, Name::Strong));
    match value.node.as_ref()? {
        NodeEnum::ColumnRef(column) => strong(column.fields.iter().rev().find_map(string)),
        NodeEnum::FuncCall(call) => strong(last_name(&call.funcname)),
        NodeEnum::TypeCast(cast) => match name_of(cast.arg.as_deref()?)? {
            Name::Strong(name) => Some(Name::Strong(name)),
            _ => last_name(&cast.type_name.as_ref()?.names).map(Name::Weak),
        },
        NodeEnum::CollateClause(collate) => name_of(collate.arg.as_deref()?),
        NodeEnum::AIndirection(it) => match it.indirection.iter().rev().find_map(string) {
            None => name_of(it.arg.as_deref()?),
            field => strong(field),
        },
        NodeEnum::CaseExpr(case) => match case.defresult.as_deref().map(name_of) {
            Some(None) => None,
            Some(Some(Name::Strong(name))) => Some(Name::Strong(name)),
            _ => Some(Name::Weak("case")),
        },
        NodeEnum::AExpr(expression) if expression.kind() == AExprKind::AexprNullif => {
            Some(Name::Strong("nullif"))
        }
        NodeEnum::AConst(_)
        | NodeEnum::AExpr(_)
        | NodeEnum::ParamRef(_)
        | NodeEnum::BoolExpr(_)
        | NodeEnum::NullTest(_)
        | NodeEnum::BooleanTest(_) => Some(Name::No),
        NodeEnum::SubLink(link) => of_subquery(link),
        NodeEnum::SqlvalueFunction(function) => Some(Name::Strong(of_value_function(function))),
        node => fixed(node).map(Name::Strong),
    }
}

/// Constructs that name their column themselves.
fn fixed(value: &NodeEnum) -> Option<&'static str> {
    Some(match value {
        NodeEnum::AArrayExpr(_) => "array",
        NodeEnum::RowExpr(_) => "row",
        NodeEnum::CoalesceExpr(_) => "coalesce",
        NodeEnum::GroupingFunc(_) => "grouping",
        NodeEnum::XmlSerialize(_) => "xmlserialize",
        NodeEnum::MinMaxExpr(it) if it.op() == MinMaxOp::IsGreatest => "greatest",
        NodeEnum::MinMaxExpr(_) => "least",
        NodeEnum::XmlExpr(it) => match it.op() {
            XmlExprOp::IsXmlconcat => "xmlconcat",
            XmlExprOp::IsXmlelement => "xmlelement",
            XmlExprOp::IsXmlforest => "xmlforest",
            XmlExprOp::IsXmlparse => "xmlparse",
            XmlExprOp::IsXmlpi => "xmlpi",
            XmlExprOp::IsXmlroot => "xmlroot",
            _ => return None,
        },
        _ => return None,
    })
}

fn of_subquery(link: &SubLink) -> Option<Name<'_>> {
    match link.sub_link_type() {
        SubLinkType::ExistsSublink => Some(Name::Strong("exists")),
        SubLinkType::ArraySublink => Some(Name::Strong("array")),
        SubLinkType::AnySublink | SubLinkType::AllSublink => Some(Name::No),
        SubLinkType::ExprSublink => of_first_column(link.subselect.as_deref()?),
        _ => None,
    }
}

/// A subquery is called after its one column, whatever that is called.
fn of_first_column(query: &Node) -> Option<Name<'_>> {
    let NodeEnum::SelectStmt(select) = query.node.as_ref()? else {
        return None;
    };
    let NodeEnum::ResTarget(target) = select.target_list.first()?.node.as_ref()? else {
        return None;
    };
    if !target.name.is_empty() {
        return Some(Name::Strong(&target.name));
    }
    match name_of(target.val.as_deref()?)? {
        Name::No => Some(Name::Strong("?column?")),
        Name::Weak(name) | Name::Strong(name) => Some(Name::Strong(name)),
    }
}

fn of_value_function(function: &SqlValueFunction) -> &'static str {
    match function.op() {
        SqlValueFunctionOp::SvfopCurrentDate => "current_date",
        SqlValueFunctionOp::SvfopCurrentTime | SqlValueFunctionOp::SvfopCurrentTimeN => {
            "current_time"
        }
        SqlValueFunctionOp::SvfopCurrentTimestamp | SqlValueFunctionOp::SvfopCurrentTimestampN => {
            "current_timestamp"
        }
        SqlValueFunctionOp::SvfopLocaltime | SqlValueFunctionOp::SvfopLocaltimeN => "localtime",
        SqlValueFunctionOp::SvfopLocaltimestamp | SqlValueFunctionOp::SvfopLocaltimestampN => {
            "localtimestamp"
        }
        SqlValueFunctionOp::SvfopCurrentRole => "current_role",
        SqlValueFunctionOp::SvfopCurrentUser => "current_user",
        SqlValueFunctionOp::SvfopUser => "user",
        SqlValueFunctionOp::SvfopSessionUser => "session_user",
        SqlValueFunctionOp::SvfopCurrentCatalog => "current_catalog",
        SqlValueFunctionOp::SvfopCurrentSchema => "current_schema",
        SqlValueFunctionOp::SqlvalueFunctionOpUndefined => "?column?",
    }
}
