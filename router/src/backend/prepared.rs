//! Which prepared statements a server connection has: least recently used ones go first.

use std::rc::Rc;

use rustc_hash::FxHashMap;

/// A statement text with its declared parameter types: one per worker, however many clients
/// prepare it.
#[derive(Debug, PartialEq, Eq)]
pub struct StatementIdentity {
    /// Unique in this process: the statement is called `o<number>` on every server connection.
    pub number: u64,
    pub text: Box<str>,
    pub types: Box<[u32]>,
    /// `o<number>`
    pub server_name: Box<[u8]>,
}

/// The prepared statements of one server connection.
#[derive(Debug)]
pub struct PreparedStatements {
    last_use_by_number: FxHashMap<u64, u64>,
    clock: u64,
    limit: usize,
    /// What the unnamed statement is now, and the catalog version it was parsed under.
    pub unnamed: Option<(Rc<StatementIdentity>, u64)>,
    /// `BEGIN` is prepared as `obegin`, `COMMIT` as `ocommit`.
    pub transaction_control: bool,
    /// `CALL oskol.collect` is prepared as `ocollect`.
    pub collect: bool,
}

impl PreparedStatements {
    pub fn new(limit: usize) -> Self {
        Self {
            last_use_by_number: FxHashMap::default(),
            clock: 0,
            limit: limit.max(1),
            unnamed: None,
            transaction_control: false,
            collect: false,
        }
    }

    /// Marks `number` as used now; false if it is not prepared here.
    pub fn touch(&mut self, number: u64) -> bool {
        self.clock += 1;
        match self.last_use_by_number.get_mut(&number) {
            Some(last_use) => {
                *last_use = self.clock;
                true
            }
            None => false,
        }
    }

    /// Records that `number` is being prepared; returns the one that must be closed to stay within
    /// the limit.
    pub fn insert(&mut self, number: u64) -> Option<u64> {
        let evicted = if self.last_use_by_number.len() >= self.limit {
            self.oldest()
        } else {
            None
        };
        if let Some(oldest) = evicted {
            self.last_use_by_number.remove(&oldest);
        }
        self.clock += 1;
        self.last_use_by_number.insert(number, self.clock);
        evicted
    }

    fn oldest(&self) -> Option<u64> {
        self.last_use_by_number
            .iter()
            .min_by_key(|(_, last_use)| **last_use)
            .map(|(n, _)| *n)
    }

    /// A Parse of `number` failed, or it was closed.
    pub fn remove(&mut self, number: u64) {
        self.last_use_by_number.remove(&number);
    }

    /// DISCARD ALL or DEALLOCATE ALL ran on the connection.
    pub fn clear(&mut self) {
        self.last_use_by_number.clear();
        self.unnamed = None;
        self.transaction_control = false;
        self.collect = false;
    }

    pub fn len(&self) -> usize {
        self.last_use_by_number.len()
    }

    pub fn is_empty(&self) -> bool {
        self.last_use_by_number.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_statement_is_closed_first() {
        let mut prepared = PreparedStatements::new(2);
        assert_eq!(prepared.insert(1), None);
        assert_eq!(prepared.insert(2), None);
        assert!(prepared.touch(1));
        assert_eq!(prepared.insert(3), Some(2));
        assert!(!prepared.touch(2));
        assert_eq!(prepared.len(), 2);
    }
}
