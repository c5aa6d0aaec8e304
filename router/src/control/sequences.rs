//! Blocks of ids, taken from the home shard's own sequences.
//!
//! Every id comes from `nextval`, so no one, router or client on the home shard, is ever given the same
//! one. Owns what a lease brought beyond one unbroken block.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use schema::sql;

use super::connections::Connections;
use super::error::ControlError;
use super::watch::Watched;
use crate::plan::SequenceName;

/// Ids `first`, `first + increment`, ..., `count` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdBlock {
    pub first: i64,
    pub increment: i64,
    pub count: u32,
    /// [`super::Database::sequence_epoch`] that the block is good for.
    pub epoch: u64,
}

/// Blocks that were taken and not asked for yet, by database and sequence.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    rest: Mutex<HashMap<(String, SequenceName), Vec<IdBlock>>>,
}

impl Leases {
    /// One block of at most `count` ids.
    pub(crate) async fn take(
        &self,
        connections: &Arc<Connections>,
        watched: &Watched,
        sequence: &SequenceName,
        count: u32,
    ) -> Result<IdBlock, ControlError> {
        let database = watched.database.name();
        let epoch = watched.database.sequence_epoch();
        let key = (database.to_owned(), sequence.clone());
        if let Some(block) = self.left_over(&key, epoch) {
            return Ok(block);
        }
        let home = connections.get_home(database).await?;
        let amount = i32::try_from(count.max(1)).unwrap_or(i32::MAX);
        let row = home
            .query_one(sql::LEASE, &[&sequence.schema, &sequence.name, &amount])
            .await;
        let ids: Vec<i64> = row.map_err(home.failed())?.get(0);
        let mut blocks = blocks(&ids, epoch);
        // A lease has at least one id, or is an error.
        let first = blocks.pop().ok_or(ControlError::Busy)?;
        if !blocks.is_empty() {
            self.rest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key, blocks);
        }
        Ok(first)
    }

    pub(crate) fn forget(&self, database: &str) {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.retain(|key, _| key.0 != database);
    }

    fn left_over(&self, key: &(String, SequenceName), epoch: u64) -> Option<IdBlock> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks = rest.get_mut(key)?;
        let block = blocks.pop().filter(|block| block.epoch == epoch);
        if block.is_none() || blocks.is_empty() {
            rest.remove(key);
        }
        block
    }
}

/// Unbroken runs, the last one first.
fn blocks(ids: &[i64], epoch: u64) -> Vec<IdBlock> {
    let mut blocks: Vec<IdBlock> = Vec::new();
    for id in ids {
        match blocks.last_mut() {
            Some(block) if block.takes(*id) => {
                block.increment = id.wrapping_sub(block.first) / i64::from(block.count);
                block.count += 1;
            }
            _ => blocks.push(IdBlock {
                first: *id,
                increment: 1,
                count: 1,
                epoch,
            }),
        }
    }
    blocks.reverse();
    blocks
}

impl IdBlock {
    /// The next id of the block, which then is one id shorter.
    pub fn take(&mut self) -> Option<i64> {
        self.count = self.count.checked_sub(1)?;
        let id = self.first;
        // Behind the last id nothing is read any more.
        self.first = id.wrapping_add(self.increment);
        Some(id)
    }

    /// Whether `id` is the next one of this block; a block of one takes any.
    fn takes(&self, id: i64) -> bool {
        let count = i64::from(self.count);
        let next = self
            .increment
            .checked_mul(count)
            .and_then(|way| self.first.checked_add(way));
        self.count == 1 && id.checked_sub(self.first).is_some() || next == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(ids: &[i64]) -> Vec<(i64, i64, u32)> {
        let blocks = blocks(ids, 1);
        blocks
            .iter()
            .rev()
            .map(|block| (block.first, block.increment, block.count))
            .collect()
    }

    #[test]
    fn unbroken_ids_are_one_block() {
        assert_eq!(runs(&[1, 2, 3]), [(1, 1, 3)]);
        assert_eq!(runs(&[10, 5, 0, -5]), [(10, -5, 4)]);
        assert_eq!(runs(&[7]), [(7, 1, 1)]);
        assert!(runs(&[]).is_empty());
    }

    #[test]
    fn a_block_gives_each_id_once() {
        let mut block = blocks(&[10, 15, 20], 1)[0];
        assert_eq!(
            [(); 4].map(|()| block.take()),
            [Some(10), Some(15), Some(20), None]
        );
    }

    #[test]
    fn ids_taken_by_others_in_between_break_the_block() {
        assert_eq!(runs(&[1, 2, 5, 6, 7]), [(1, 1, 2), (5, 1, 3)]);
        assert_eq!(
            runs(&[i64::MIN, i64::MAX]),
            [(i64::MIN, 1, 1), (i64::MAX, 1, 1)]
        );
    }
}
