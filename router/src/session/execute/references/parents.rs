//! Children that have come: their parents are looked for and locked where they are.

use std::collections::{BTreeMap, BTreeSet};

use schema::{KeptKey, ParentAt};
use topology::{BucketId, ShardId};

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::calls::Call;
use super::notes::{Group, Note};
use super::{json_list, positions};

/// How often a parent is followed that moves from shard to shard meanwhile.
const FOLLOWED: usize = 5;

/// Positions of keys by the shard where they are looked for.
pub(super) type ByShard = BTreeMap<ShardId, Vec<usize>>;

impl Session {
    /// # Errors
    /// A parent is not there, and a child that refers to it is.
    pub(super) async fn check_parents(
        &mut self,
        key: &KeptKey,
        group: &Group,
    ) -> Result<(), Fault> {
        let missing = self.missing_parents(key, &group.notes).await?;
        if missing.is_empty() {
            return Ok(());
        }
        // The child may be gone by now, or refer to another.
        let missing: Vec<&str> = missing
            .into_iter()
            .map(|at| group.notes[at].old.as_str())
            .collect();
        let keys = json_list(missing.iter().copied());
        let noting = self.noting_branches();
        let calls: Vec<Call<'_>> = noting
            .into_iter()
            .map(|index| Call {
                shard: self.transaction.branches[index].server.shard,
                arguments: vec![&keys],
            })
            .collect();
        let sql = format!("SELECT * FROM oskol.referring_{}($1, $2::json)", key.number);
        let referring = self.call(&sql, &calls).await?;
        let first = referring.iter().flat_map(positions).min();
        match first.and_then(|at| missing.get(at)) {
            Some(values) => Err(self.violated("raise_missing", key.number, values).await),
            None => Ok(()),
        }
    }

    /// Locks the parents of `notes` FOR KEY SHARE; gives the positions of those that are not there.
    pub(super) async fn missing_parents(
        &mut self,
        key: &KeptKey,
        notes: &[Note],
    ) -> Result<Vec<usize>, Fault> {
        let all = || (0..notes.len()).collect::<Vec<usize>>();
        match key.parent_at {
            ParentAt::Home => {
                let home = self.home();
                self.missing_at(key, notes, [(home, all())].into()).await
            }
            ParentAt::Bucket => {
                let buckets = notes.iter().map(|note| note.bucket);
                let places = self.by_bucket(buckets.enumerate());
                self.missing_at(key, notes, places).await
            }
            ParentAt::Entry(_) => self.missing_by_entry(key, notes).await,
            ParentAt::All => self.missing_anywhere(key, notes).await,
        }
    }

    /// Those that no shard has.
    pub(super) async fn missing_anywhere(
        &mut self,
        key: &KeptKey,
        notes: &[Note],
    ) -> Result<Vec<usize>, Fault> {
        let mut missing: BTreeSet<usize> = (0..notes.len()).collect();
        for shard in self.space.state.map.shards().to_vec() {
            let left: Vec<usize> = missing.into_iter().collect();
            if left.is_empty() {
                return Ok(left);
            }
            let gone = self.missing_at(key, notes, [(shard, left)].into()).await?;
            missing = gone.into_iter().collect();
        }
        Ok(missing.into_iter().collect())
    }

    /// By the entries of the parents' unique key, which tell their shards.
    async fn missing_by_entry(
        &mut self,
        key: &KeptKey,
        notes: &[Note],
    ) -> Result<Vec<usize>, Fault> {
        let mut missing: Vec<usize> = (0..notes.len()).collect();
        let mut seen_at: BTreeMap<usize, BucketId> = BTreeMap::new();
        for _ in 0..FOLLOWED {
            let holders = self.holders(key, notes, &missing).await?;
            // Where an entry still names the place that was looked at, the parent is gone.
            let moved: Vec<(usize, BucketId)> = holders
                .into_iter()
                .filter(|(at, bucket)| seen_at.get(at) != Some(bucket))
                .collect();
            if moved.is_empty() {
                break;
            }
            let places = self.by_bucket(moved.iter().map(|(at, bucket)| (*at, Some(*bucket))));
            let gone = self.missing_at(key, notes, places).await?;
            let found = moved.iter().filter(|(at, _)| !gone.contains(at));
            let found: BTreeSet<usize> = found.map(|(at, _)| *at).collect();
            missing.retain(|at| !found.contains(at));
            seen_at.extend(moved);
            if missing.is_empty() {
                break;
            }
        }
        Ok(missing)
    }

    /// The buckets of the parents at `wanted` that have entries.
    async fn holders(
        &mut self,
        key: &KeptKey,
        notes: &[Note],
        wanted: &[usize],
    ) -> Result<Vec<(usize, BucketId)>, Fault> {
        let places = self.by_bucket(wanted.iter().map(|at| (*at, notes[*at].bucket)));
        let lists: Vec<(ShardId, Vec<usize>, String)> = lists(places, notes);
        let sql = format!("SELECT * FROM oskol.holders_{}($1, $2::json)", key.number);
        let rows = self.call(&sql, &calls(&lists)).await?;
        let told = rows.iter().zip(&lists).flat_map(|(rows, (_, list, _))| {
            rows.iter().filter_map(|row| {
                let at: usize = row.first()?.as_deref()?.parse().ok()?;
                let bucket = row.get(1)?.as_deref()?.parse().ok()?;
                Some((*list.get(at)?, BucketId(bucket)))
            })
        });
        Ok(told.collect())
    }

    /// Those of `places` that are not there.
    async fn missing_at(
        &mut self,
        key: &KeptKey,
        notes: &[Note],
        places: ByShard,
    ) -> Result<Vec<usize>, Fault> {
        let lists = lists(places, notes);
        let sql = format!("SELECT * FROM oskol.parents_{}($1, $2::json)", key.number);
        let rows = self.call(&sql, &calls(&lists)).await?;
        for (shard, ..) in &lists {
            if let Some(index) = self.transaction.find(*shard) {
                self.transaction.branches[index].guards = true;
            }
        }
        let missing = rows.iter().zip(&lists).flat_map(|(rows, (_, list, _))| {
            positions(rows).filter_map(|at| list.get(at).copied())
        });
        Ok(missing.collect())
    }

    /// Positions with a bucket by its shard.
    pub(super) fn by_bucket(
        &self,
        buckets: impl Iterator<Item = (usize, Option<BucketId>)>,
    ) -> ByShard {
        let map = &self.space.state.map;
        let mut places = ByShard::new();
        for (at, bucket) in buckets {
            if let Some(bucket) = bucket {
                places.entry(map.shard(bucket)).or_default().push(at);
            }
        }
        places
    }
}

/// For each shard its positions and their values as one JSON array.
fn lists(places: ByShard, notes: &[Note]) -> Vec<(ShardId, Vec<usize>, String)> {
    let places = places.into_iter();
    places
        .map(|(shard, list)| {
            let keys = json_list(list.iter().map(|at| notes[*at].old.as_str()));
            (shard, list, keys)
        })
        .collect()
}

fn calls(lists: &[(ShardId, Vec<usize>, String)]) -> Vec<Call<'_>> {
    let calls = lists.iter().map(|(shard, _, keys)| Call {
        shard: *shard,
        arguments: vec![keys.as_str()],
    });
    calls.collect()
}
