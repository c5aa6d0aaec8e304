//! What is in scope while a survey is built.

use std::collections::HashMap;

use super::{KeyValue, Leaf, LeafId, Query, QueryId, Term};
use crate::plan::PlanContext;

/// Names visible at one query level while it is being built.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub leaves: Vec<LeafId>,
    /// Leaves before this one are not visible (in an ON clause, those outside the join).
    pub visible_from: usize,
    /// Nothing of this level is visible (inside a subquery in FROM that is not LATERAL).
    pub hidden: bool,
    /// Columns merged by USING or NATURAL, later ones first to be found.
    pub merged: Vec<Merged>,
}

/// A column that USING or NATURAL merged from both sides of a join.
#[derive(Debug)]
pub(super) struct Merged {
    pub name: String,
    /// `None` for a full join, whose merged column is neither side's.
    pub term: Option<Term>,
    /// The first leaf of the join, as an index into the level's leaves.
    pub start: usize,
}

/// A WITH query in scope. `query` is `None` while it is being built itself (recursion).
#[derive(Debug, Clone)]
pub(super) struct CommonTable {
    pub name: String,
    pub query: Option<QueryId>,
    pub recursive: bool,
    pub modifies: bool,
    pub mentioned: bool,
    pub column_names: Vec<String>,
}

pub(super) struct Builder<'a> {
    pub context: &'a PlanContext<'a>,
    pub queries: Vec<Query>,
    pub leaves: Vec<Leaf>,
    pub values: Vec<KeyValue>,
    pub levels: Vec<Level>,
    pub common_tables: Vec<CommonTable>,
    pub literals_matter: bool,
    pub outer_aggregates: bool,
    pub writes: Vec<LeafId>,
    pub locks: bool,
    /// Query levels that lock rows.
    pub lock_levels: usize,
    pub needs_ids_somewhere: bool,
    pub columns: HashMap<i32, Term>,
    pub relations_seen: usize,
    pub sublinks_seen: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(context: &'a PlanContext<'a>) -> Self {
        Self {
            context,
            queries: Vec::new(),
            leaves: Vec::new(),
            values: Vec::new(),
            levels: Vec::new(),
            common_tables: Vec::new(),
            literals_matter: false,
            outer_aggregates: false,
            writes: Vec::new(),
            locks: false,
            lock_levels: 0,
            needs_ids_somewhere: false,
            columns: HashMap::new(),
            relations_seen: 0,
            sublinks_seen: 0,
        }
    }

    pub(super) fn add_query(&mut self, query: Query) -> QueryId {
        self.queries.push(query);
        QueryId(self.queries.len() - 1)
    }

    /// Adds a leaf to the innermost level.
    pub(super) fn add_leaf(&mut self, leaf: Leaf) -> LeafId {
        self.leaves.push(leaf);
        let id = LeafId(self.leaves.len() - 1);
        if let Some(level) = self.levels.last_mut() {
            level.leaves.push(id);
        }
        id
    }
}
