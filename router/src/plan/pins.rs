//! Which key values a statement can only concern. Takes a [`Survey`]; gives, for every table that is
//! divided, all equalities that hold for those of its rows that matter to the result. It knows no SQL
//! and decides nothing about plans.
//!
//! "Matter" is meant strictly: a statement whose tables are all pinned to one value gives the same
//! result when every other row is taken away. The rules, for a set E of equalities that hold in all
//! rows of a join that matter (equalities are never true of NULL):
//! - inner join: E and the ON clause hold in both sides.
//! - left join: only E holds in the left side (its rows come out without a match too); in the right
//!   side E and the ON clause do: a right row matters only by matching a left row that matters. If E
//!   speaks of the right side, then rows without a match do not matter, and the join is as an inner one.
//! - full join: nothing holds in either side.
//! - subquery in FROM: what holds of its output columns holds of the columns they are, unless it is
//!   closed (LIMIT, DISTINCT ON, windows) or groups by other columns.
//! - subquery in an expression: what holds around it holds in it, for its outer columns.

mod always;
mod known;
mod presence;

pub use always::{intrinsic, row_facts};
pub use presence::{always_present, is_key_of_rows};

use super::survey::{Body, Fact, Join, LeafId, LeafKind, Query, QueryId, Rows, Sub, Survey, Term};
use always::{any_facts, output_values};
use known::Known;

/// Most query levels visited: WITH queries mentioned by others, each twice, grow without bound.
const MOST_VISITS: usize = 2_000;

/// One mention of a table that is divided, with what holds in its rows.
#[derive(Debug)]
pub struct Use {
    pub leaf: LeafId,
    pub facts: Vec<Fact>,
    /// Stands in the FROM list of the outermost query level.
    pub at_root: bool,
}

/// A key column that a statement sets, with what holds of it.
#[derive(Debug)]
pub struct Rekeyed {
    pub leaf: LeafId,
    pub term: Option<Term>,
    pub facts: Vec<Fact>,
}

/// The result of the analysis.
#[derive(Debug, Default)]
pub struct Pins {
    pub uses: Vec<Use>,
    pub rekeyed: Vec<Rekeyed>,
    /// The statement is too entangled to be looked through.
    pub gave_up: bool,
}

impl Pins {
    pub fn of(survey: &Survey) -> Self {
        Self::of_query(survey, survey.root)
    }

    /// As if `query` were the whole statement.
    pub fn of_query(survey: &Survey, query: QueryId) -> Self {
        let mut visitor = Visitor {
            survey,
            pins: Self::default(),
            root: query,
            visits: 0,
        };
        visitor.query(query, &Known::default(), &[]);
        visitor.pins
    }

    /// Whether every use is pinned to `term`.
    pub fn all_pinned_to(&self, survey: &Survey, term: Term) -> bool {
        !self.gave_up && self.uses.iter().all(|used| used.is_pinned_to(survey, term))
    }
}

impl Use {
    /// The key column of the table.
    pub fn key(&self, survey: &Survey) -> Option<Term> {
        let (key, _) = survey.leaf(self.leaf).shard_key()?;
        Some(Term::Column(self.leaf, key))
    }

    pub fn is_pinned_to(&self, survey: &Survey, term: Term) -> bool {
        self.key(survey)
            .is_some_and(|key| connected(&self.facts, key).contains(&term))
    }

    /// All terms that the key is equal to.
    pub fn equals(&self, survey: &Survey) -> Vec<Term> {
        self.key(survey)
            .map_or_else(Vec::new, |key| connected(&self.facts, key))
    }
}

/// All terms that are equal to `start`, itself included.
pub fn connected(facts: &[Fact], start: Term) -> Vec<Term> {
    let mut class = vec![start];
    let mut next = 0;
    while let Some(&term) = class.get(next) {
        for Fact(left, right) in facts {
            let other = if *left == term {
                *right
            } else if *right == term {
                *left
            } else {
                continue;
            };
            if !class.contains(&other) {
                class.push(other);
            }
        }
        next += 1;
    }
    class
}

struct Visitor<'a> {
    survey: &'a Survey,
    pins: Pins,
    root: QueryId,
    visits: usize,
}

