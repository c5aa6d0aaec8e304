//! The collations of pulled columns. Arrays of text have none, so what has another than its type's own must be
//! given it back in the finishing statement.

use pg_query::NodeEnum;
use pg_query::protobuf::Node;

use super::level::Level;
use crate::error::RouterError;
use crate::plan::survey::{LeafKind, Survey, Term, walk};
use crate::plan::unsupported;

/// `pg_catalog.name`, whose own collation is C.
const NAME: u32 = 19;

#[derive(Debug, Clone, PartialEq)]
pub enum Collation {
    /// That of the type, or none.
    Own,
    /// A column's: schema and name.
    Column(String, String),
    /// Of COLLATE.
    Written(Vec<Node>),
}

/// # Errors
/// A collation that cannot be told.
pub fn of(expression: &Node, level: &Level<'_>) -> Result<Collation, RouterError> {
    match expression.node.as_ref() {
        Some(NodeEnum::CollateClause(clause)) => Ok(Collation::Written(clause.collname.clone())),
        Some(NodeEnum::ColumnRef(column)) => match level.term(column) {
            Some(term) => of_term(level.anchored.survey, term),
            None => check(expression, level),
        },
        _ => check(expression, level),
    }
}

/// An expression over nothing that has a collation to speak of.
fn check(expression: &Node, level: &Level<'_>) -> Result<Collation, RouterError> {
    if level.is_plain {
        return Ok(Collation::Own);
    }
    let mut plain = true;
    walk::descend(expression, &mut |inner| {
        plain &= match inner {
            NodeEnum::CollateClause(_) | NodeEnum::SubLink(_) => false,
            NodeEnum::ColumnRef(column) => level.term(column).is_some_and(|term| {
                type_of(level.anchored.survey, term) != Some(NAME)
                    && of_term(level.anchored.survey, term) == Ok(Collation::Own)
            }),
            _ => true,
        };
    });
    plain
        .then_some(Collation::Own)
        .ok_or_else(unsupported::collation_over_shards)
}

fn of_term(survey: &Survey, term: Term) -> Result<Collation, RouterError> {
    let Term::Column(leaf, column) = term else {
        return Ok(Collation::Own);
    };
    let refuse = unsupported::collation_over_shards;
    match &survey.leaf(leaf).kind {
        LeafKind::Table { relation, .. } => {
            let column = relation.columns.get(column).ok_or_else(refuse)?;
            Ok(match &column.collation {
                Some((schema, name)) => Collation::Column(schema.clone(), name.clone()),
                None => Collation::Own,
            })
        }
        LeafKind::Derived { query, .. } => {
            let outputs = survey.query(*query).outputs.as_ref();
            let output = outputs.and_then(|outputs| outputs.get(column));
            let term = output.and_then(|output| output.term).ok_or_else(refuse)?;
            of_term(survey, term)
        }
        LeafKind::Home | LeafKind::Opaque => Err(refuse()),
    }
}

/// The type of a column, through subqueries and domains not.
pub fn type_of(survey: &Survey, term: Term) -> Option<u32> {
    let Term::Column(leaf, column) = term else {
        return None;
    };
    match &survey.leaf(leaf).kind {
        LeafKind::Table { relation, .. } => Some(relation.columns.get(column)?.type_oid),
        LeafKind::Derived { query, .. } => {
            let output = survey.query(*query).outputs.as_ref()?.get(column)?;
            type_of(survey, output.term?)
        }
        LeafKind::Home | LeafKind::Opaque => None,
    }
}

/// Whether nothing that a statement reads or says has another collation than its type's own.
pub fn is_plain(survey: &Survey, statement: &NodeEnum) -> bool {
    let own = survey.tables().all(|(relation, _)| {
        relation
            .columns
            .iter()
            .all(|column| column.collation.is_none() && column.type_oid != NAME)
    });
    own && !format!("{statement:?}").contains("CollateClause(")
}
