//! Key -> bucket -> shard. Pure: no I/O, no clock, none of ours imported.
//!
//! Owns: PostgreSQL's hashes of the key types ([`hash`]), the shard map ([`ShardMap`]) and how a new
//! placement is chosen ([`place`]). Must never know: tables, connections, the catalog.

pub mod hash;
mod map;
mod placement;
mod relocation;

pub use map::{MapError, ShardMap};
pub use placement::{WeightedShard, place};
pub use relocation::{Relocation, relocations};

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

impl Key<'_> {
    /// PostgreSQL's extended hash of this value with seed 0.
    #[inline]
    #[must_use]
    pub fn hash(self) -> u64 {
        match self {
            Key::Int(value) => hash::integer(value),
            Key::Text(value) => hash::bytes(value),
            Key::Uuid(value) => hash::bytes(&value),
        }
    }
}

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::fmt::Display for BucketId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}
