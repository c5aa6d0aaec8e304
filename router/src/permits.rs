//! How many server connections each shard may have, over all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashMap;
use topology::ShardId;

/// One shard's count.
#[derive(Debug)]
struct ShardPermits {
    taken: AtomicUsize,
    waiting: AtomicUsize,
}

/// All shards' counts.
#[derive(Debug)]
pub struct Permits {
    shards: FxHashMap<ShardId, ShardPermits>,
    limit: usize,
    /// Further connections a shard, only for transactions that hold a connection of another shard.
    reserve: usize,
}

impl Permits {
    /// `limit`: connections a shard.
    pub fn new(shards: impl Iterator<Item = ShardId>, limit: usize) -> Self {
        let none = || ShardPermits {
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
        };
        let shards = shards.map(|shard| (shard, none())).collect();
        Self {
            shards,
            limit,
            reserve: (limit / 4).max(1),
        }
    }

    /// Takes a permit if there is one. `holding` opens the reserve.
    pub fn acquire(self: &Arc<Self>, shard: ShardId, holding: bool) -> Option<Permit> {
        let limit = if holding {
            self.limit + self.reserve
        } else {
            self.limit
        };
        let take = |taken: usize| (taken < limit).then_some(taken + 1);
        let taken = &self.shards.get(&shard)?.taken;
        taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, take)
            .ok()?;
        Some(Permit {
            permits: Arc::clone(self),
            shard,
        })
    }

    /// More are taken than the plain limit allows: the reserve is in use, give it back first.
    pub fn above_limit(&self, shard: ShardId) -> bool {
        self.taken(shard) > self.limit
    }

    /// Connections to `shard`, open or being opened, over all workers.
    pub fn taken(&self, shard: ShardId) -> usize {
        self.shards
            .get(&shard)
            .map_or(0, |shard| shard.taken.load(Ordering::Acquire))
    }

    /// Sessions that wait for a connection to `shard`, over all workers.
    pub fn waiting(&self, shard: ShardId) -> usize {
        self.shards
            .get(&shard)
            .map_or(0, |shard| shard.waiting.load(Ordering::Acquire))
    }

    /// Counts the caller among those that wait until the guard is dropped.
    pub fn wait(self: &Arc<Self>, shard: ShardId) -> Waiting {
        if let Some(count) = self.shards.get(&shard) {
            count.waiting.fetch_add(1, Ordering::AcqRel);
        }
        Waiting {
            permits: Arc::clone(self),
            shard,
        }
    }
}

/// Leave to have one connection; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    permits: Arc<Permits>,
    shard: ShardId,
}

impl Permit {
    pub fn shard(&self) -> ShardId {
        self.shard
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(count) = self.permits.shards.get(&self.shard) {
            count.taken.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Somebody waits.
#[derive(Debug)]
pub struct Waiting {
    permits: Arc<Permits>,
    shard: ShardId,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(count) = self.permits.shards.get(&self.shard) {
            count.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_holder_may_use_the_reserve() {
        let permits = Arc::new(Permits::new([ShardId(0)].into_iter(), 1));
        let first = permits.acquire(ShardId(0), false);
        assert!(first.is_some());
        assert!(permits.acquire(ShardId(0), false).is_none());
        let reserved = permits.acquire(ShardId(0), true);
        assert!(reserved.is_some());
        assert!(permits.above_limit(ShardId(0)));
        drop((first, reserved));
        assert_eq!(permits.taken(ShardId(0)), 0);
    }
}
