//! From one placement to another: which buckets go from where to where.

use std::collections::BTreeMap;

use crate::{BucketId, ShardId};

/// Buckets that go from one shard to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocation {
    pub source: ShardId,
    pub target: ShardId,
    /// Ascending, at least one.
    pub buckets: Vec<BucketId>,
}

impl Relocation {
    /// The same in parts of at most `most` buckets, which is at least one.
    #[must_use]
    pub fn in_parts(&self, most: usize) -> Vec<Self> {
        let parts = self.buckets.chunks(most.max(1)).map(|buckets| Self {
            buckets: buckets.to_vec(),
            ..*self
        });
        parts.collect()
    }
}

/// What must move so that the owners `now` (by bucket number) become those `wanted`; by source, then target.
#[must_use]
pub fn relocations(now: &[ShardId], wanted: &[ShardId]) -> Vec<Relocation> {
    let mut moves: BTreeMap<(ShardId, ShardId), Vec<BucketId>> = BTreeMap::new();
    for ((bucket, source), target) in (0..).map(BucketId).zip(now).zip(wanted) {
        if source != target {
            moves.entry((*source, *target)).or_default().push(bucket);
        }
    }
    let relocation = |((source, target), buckets)| Relocation {
        source,
        target,
        buckets,
    };
    moves.into_iter().map(relocation).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BUCKETS, WeightedShard, place};

    fn shards(weights: &[f64]) -> Vec<WeightedShard> {
        let shard = |(id, weight): (u16, &f64)| WeightedShard {
            id: ShardId(id),
            weight: *weight,
        };
        (0..).zip(weights).map(shard).collect()
    }

    #[test]
    fn a_third_shard_takes_its_share_from_both_and_nothing_else_moves() {
        let (two, three) = (
            place(&shards(&[1.0, 1.0])),
            place(&shards(&[1.0, 1.0, 1.0])),
        );
        let moves = relocations(&two, &three);
        let ends: Vec<_> = moves.iter().map(|m| (m.source.0, m.target.0)).collect();
        assert_eq!(ends, [(0, 2), (1, 2)]);
        let moved: usize = moves.iter().map(|m| m.buckets.len()).sum();
        let third = usize::from(BUCKETS) / 3;
        assert!(moved.abs_diff(third) < 100, "{moved}");
    }

    #[test]
    fn a_drained_shard_keeps_nothing() {
        let (three, drained) = (place(&shards(&[1.0; 3])), place(&shards(&[1.0, 0.0, 1.0])));
        let moves = relocations(&three, &drained);
        assert!(moves.iter().all(|m| m.source == ShardId(1)));
        assert!(!drained.contains(&ShardId(1)));
    }

    #[test]
    fn parts_hold_all_buckets() {
        let buckets: Vec<_> = (0..10).map(BucketId).collect();
        let whole = Relocation {
            source: ShardId(0),
            target: ShardId(1),
            buckets: buckets.clone(),
        };
        let parts = whole.in_parts(4);
        assert_eq!(parts.len(), 3);
        assert_eq!(
            parts
                .into_iter()
                .flat_map(|p| p.buckets)
                .collect::<Vec<_>>(),
            buckets
        );
    }
}
