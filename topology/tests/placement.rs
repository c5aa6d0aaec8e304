//! What placement promises.

use topology::{BUCKETS, BucketId, Key, MapError, ShardId, ShardMap, WeightedShard};

fn shards(weights: &[f64]) -> Vec<WeightedShard> {
    let numbered = weights.iter().zip(0..);
    numbered
        .map(|(weight, id)| WeightedShard {
            id: ShardId(id),
            weight: *weight,
        })
        .collect()
}

fn placed(weights: &[f64]) -> ShardMap {
    ShardMap::place(ShardId(0), &shards(weights)).expect("the home is among the shards")
}

/// Buckets whose owner differs, as (from, to).
fn moves(before: &ShardMap, after: &ShardMap) -> Vec<(ShardId, ShardId)> {
    let owners = before
        .shards_by_bucket()
        .iter()
        .zip(after.shards_by_bucket());
    owners
        .filter(|(from, to)| from != to)
        .map(|(from, to)| (*from, *to))
        .collect()
}

#[test]
fn equal_shards_get_equal_shares() {
    let map = placed(&[1.0; 4]);
    for shard in map.shards() {
        let count = map.bucket_count(*shard);
        assert!(
            (900..1150).contains(&count),
            "shard {shard} has {count} of 4096 buckets"
        );
    }
}

#[test]
fn weights_divide_the_buckets_in_proportion() {
    let map = placed(&[1.0, 3.0]);
    let heavy = map.bucket_count(ShardId(1));
    assert!(
        (2950..3200).contains(&heavy),
        "{heavy} of 4096 where 3072 are due"
    );
}

#[test]
fn a_shard_without_weight_gets_no_bucket() {
    assert_eq!(placed(&[1.0, 0.0]).bucket_count(ShardId(1)), 0);
}

#[test]
fn adding_a_shard_moves_only_its_share_and_evenly_from_all() {
    for before in 1..8_u16 {
        let map = placed(&vec![1.0; before.into()]);
        let grown = map
            .rebalanced(&shards(&vec![1.0; usize::from(before) + 1]))
            .expect("home");
        let moved = moves(&map, &grown);
        let due = usize::from(BUCKETS) / (usize::from(before) + 1);
        assert!(
            moved.iter().all(|(_, to)| *to == ShardId(before)),
            "only the new shard gains"
        );
        assert!(
            moved.len().abs_diff(due) < due / 6,
            "{} moved, {due} due",
            moved.len()
        );
        for giver in map.shards() {
            let given = moved.iter().filter(|(from, _)| from == giver).count();
            let share = due / usize::from(before);
            assert!(
                given.abs_diff(share) < share / 2,
                "shard {giver} gave {given} of {share}"
            );
        }
        assert_eq!(grown.epoch(), map.epoch() + 1);
    }
}

#[test]
fn removing_a_shard_moves_only_its_own_buckets() {
    let map = placed(&[1.0; 4]);
    let shrunk = map.rebalanced(&shards(&[1.0; 3])).expect("home");
    let moved = moves(&map, &shrunk);
    assert!(moved.iter().all(|(from, _)| *from == ShardId(3)));
    assert_eq!(moved.len(), map.bucket_count(ShardId(3)));
}

#[test]
fn the_placement_does_not_depend_on_the_order_of_the_shards() {
    let mut reversed = shards(&[1.0; 4]);
    reversed.reverse();
    assert_eq!(
        ShardMap::place(ShardId(0), &reversed),
        Ok(placed(&[1.0; 4]))
    );
}

#[test]
fn wrong_assignments_are_refused() {
    let two = vec![ShardId(0), ShardId(1)];
    let all_on = |shard| vec![ShardId(shard); BUCKETS.into()];
    let refused = |home, by_bucket| ShardMap::new(1, ShardId(home), two.clone(), by_bucket).err();
    assert_eq!(
        refused(0, vec![ShardId(0); 3]),
        Some(MapError::BucketCount(3))
    );
    assert_eq!(
        refused(9, all_on(0)),
        Some(MapError::UnknownHome(ShardId(9)))
    );
    let unknown = MapError::UnknownShard {
        bucket: BucketId(0),
        shard: ShardId(7),
    };
    assert_eq!(refused(0, all_on(7)), Some(unknown));
    assert_eq!(refused(1, all_on(1)), None);
}

#[test]
fn a_key_goes_to_the_shard_of_its_bucket() {
    let map = placed(&[1.0; 4]);
    let bucket = ShardMap::bucket(Key::Int(42));
    assert_eq!(
        map.shard(bucket),
        map.shards_by_bucket()[usize::from(bucket.0)]
    );
}
