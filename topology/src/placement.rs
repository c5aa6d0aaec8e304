//! Weighted rendezvous hashing: which shard should own each bucket of a new placement.
//!
//! Every shard draws a score for every bucket, and the highest score owns it. A shard that is added
//! changes no other shard's scores, so it takes its share evenly from all, and nothing else moves.

use twox_hash::XxHash3_64;

use crate::{BUCKETS, BucketId, ShardId};

/// A shard and its share: a shard of weight 2 gets twice the buckets of one of weight 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightedShard {
    pub id: ShardId,
    /// Zero or less: no buckets, as long as another shard has a weight.
    pub weight: f64,
}

/// The owner of every bucket, by bucket number; empty when there are no shards.
#[must_use]
pub fn place(shards: &[WeightedShard]) -> Vec<ShardId> {
    (0..BUCKETS)
        .map(BucketId)
        .filter_map(|bucket| owner(bucket, shards))
        .collect()
}

fn owner(bucket: BucketId, shards: &[WeightedShard]) -> Option<ShardId> {
    let by_score = |left: &&WeightedShard, right: &&WeightedShard| {
        score(bucket, left)
            .total_cmp(&score(bucket, right))
            .then(right.id.cmp(&left.id))
    };
    shards.iter().max_by(by_score).map(|shard| shard.id)
}

/// `-weight / ln(u)` for a `u` drawn uniformly from (0, 1) by hashing bucket and shard (Schindelhauer
/// and Schomaker, "Weighted distributed hash tables").
fn score(bucket: BucketId, shard: &WeightedShard) -> f64 {
    let mut drawn = [0; 4];
    drawn[..2].copy_from_slice(&bucket.0.to_le_bytes());
    drawn[2..].copy_from_slice(&shard.id.0.to_le_bytes());
    // 53 bits fill a double's fraction; the half keeps the value off 0 and 1.
    let uniform = ((XxHash3_64::oneshot(&drawn) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -shard.weight / uniform.ln()
}
