//! Equalities that hold in every row that a join or query gives, whatever is around it.

use super::connected;
use crate::plan::survey::{
    Body, Conditions, Fact, Join, LeafId, LeafKind, QueryId, Rows, Survey, Term,
};

/// Equalities that hold in every row a join gives, whatever is around it.
pub fn intrinsic(survey: &Survey, join: &Join) -> Vec<Fact> {
    match join {
        Join::Leaf { leaf, .. } => leaf_facts(survey, *leaf),
        Join::Inner { left, right, on } => {
            let mut facts = intrinsic(survey, left);
            facts.extend(intrinsic(survey, right));
            facts.extend(&on.facts);
            facts.extend(any_facts(survey, on));
            facts
        }
        Join::Outer { kept, .. } => intrinsic(survey, kept),
        Join::Full { .. } => Vec::new(),
    }
}

/// A subquery's output columns that are the same value in all its rows.
fn leaf_facts(survey: &Survey, leaf: LeafId) -> Vec<Fact> {
    match survey.leaf(leaf).kind {
        LeafKind::Derived { query, .. } => output_values(survey, query, 0)
            .into_iter()
            .enumerate()
            .filter_map(|(index, value)| Some(Fact(Term::Column(leaf, index), value?)))
            .collect(),
        _ => Vec::new(),
    }
}

/// For `x = ANY (subquery)`: x is the value that the subquery's column always is.
pub(super) fn any_facts(survey: &Survey, conditions: &Conditions) -> Vec<Fact> {
    let mut facts = Vec::new();
    for sub in conditions.subs.iter().filter(|sub| !sub.pushed.is_empty()) {
        let values = output_values(survey, sub.query, 0);
        facts.extend(
            sub.pushed
                .iter()
                .filter_map(|(index, term)| Some(Fact(*term, (*values.get(*index)?)?))),
        );
    }
    facts
}

/// The constant that each output column of a query is, where it is one.
pub(super) fn output_values(survey: &Survey, query: QueryId, depth: usize) -> Vec<Option<Term>> {
    const DEEPEST: usize = 12;
    let query = survey.query(query);
    let outputs = query.outputs.as_deref().unwrap_or_default();
    if depth > DEEPEST {
        return vec![None; outputs.len()];
    }
    match &query.body {
        Body::Rows(rows) => {
            let facts = row_facts(survey, rows);
            outputs
                .iter()
                .map(|output| {
                    let class = connected(&facts, output.term?);
                    class
                        .into_iter()
                        .find(|term| matches!(term, Term::Value(_)))
                })
                .collect()
        }
        Body::Set { branches, .. } => {
            let mut all = branches
                .iter()
                .map(|branch| output_values(survey, *branch, depth + 1));
            let first = all.next().unwrap_or_default();
            all.fold(first, |first, other| {
                let same = |(index, value): (usize, Option<Term>)| {
                    value.filter(|_| other.get(index) == Some(&value))
                };
                first.into_iter().enumerate().map(same).collect()
            })
        }
        Body::Values { .. } | Body::Insert { .. } => vec![None; outputs.len()],
    }
}

/// What holds in the rows of a level after its WHERE.
pub fn row_facts(survey: &Survey, rows: &Rows) -> Vec<Fact> {
    let mut facts = rows.filter.facts.clone();
    facts.extend(any_facts(survey, &rows.filter));
    if let Some(from) = &rows.from {
        facts.extend(intrinsic(survey, from));
    }
    facts
}
