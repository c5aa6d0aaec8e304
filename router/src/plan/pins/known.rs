//! What is known at one place of a statement, and what follows from it for left joins.

use super::always::{any_facts, intrinsic};
use crate::plan::survey::{Conditions, Fact, Join, LeafId, Survey, Term};

/// What is known at one place of a statement.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Equalities that are true, so neither side is NULL.
    pub strict: Vec<Fact>,
    /// Names for the same column inside and outside a subquery, where it may be NULL.
    pub names: Vec<Fact>,
}

impl Known {
    pub fn all(&self) -> Vec<Fact> {
        self.strict.iter().chain(&self.names).copied().collect()
    }

    pub fn with(&self, more: impl IntoIterator<Item = Fact>) -> Self {
        let mut known = self.clone();
        known.strict.extend(more);
        known
    }

    pub fn speaks_strictly_of(&self, term: Term) -> bool {
        self.strict
            .iter()
            .any(|fact| fact.0 == term || fact.1 == term)
    }

    /// Adds what follows: a row that is said to be equal to something on the nullable side of a left
    /// join did match, so the ON clause holds too.
    pub fn strengthen(&mut self, survey: &Survey, join: &Join) {
        let mut open = Vec::new();
        outer_joins(join, &mut open);
        while let Some(index) = open
            .iter()
            .position(|(side, _)| self.strict.iter().any(|fact| speaks_of(fact, side)))
        {
            let (nullable, on) = open.swap_remove(index);
            self.strict.extend(&on.facts);
            self.strict.extend(any_facts(survey, on));
            self.strict.extend(intrinsic(survey, nullable));
        }
    }
}

/// The left joins of a tree that no full join is around: nullable side and ON clause.
fn outer_joins<'a>(join: &'a Join, into: &mut Vec<(&'a Join, &'a Conditions)>) {
    match join {
        Join::Leaf { .. } | Join::Full { .. } => {}
        Join::Inner { left, right, .. } => {
            outer_joins(left, into);
            outer_joins(right, into);
        }
        Join::Outer { kept, nullable, on } => {
            outer_joins(kept, into);
            outer_joins(nullable, into);
            into.push((nullable, on));
        }
    }
}

fn speaks_of(fact: &Fact, join: &Join) -> bool {
    let in_join = |term: &Term| matches!(term, Term::Column(leaf, _) if has_leaf(join, *leaf));
    in_join(&fact.0) || in_join(&fact.1)
}

fn has_leaf(join: &Join, wanted: LeafId) -> bool {
    match join {
        Join::Leaf { leaf, .. } => *leaf == wanted,
        Join::Inner { left, right, .. } | Join::Full { left, right, .. } => {
            has_leaf(left, wanted) || has_leaf(right, wanted)
        }
        Join::Outer { kept, nullable, .. } => has_leaf(kept, wanted) || has_leaf(nullable, wanted),
    }
}
