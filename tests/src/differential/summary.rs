//! What a run has found, counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::compare::Difference;

/// Counts of one session, or of all.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    pub statements: usize,
    pub same: usize,
    /// Of `same`: with at least one row.
    pub with_rows: usize,
    pub errors_equal: usize,
    /// By the router's id: how many, and one of them.
    pub refused: BTreeMap<String, (usize, String)>,
    /// One PostgreSQL takes too long for it.
    pub too_slow: usize,
    pub different: usize,
    pub hangs: usize,
    pub crashes: usize,
    pub time: Duration,
}

impl Summary {
    pub fn add(&mut self, other: &Summary) {
        self.statements += other.statements;
        self.same += other.same;
        self.with_rows += other.with_rows;
        self.errors_equal += other.errors_equal;
        self.too_slow += other.too_slow;
        self.different += other.different;
        self.hangs += other.hangs;
        self.crashes += other.crashes;
        self.time = self.time.max(other.time);
        for (id, (count, example)) in &other.refused {
            self.refuse(id, *count, example);
        }
    }

    pub fn refuse(&mut self, id: &str, count: usize, example: &str) {
        let entry = self.refused.entry(id.to_owned());
        let known = entry.or_insert_with(|| (0, example.to_owned()));
        known.0 += count;
        if example.len() < known.1.len() {
            example.clone_into(&mut known.1);
        }
    }

    /// Counts a difference.
    pub(super) fn count(&mut self, difference: &Difference) {
        match difference {
            Difference::Silence(why) if why.contains("closed") => self.crashes += 1,
            Difference::Silence(_) => self.hangs += 1,
            _ => self.different += 1,
        }
    }

    pub fn refusals(&self) -> usize {
        self.refused.values().map(|(count, _)| count).sum()
    }

    /// Nothing is wrong, whatever is refused.
    pub fn is_clean(&self) -> bool {
        self.different + self.hangs + self.crashes == 0
    }

    /// One line.
    pub fn line(&self) -> String {
        format!(
            "{} statements in {} s: {} same ({} with rows), {} errors equal, {} refused, {} too slow, {} different, {} hangs, {} crashes",
            self.statements,
            self.time.as_secs(),
            self.same,
            self.with_rows,
            self.errors_equal,
            self.refusals(),
            self.too_slow,
            self.different,
            self.hangs,
            self.crashes
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.line())?;
        let mut refused: Vec<_> = self.refused.iter().collect();
        refused.sort_by_key(|(_, (count, _))| std::cmp::Reverse(*count));
        for (id, (count, example)) in refused {
            let share = 100.0 * *count as f64 / self.statements.max(1) as f64;
            writeln!(f, "  refused {count} ({share:.2}%) {id}: {example}")?;
        }
        Ok(())
    }
}
