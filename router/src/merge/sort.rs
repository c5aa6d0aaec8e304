//! Rows of several shards, each sorted, to one sorted sequence.
//!
//! Pulled: it holds at most one row of each shard, and asks for the next only when it needs it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use wire::backend::DataRow;

use super::{Column, MergeError, SortKey, order};

/// The heads of the shards that have one.
#[derive(Debug)]
pub struct MergeSort {
    keys: Vec<SortKey>,
    columns: Vec<Column>,
    heads: BinaryHeap<Reverse<Head>>,
    /// By shard, the key of its row given last.
    given: Vec<Vec<u8>>,
    /// To be written over.
    spare: Vec<u8>,
}

/// Compared by key, then by shard, so that equal rows come in a fixed order.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: Vec<u8>,
    shard: usize,
    row: Bytes,
}

impl MergeSort {
    pub fn new(keys: Vec<SortKey>, columns: Vec<Column>) -> Self {
        Self {
            keys,
            columns,
            heads: BinaryHeap::new(),
            given: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The next row of a shard whose last one was popped.
    ///
    /// # Errors
    /// It cannot be read, or it belongs before the last one: the shard knows another order.
    pub fn push_head(&mut self, shard: usize, row: Bytes) -> Result<(), MergeError> {
        let mut key = std::mem::take(&mut self.spare);
        key.clear();
        order::append_row(&self.keys, &self.columns, &DataRow::parse(&row)?, &mut key)?;
        if let Some(given) = self.given.get_mut(shard) {
            if *given > key {
                return Err(MergeError::Unsorted);
            }
            self.spare = std::mem::take(given);
        }
        self.heads.push(Reverse(Head { key, shard, row }));
        Ok(())
    }

    /// The least of all heads, with its shard. Right only when every shard with rows left has one.
    pub fn pop(&mut self) -> Option<(usize, Bytes)> {
        let Reverse(head) = self.heads.pop()?;
        if self.given.len() <= head.shard {
            self.given.resize_with(head.shard + 1, Vec::new);
        }
        self.given[head.shard] = head.key;
        Some((head.shard, head.row))
    }
}
