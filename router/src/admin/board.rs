//! What the control thread knows of the cluster, for others to read.
//!
//! Written a few times a minute and read by admins; nothing on a statement's path touches it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use schema::Snapshot;
use topology::{ShardId, ShardMap};

use crate::standbys::Standbys;

#[derive(Debug, Default)]
pub struct Board {
    map: RwLock<Option<Arc<ShardMap>>>,
    shards: RwLock<BTreeMap<ShardId, ShardStatus>>,
    kept_out: RwLock<KeptOut>,
    databases: RwLock<BTreeMap<String, Arc<Snapshot>>>,
    in_doubt: RwLock<Vec<InDoubt>>,
    unknown: RwLock<VecDeque<Unknown>>,
    standbys: Arc<Standbys>,
}

/// Transactions whose clients could not be told the outcome, the last ones.
const UNKNOWN: usize = 1_000;

/// A transaction of this router's whose client was told SQLSTATE 08007.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    pub gid: String,
    pub database: String,
    /// When the client was told.
    pub since: Instant,
    /// `committed`, `rolled back`, or `forgotten` by the lead; none: not yet known.
    pub outcome: Option<&'static str>,
}

/// What the last look at a shard found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStatus {
    /// None: it serves. Else why it does not.
    pub fault: Option<String>,
    /// E.g. `15.4`; of the last look that succeeded.
    pub version: String,
    /// When it began to serve, or ceased to.
    pub since: Instant,
    /// How long the last look took.
    pub took: Duration,
}

/// A two-phase transaction that its router did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InDoubt {
    pub gid: String,
    pub database: String,
    /// Where it is prepared.
    pub shards: Vec<ShardId>,
    pub age: Duration,
}

/// Shards that are asked for nothing in a database, and why.
pub type KeptOut = BTreeMap<(ShardId, String), String>;

impl Board {
    pub fn set_kept_out(&self, shards: KeptOut) {
        *write(&self.kept_out) = shards;
    }

    /// Why a shard does not serve all there is of it: it is down, or kept out in some database. None: nothing is known of that.
    pub fn fault(&self, shard: ShardId) -> Option<String> {
        let status = read(&self.shards)
            .get(&shard)
            .and_then(|status| status.fault.clone());
        status.or_else(|| {
            let kept_out = read(&self.kept_out);
            let apart = kept_out.iter().filter(|((id, _), _)| *id == shard);
            let apart: Vec<String> = apart
                .map(|((_, database), why)| format!("database {database}: {why}"))
                .collect();
            (!apart.is_empty()).then(|| apart.join("; "))
        })
    }

    pub fn kept_out(&self) -> KeptOut {
        read(&self.kept_out).clone()
    }

    /// As they are measured.
    pub fn standbys(&self) -> &Arc<Standbys> {
        &self.standbys
    }

    pub fn set_map(&self, map: Arc<ShardMap>) {
        *write(&self.map) = Some(map);
    }

    pub fn map(&self) -> Option<Arc<ShardMap>> {
        read(&self.map).clone()
    }

    /// What a look at `shard` found; `since` moves only when it begins or ceases to serve.
    pub fn set_shard(&self, shard: ShardId, found: Result<String, String>, took: Duration) {
        let mut shards = write(&self.shards);
        let before = shards.get(&shard);
        let (fault, version) = match found {
            Ok(version) => (None, version),
            Err(fault) => (
                Some(fault),
                before.map(|b| b.version.clone()).unwrap_or_default(),
            ),
        };
        let unchanged = before.filter(|before| before.fault.is_some() == fault.is_some());
        let since = unchanged.map_or_else(Instant::now, |before| before.since);
        shards.insert(
            shard,
            ShardStatus {
                fault,
                version,
                since,
                took,
            },
        );
    }

    pub fn shards(&self) -> BTreeMap<ShardId, ShardStatus> {
        read(&self.shards).clone()
    }

    pub fn set_database(&self, name: &str, snapshot: Arc<Snapshot>) {
        write(&self.databases).insert(name.to_owned(), snapshot);
    }

    pub fn remove_database(&self, name: &str) {
        write(&self.databases).remove(name);
    }

    /// Databases in use, with their catalogs.
    pub fn databases(&self) -> BTreeMap<String, Arc<Snapshot>> {
        read(&self.databases).clone()
    }

    pub fn set_in_doubt(&self, transactions: Vec<InDoubt>) {
        *write(&self.in_doubt) = transactions;
    }

    /// A client cannot be told what became of its transaction.
    pub fn add_unknown(&self, gid: &str, database: &str) {
        let mut all = write(&self.unknown);
        if all.len() == UNKNOWN {
            all.pop_front();
        }
        all.push_back(Unknown {
            gid: gid.to_owned(),
            database: database.to_owned(),
            since: Instant::now(),
            outcome: None,
        });
    }

    /// The outcome is known, if this is one of them.
    pub fn settle_unknown(&self, gid: &str, outcome: &'static str) {
        let mut all = write(&self.unknown);
        if let Some(unknown) = all.iter_mut().find(|unknown| unknown.gid == gid) {
            unknown.outcome.get_or_insert(outcome);
        }
    }

    /// The oldest first.
    pub fn unknown(&self) -> Vec<Unknown> {
        read(&self.unknown).iter().cloned().collect()
    }

    pub fn in_doubt(&self) -> Vec<InDoubt> {
        read(&self.in_doubt).clone()
    }
}

/// What is behind these locks is replaced whole, so a panicking writer leaves nothing half done.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
