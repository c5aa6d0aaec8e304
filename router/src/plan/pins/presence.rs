//! Which tables every row of a FROM list has a row of.

use super::pushable;
use crate::plan::survey::{Body, Join, LeafId, LeafKind, QueryId, Survey, Term};

/// Leaves whose rows are never null-extended inside a FROM list.
pub fn always_present(join: &Join) -> Vec<LeafId> {
    match join {
        Join::Leaf { leaf, .. } => vec![*leaf],
        Join::Inner { left, right, .. } => {
            let mut leaves = always_present(left);
            leaves.extend(always_present(right));
            leaves
        }
        Join::Outer { kept, .. } => always_present(kept),
        Join::Full { .. } => Vec::new(),
    }
}

/// Whether every row of `query` comes from one row of a divided table whose key is output `index`.
fn comes_from_a_key(survey: &Survey, query: QueryId, index: usize) -> bool {
    let query = survey.query(query);
    match &query.body {
        Body::Rows(rows) => match (pushable(query, rows, index), &rows.from) {
            (Some(Term::Column(leaf, column)), Some(from)) => {
                is_key_of_rows(survey, from, leaf, column)
            }
            _ => false,
        },
        Body::Set {
            branches, limited, ..
        } => {
            !limited
                && branches
                    .iter()
                    .all(|branch| comes_from_a_key(survey, *branch, index))
        }
        Body::Values { .. } | Body::Insert { .. } => false,
    }
}

/// Whether every row of `from` comes from one row of a divided table whose key is that column.
pub fn is_key_of_rows(survey: &Survey, from: &Join, leaf: LeafId, column: usize) -> bool {
    if !always_present(from).contains(&leaf) {
        return false;
    }
    match survey.leaf(leaf).kind {
        LeafKind::Table { .. } => survey
            .leaf(leaf)
            .shard_key()
            .is_some_and(|(key, _)| key == column),
        LeafKind::Derived { query, pushes } => pushes && comes_from_a_key(survey, query, column),
        LeafKind::Home | LeafKind::Opaque => false,
    }
}