impl Visitor<'_> {
    /// `around`: what is known of outer columns; `pushed`: what the output columns are outside.
    fn query(&mut self, id: QueryId, around: &Known, pushed: &[(usize, Term)]) {
        self.visits += 1;
        if self.visits > MOST_VISITS {
            self.pins.gave_up = true;
            return;
        }
        let query = self.survey.query(id);
        for apart in &query.apart {
            self.query(*apart, &Known::default(), &[]);
        }
        match &query.body {
            Body::Rows(rows) => self.rows(id, query, rows, around, pushed),
            Body::Set {
                branches,
                limited,
                subs,
            } => {
                let pushed = if *limited { &[] } else { pushed };
                branches
                    .iter()
                    .for_each(|branch| self.query(*branch, around, pushed));
                self.subs(subs, around);
            }
            Body::Values { subs } => self.subs(subs, around),
            Body::Insert {
                target,
                source,
                key,
                value,
                subs,
            } => {
                let value = value.or_else(|| self.inserted_key((*source)?, (*key)?));
                self.insert(*target, *source, value, subs, around);
            }
        }
    }

    fn rows(
        &mut self,
        id: QueryId,
        query: &Query,
        rows: &Rows,
        around: &Known,
        pushed: &[(usize, Term)],
    ) {
        let mut known = around.with(row_facts(self.survey, rows));
        for (index, term) in pushed {
            let Some(column) = pushable(query, rows, *index) else {
                continue;
            };
            // That the output is this column says nothing of NULL; that it is equal to another does.
            match around.speaks_strictly_of(*term) {
                true => known.strict.push(Fact(column, *term)),
                false => known.names.push(Fact(column, *term)),
            }
        }
        if let Some(from) = &rows.from {
            known.strengthen(self.survey, from);
            self.join(from, &known, id == self.root);
            self.added(rows, from, around);
        }
        self.subs(&rows.filter.subs, &known);
        self.subs(&rows.subs, &known);
        for (leaf, term) in &rows.rekeyed {
            self.pins.rekeyed.push(Rekeyed {
                leaf: *leaf,
                term: *term,
                facts: known.all(),
            });
        }
    }

    /// Rows that MERGE inserts: their key must be known from the source alone.
    fn added(&mut self, rows: &Rows, from: &Join, around: &Known) {
        for (leaf, term) in &rows.added {
            let Some((key, _)) = self.survey.leaf(*leaf).shard_key() else {
                continue;
            };
            let own = term.map(|term| Fact(Term::Column(*leaf, key), term));
            let known = around.with(intrinsic(self.survey, from)).with(own);
            self.pins.uses.push(Use {
                leaf: *leaf,
                facts: known.all(),
                at_root: true,
            });
        }
    }

    fn insert(
        &mut self,
        target: LeafId,
        source: Option<QueryId>,
        value: Option<Term>,
        subs: &[Sub],
        around: &Known,
    ) {
        let mut known = around.clone();
        if let Some((column, _)) = self.survey.leaf(target).shard_key() {
            known
                .strict
                .extend(value.map(|term| Fact(Term::Column(target, column), term)));
            self.pins.uses.push(Use {
                leaf: target,
                facts: known.all(),
                at_root: false,
            });
        }
        if let Some(source) = source {
            self.query(source, around, &[]);
        }
        self.subs(subs, &known);
    }

    /// The value that a column of the source has in all rows inserted.
    fn inserted_key(&self, source: QueryId, key: usize) -> Option<Term> {
        *output_values(self.survey, source, 0).get(key)?
    }

    fn join(&mut self, join: &Join, known: &Known, at_root: bool) {
        match join {
            Join::Leaf { leaf, subs } => {
                self.leaf(*leaf, known, at_root);
                self.subs(subs, &Known::default());
            }
            Join::Inner { left, right, on } => {
                let known = known.with(on.facts.iter().copied());
                self.join(left, &known, at_root);
                self.join(right, &known, at_root);
                self.subs(&on.subs, &known);
            }
            Join::Outer { kept, nullable, on } => {
                self.join(kept, known, at_root);
                let mut inside = known
                    .with(on.facts.iter().copied())
                    .with(any_facts(self.survey, on))
                    .with(intrinsic(self.survey, nullable));
                inside.strengthen(self.survey, kept);
                inside.strengthen(self.survey, nullable);
                self.join(nullable, &inside, at_root);
                self.subs(&on.subs, &inside);
            }
            Join::Full { left, right, on } => {
                for side in [left, right] {
                    let own = Known {
                        strict: intrinsic(self.survey, side),
                        names: Vec::new(),
                    };
                    self.join(side, &own, at_root);
                }
                self.subs(&on.subs, &Known::default());
            }
        }
    }

    fn leaf(&mut self, leaf: LeafId, known: &Known, at_root: bool) {
        match self.survey.leaf(leaf).kind {
            LeafKind::Derived { query, pushes } => {
                let outputs = self
                    .survey
                    .query(query)
                    .outputs
                    .as_ref()
                    .map_or(0, Vec::len);
                let pushed: Vec<_> = (0..outputs)
                    .map(|index| (index, Term::Column(leaf, index)))
                    .collect();
                match pushes {
                    true => self.query(query, known, &pushed),
                    false => self.query(query, &Known::default(), &[]),
                }
            }
            LeafKind::Table { .. } if self.survey.leaf(leaf).shard_key().is_some() => {
                self.pins.uses.push(Use {
                    leaf,
                    facts: known.all(),
                    at_root,
                });
            }
            _ => {}
        }
    }

    fn subs(&mut self, subs: &[Sub], known: &Known) {
        for sub in subs {
            self.query(sub.query, known, &sub.pushed);
        }
    }
}

/// The column inside a query that an equality about its output column may be said of.
fn pushable(query: &Query, rows: &Rows, index: usize) -> Option<Term> {
    let output = query.outputs.as_ref()?.get(index)?;
    let term = output.term?;
    let free = !rows.closed
        && rows
            .grouped
            .as_ref()
            .is_none_or(|grouped| grouped.contains(&term));
    (free && output.column.family.is_some()).then_some(term)
}
