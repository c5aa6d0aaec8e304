//! How many server connections each shard may have, over all workers.
//!
//! A session that holds a connection of one shard and waits for another's may be part of a circle of
//! such sessions. So each shard has a reserve beyond its limit, and as many sessions as a reserve has
//! connections for may use it: whoever has that right gets a connection of every shard without waiting,
//! comes to its end, and passes the right on.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use topology::ShardId;

/// A session's connections of one shard: that of its transaction, and one apart for rows that it gathers.
const PER_SESSION: usize = 2;

/// Shards are added at any time, and each is looked up without a lock: their counts are made by the chunk.
const CHUNK: usize = 256;
const CHUNKS: usize = (u16::MAX as usize + 1) / CHUNK;

type Chunk = OnceLock<Box<[ShardPermits]>>;

/// One shard's count.
#[derive(Debug, Default)]
struct ShardPermits {
    taken: AtomicUsize,
    waiting: AtomicUsize,
    /// When it was last found to be out of reach, in milliseconds of [`Permits::since`] and one more; 0: it is not.
    out_of_reach: AtomicU64,
}

/// A shard that could not be reached is left alone for so long by what any shard can do. Then one statement of the
/// whole process looks again.
const LEFT_ALONE: Duration = Duration::from_secs(10);

/// All shards' counts.
#[derive(Debug)]
pub struct Permits {
    shards: Box<[Chunk]>,
    limit: usize,
    /// So many sessions have a [`ReserveRight`] at once, and may have [`PER_SESSION`] times as many further
    /// connections a shard.
    reserve: usize,
    rights_taken: AtomicUsize,
    /// Rung when somebody begins to wait, and when a permit is free for another worker: all listen.
    bell: Notify,
    since: Instant,
}

impl Permits {
    /// `limit`: connections a shard.
    pub fn new(limit: usize) -> Self {
        Self {
            shards: (0..CHUNKS).map(|_| Chunk::new()).collect(),
            limit,
            reserve: (limit / 4).max(1),
            rights_taken: AtomicUsize::new(0),
            bell: Notify::new(),
            since: Instant::now(),
        }
    }

    fn shard(&self, shard: ShardId) -> &ShardPermits {
        let number = usize::from(shard.0);
        let chunk = self.shards[number / CHUNK]
            .get_or_init(|| (0..CHUNK).map(|_| ShardPermits::default()).collect());
        &chunk[number % CHUNK]
    }

    /// Takes a permit within the limit, if there is one.
    pub fn acquire(self: &Arc<Self>, shard: ShardId) -> Option<Permit> {
        self.acquire_below(shard, self.limit)
    }

    /// Takes a permit, of the reserve if need be. There is one: a session with the right takes at most
    /// [`PER_SESSION`] connections of each shard.
    pub fn acquire_reserved(self: &Arc<Self>, shard: ShardId, _: &ReserveRight) -> Option<Permit> {
        self.acquire_below(shard, self.limit + PER_SESSION * self.reserve)
    }

    fn acquire_below(self: &Arc<Self>, shard: ShardId, limit: usize) -> Option<Permit> {
        let taken = &self.shard(shard).taken;
        count_up(taken, limit).then(|| Permit {
            permits: Arc::clone(self),
            shard,
        })
    }

    /// The right to the reserves, if one is free.
    pub fn reserve_right(self: &Arc<Self>) -> Option<ReserveRight> {
        count_up(&self.rights_taken, self.reserve).then(|| ReserveRight {
            permits: Arc::clone(self),
        })
    }

    /// More are taken than the plain limit allows: the reserve is in use, give it back first.
    pub fn above_limit(&self, shard: ShardId) -> bool {
        self.taken(shard) > self.limit
    }

    /// Connections to `shard`, open or being opened, over all workers.
    pub fn taken(&self, shard: ShardId) -> usize {
        self.shard(shard).taken.load(Ordering::Acquire)
    }

    /// What came of an attempt to connect to `shard`.
    pub fn note_reached(&self, shard: ShardId, reached: bool) {
        let out_of_reach = &self.shard(shard).out_of_reach;
        let moment = if reached { 0 } else { self.milliseconds() };
        out_of_reach.store(moment, Ordering::Relaxed);
    }

    /// Whether what any shard can do may go to `shard`.
    pub fn seems_up(&self, shard: ShardId) -> bool {
        let out_of_reach = &self.shard(shard).out_of_reach;
        let noted = out_of_reach.load(Ordering::Relaxed);
        if noted == 0 {
            return true;
        }
        let now = self.milliseconds();
        let long_ago = u128::from(now.saturating_sub(noted)) >= LEFT_ALONE.as_millis();
        // Of several that find it so the first one tries.
        let order = Ordering::Relaxed;
        long_ago
            && out_of_reach
                .compare_exchange(noted, now, order, order)
                .is_ok()
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Sessions that wait for a connection to `shard`, over all workers.
    pub fn waiting(&self, shard: ShardId) -> usize {
        self.shard(shard).waiting.load(Ordering::Acquire)
    }

    /// Wakes the workers: there may be something to give, or somebody to give it to.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// Until the next [`Self::ring`].
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Counts the caller among those that wait until the guard is dropped.
    pub fn wait(self: &Arc<Self>, shard: ShardId) -> Waiting {
        self.shard(shard).waiting.fetch_add(1, Ordering::AcqRel);
        self.ring();
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
        let taken = &self.permits.shard(self.shard).taken;
        taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One more, if there are fewer than `limit`.
fn count_up(count: &AtomicUsize, limit: usize) -> bool {
    let more = |now: usize| (now < limit).then_some(now + 1);
    count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
        .is_ok()
}

/// The right to the reserve of every shard; given back when dropped, after the connections.
#[derive(Debug)]
pub struct ReserveRight {
    permits: Arc<Permits>,
}

impl Drop for ReserveRight {
    fn drop(&mut self) {
        self.permits.rights_taken.fetch_sub(1, Ordering::AcqRel);
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
        let waiting = &self.permits.shard(self.shard).waiting;
        waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(0);

    #[test]
    fn only_a_session_with_the_right_may_use_the_reserve() {
        let permits = Arc::new(Permits::new(1));
        let first = permits.acquire(SHARD);
        assert!(first.is_some());
        assert!(permits.acquire(SHARD).is_none());
        let right = permits.reserve_right().unwrap();
        let reserved = permits.acquire_reserved(SHARD, &right);
        assert!(reserved.is_some());
        assert!(permits.above_limit(SHARD));
        drop((first, reserved));
        assert_eq!(permits.taken(SHARD), 0);
    }

    #[test]
    fn there_are_as_many_rights_as_reserved_connections() {
        let permits = Arc::new(Permits::new(8));
        let full: Vec<_> = (0..8).map(|_| permits.acquire(SHARD).unwrap()).collect();
        let rights: Vec<_> = (0..2).map(|_| permits.reserve_right().unwrap()).collect();
        assert!(permits.reserve_right().is_none());
        for right in &rights {
            let taken = permits.acquire_reserved(SHARD, right);
            std::mem::forget(taken.unwrap());
        }
        drop((full, rights));
        assert!(permits.reserve_right().is_some());
    }
}
