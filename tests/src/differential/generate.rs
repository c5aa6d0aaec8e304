//! Random statements over the social tables: nearly all valid, and of one answer only.
//!
//! Takes choices from a seed; gives trees. What PostgreSQL leaves open is not generated: LIMIT without a total order
//! inside a statement, aggregates that depend on the order of rows, expressions that fail for some rows and may
//! or may not be evaluated.

mod expression;
mod faults;
mod query;
mod scope;
mod sources;
mod subqueries;
mod templates;
mod wider;
mod writes;

use super::dice::Dice;
use super::tables;
use super::tree::{Query, Statement};
use scope::Scope;

/// A source of statements, the same for the same seed.
pub struct Generator {
    pub dice: Dice,
    /// Aliases given so far in this statement.
    names: usize,
    /// Bounds the size of a statement.
    subqueries_left: usize,
    /// Common tables that may be named.
    common: Vec<(String, Vec<String>, Vec<super::types::Type>)>,
    /// As in [`tables::rows`].
    scale: usize,
    /// The next id to insert that no row has.
    next_id: i64,
}

impl Generator {
    pub fn new(seed: u64, scale: usize) -> Generator {
        Generator {
            dice: Dice::new(seed),
            names: 0,
            subqueries_left: 0,
            common: Vec::new(),
            scale,
            next_id: 1000,
        }
    }

    /// A statement that reads.
    pub fn read(&mut self) -> Statement {
        match self.dice.below(100) {
            0..5 => self.faulty(),
            5..8 => Statement::Query(self.recursive()),
            8..12 => self.seldom_read(),
            12..14 => self.seldom_lock(),
            _ => Statement::Query(self.whole_query()),
        }
    }

    fn begin(&mut self) {
        self.names = 0;
        self.common.clear();
        self.subqueries_left = *self.dice.pick(&[0, 1, 1, 2, 2, 3]);
    }

    fn whole_query(&mut self) -> Query {
        self.begin();
        let mut query = self.query_with_common_tables(&Scope::inside(&[]), None);
        self.finish_order(&mut query);
        query
    }

    /// A name that this statement has not used.
    fn name(&mut self, letter: char) -> String {
        self.names += 1;
        format!("{letter}{}", self.names)
    }

    fn some_user(&mut self) -> i64 {
        let users = i64::try_from(tables::users(self.scale)).unwrap_or(i64::MAX);
        self.dice.between(1, users + 2)
    }
}
