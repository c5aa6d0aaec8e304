//! The shard map: which shard owns each bucket, as of one epoch.

use crate::placement::{self, WeightedShard};
use crate::{BUCKETS, BucketId, Key, ShardId};

/// Why assignments do not make a shard map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    #[error("the shard map has {0} buckets, and a cluster has {BUCKETS}")]
    BucketCount(usize),
    #[error("bucket {bucket} is on shard {shard}, which is not a shard of the cluster")]
    UnknownShard { bucket: BucketId, shard: ShardId },
    #[error("the home shard {0} is not a shard of the cluster")]
    UnknownHome(ShardId),
}

/// Bucket -> shard, with an epoch that grows by one at each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    epoch: u64,
    /// BUCKETS entries.
    shards_by_bucket: Vec<ShardId>,
    /// Ascending, without repeats; the first is not necessarily the home shard.
    shards: Vec<ShardId>,
    home: ShardId,
}

impl ShardMap {
    /// A map from explicit assignments: `shards_by_bucket[n]` owns bucket n. A shard without a bucket
    /// is legal (it was just added, or is drained).
    ///
    /// # Errors
    /// The number of buckets is not [`BUCKETS`], or a bucket or the home is on no shard of `shards`.
    pub fn new(
        epoch: u64,
        home: ShardId,
        mut shards: Vec<ShardId>,
        shards_by_bucket: Vec<ShardId>,
    ) -> Result<Self, MapError> {
        shards.sort_unstable();
        shards.dedup();
        if shards_by_bucket.len() != usize::from(BUCKETS) {
            return Err(MapError::BucketCount(shards_by_bucket.len()));
        }
        if shards.binary_search(&home).is_err() {
            return Err(MapError::UnknownHome(home));
        }
        for (bucket, shard) in (0..BUCKETS).map(BucketId).zip(&shards_by_bucket) {
            if shards.binary_search(shard).is_err() {
                return Err(MapError::UnknownShard {
                    bucket,
                    shard: *shard,
                });
            }
        }
        Ok(Self {
            epoch,
            shards_by_bucket,
            shards,
            home,
        })
    }

    /// A first map, epoch 1: buckets divided over `shards` in proportion to their weights.
    ///
    /// # Errors
    /// `home` is not among `shards`.
    pub fn place(home: ShardId, shards: &[WeightedShard]) -> Result<Self, MapError> {
        Self::new(1, home, ids(shards), placement::place(shards))
    }

    /// The map after `shards` became this set: the next epoch, with only those buckets moved that an
    /// added shard takes or a removed one leaves. Depends on the set alone, not on the way to it.
    ///
    /// # Errors
    /// The home shard is not among `shards`.
    pub fn rebalanced(&self, shards: &[WeightedShard]) -> Result<Self, MapError> {
        Self::new(
            self.epoch + 1,
            self.home,
            ids(shards),
            placement::place(shards),
        )
    }

    /// The bucket of `key`: `hash(key, seed 0) & 4095`, with PostgreSQL's extended hash of its type.
    #[inline]
    #[must_use]
    pub fn bucket(key: Key<'_>) -> BucketId {
        BucketId((key.hash() & u64::from(BUCKETS - 1)) as u16)
    }

    /// The shard that owns `bucket`.
    #[inline]
    #[must_use]
    pub fn shard(&self, bucket: BucketId) -> ShardId {
        self.shards_by_bucket[usize::from(bucket.0)]
    }

    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    #[must_use]
    pub fn home(&self) -> ShardId {
        self.home
    }

    /// All shards, ascending, those without a bucket too.
    #[must_use]
    pub fn shards(&self) -> &[ShardId] {
        &self.shards
    }

    /// The owner of every bucket, by bucket number.
    #[must_use]
    pub fn shards_by_bucket(&self) -> &[ShardId] {
        &self.shards_by_bucket
    }

    /// How many buckets `shard` owns.
    #[must_use]
    pub fn bucket_count(&self, shard: ShardId) -> usize {
        self.shards_by_bucket
            .iter()
            .filter(|owner| **owner == shard)
            .count()
    }
}

fn ids(shards: &[WeightedShard]) -> Vec<ShardId> {
    shards.iter().map(|shard| shard.id).collect()
}
