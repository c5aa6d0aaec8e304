//! What the shards have noted of foreign keys, taken and put in order.

use std::collections::{BTreeMap, BTreeSet};

use topology::{BucketId, ShardId};

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::calls::Call;

/// Notes that are read from one shard at a time.
const BATCH: usize = 10_000;

const TAKE: &str = "SELECT * FROM oskol.take_key_changes($1, $2)";

/// What has happened to a row. In this order they are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A parent is gone.
    Deleted,
    /// A parent has another key.
    Updated,
    /// A row refers to a parent from now on.
    Child,
}

/// Notes of one kind on one foreign key, each once.
#[derive(Debug)]
pub(super) struct Group {
    pub number: u32,
    pub kind: Kind,
    pub notes: Vec<Note>,
}

/// One key's values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    /// Of the other row, where the shard could tell.
    pub bucket: Option<BucketId>,
    /// A JSON array of texts, in the order of the key's columns: those of the child, or of the parent that was.
    pub old: String,
    /// Of the parent that is.
    pub new: String,
}

impl Session {
    /// Takes the notes of all branches: parents that are gone first, by number of their keys, then children. True: none
    /// is left.
    pub(super) async fn take_key_changes(&mut self) -> Result<(Vec<Group>, bool), Fault> {
        let shards: Vec<ShardId> = self
            .noting_branches()
            .into_iter()
            .map(|index| self.transaction.branches[index].server.shard)
            .collect();
        let batch = BATCH.to_string();
        let calls: Vec<Call<'_>> = shards
            .iter()
            .map(|shard| Call {
                shard: *shard,
                arguments: vec![&batch],
            })
            .collect();
        let mut groups: BTreeMap<(bool, u32, Kind), BTreeSet<Note>> = BTreeMap::new();
        let mut whole = true;
        for rows in self.call(TAKE, &calls).await? {
            whole &= rows.len() < BATCH;
            for (number, kind, note) in rows.iter().filter_map(|row| read(row)) {
                let order = (kind == Kind::Child, number, kind);
                groups.entry(order).or_default().insert(note);
            }
        }
        let groups = groups.into_iter().map(|((_, number, kind), notes)| Group {
            number,
            kind,
            notes: notes.into_iter().collect(),
        });
        Ok((groups.collect(), whole))
    }
}

/// `None` is impossible: the function's own types are these.
fn read(row: &[Option<String>]) -> Option<(u32, Kind, Note)> {
    let [number, kind, bucket, old, new] = row else {
        return None;
    };
    let kind = match kind.as_deref()? {
        "c" => Kind::Child,
        "d" => Kind::Deleted,
        _ => Kind::Updated,
    };
    let bucket = bucket.as_ref().and_then(|bucket| bucket.parse().ok());
    let note = Note {
        bucket: bucket.map(BucketId),
        old: old.clone()?,
        new: new.clone().unwrap_or_else(|| "null".to_owned()),
    };
    Some((number.as_ref()?.parse().ok()?, kind, note))
}
