//! Key -> bucket -> shard. Pure: no I/O, no clock, none of ours imported.

/// Number of buckets of a cluster; fixed for its life.
pub const BUCKETS: u16 = 4096;

/// One PostgreSQL primary with its replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// One of [`BUCKETS`] hash buckets, the unit of placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketId(pub u16);

/// A shard key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key<'a> {
    /// int2, int4, int8
    Int(i64),
    /// text, varchar: the bytes in the server's encoding
    Text(&'a [u8]),
    Uuid([u8; 16]),
}

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
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
    /// The bucket of `key`: `hash(key, seed 0) & 4095`, with PostgreSQL's extended hash of its type.
    pub fn bucket(_key: Key<'_>) -> BucketId {
        BucketId(0)
    }

    /// The shard that owns `bucket`.
    pub fn shard(&self, bucket: BucketId) -> ShardId {
        self.shards_by_bucket[usize::from(bucket.0)]
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn home(&self) -> ShardId {
        self.home
    }

    /// All shards, ascending.
    pub fn shards(&self) -> &[ShardId] {
        &self.shards
    }
}
