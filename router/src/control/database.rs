//! One database as workers see it: what it is planned with, swapped whole when the catalog changes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use schema::Snapshot;
use schema::oids::OidMap;
use tokio::sync::Notify;
use topology::{ShardId, ShardMap};

/// An open database. Workers keep it and compare [`Self::version`] before each statement.
#[derive(Debug)]
pub struct Database {
    name: String,
    version: AtomicU64,
    /// Of this object, in the upper bits of [`Self::sequence_epoch`].
    opening: u64,
    sequence_epoch: AtomicU64,
    released: AtomicBool,
    /// The shard whose buckets are about to move, plus one; 0: none are.
    held: AtomicU32,
    let_go: Notify,
    state: RwLock<Arc<DatabaseState>>,
}

/// What statements are planned and routed with. Immutable.
#[derive(Debug, Clone)]
pub struct DatabaseState {
    /// Grows with each change, on this router only.
    pub version: u64,
    pub snapshot: Arc<Snapshot>,
    pub map: Arc<ShardMap>,
    /// By position of the shard in [`Self::shards`]; `None`: the same OIDs as on the home shard.
    pub oids: Vec<Option<OidMap>>,
    /// All shards, ascending.
    pub shards: Vec<ShardId>,
    /// In the same order: what proves to a shard's functions that a router calls them. Never logged.
    pub tokens: Tokens,
}

/// Secrets of the shards.
#[derive(Clone, Default)]
pub struct Tokens(Vec<Arc<str>>);

impl Tokens {
    pub(crate) fn new(tokens: Vec<Arc<str>>) -> Self {
        Self(tokens)
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Tokens({})", self.0.len())
    }
}

impl DatabaseState {
    /// The shard's token; empty: it was not read, and the shard will refuse.
    pub fn token_of(&self, shard: ShardId) -> Arc<str> {
        let position = self.shards.iter().position(|id| *id == shard);
        let token = position.and_then(|position| self.tokens.0.get(position));
        token.map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// How this shard's OIDs are translated; `None`: they are the home shard's.
    pub fn oids_of(&self, shard: ShardId) -> Option<&OidMap> {
        let position = self.shards.iter().position(|id| *id == shard)?;
        self.oids.get(position)?.as_ref()
    }
}

/// A database that is dropped and made anew has the name of the old one, and its epochs begin anew.
static OPENINGS: AtomicU64 = AtomicU64::new(1);

/// Bits of the catalog's own epoch.
const EPOCH_BITS: u32 = 40;

impl Database {
    pub(crate) fn new(name: &str, state: DatabaseState) -> Self {
        let opening = OPENINGS.fetch_add(1, Ordering::Relaxed) << EPOCH_BITS;
        Self {
            name: name.to_owned(),
            version: AtomicU64::new(state.version),
            opening,
            sequence_epoch: AtomicU64::new(opening),
            released: AtomicBool::new(false),
            held: AtomicU32::new(0),
            let_go: Notify::new(),
            state: RwLock::new(Arc::new(state)),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Changes when [`Self::state`] does; one load, for every statement.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Ids leased under another epoch must not be used any more; one load.
    #[inline]
    pub fn sequence_epoch(&self) -> u64 {
        self.sequence_epoch.load(Ordering::Acquire)
    }

    /// The database was or is about to be dropped or renamed: idle server connections to it should be
    /// closed, and a new client must open it anew.
    #[inline]
    pub fn is_released(&self) -> bool {
        self.released.load(Ordering::Acquire)
    }

    /// The state of now; a lock held for no longer than the count of one reference.
    pub fn state(&self) -> Arc<DatabaseState> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a new state in place under the next version.
    pub(crate) fn swap(&self, mut state: DatabaseState) {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        // Two may read at a time: what was read before a bucket moved must not take the place of what was read after.
        let newer = current.map.epoch() > state.map.epoch();
        if newer && current.map.shards() == state.map.shards() {
            state.map = Arc::clone(&current.map);
        }
        state.version = current.version + 1;
        let version = state.version;
        *current = Arc::new(state);
        self.version.store(version, Ordering::Release);
    }

    /// The shard whose buckets move at this moment: what would begin now waits for [`Self::wait_until_let_go`], and
    /// transactions that are on that shard already come to their end. One load, for every message.
    #[inline]
    pub fn held_shard(&self) -> Option<ShardId> {
        let held = self.held.load(Ordering::Acquire);
        // A shard's number has 16 bits.
        held.checked_sub(1).map(|shard| ShardId(shard as u16))
    }

    pub(crate) fn hold(&self, shard: ShardId) {
        self.held.store(u32::from(shard.0) + 1, Ordering::Release);
    }

    pub(crate) fn let_go(&self) {
        self.held.store(0, Ordering::Release);
        self.let_go.notify_waiters();
    }

    /// Returns when nothing is held.
    pub async fn wait_until_let_go(&self) {
        loop {
            let let_go = self.let_go.notified();
            tokio::pin!(let_go);
            let_go.as_mut().enable();
            if self.held_shard().is_none() {
                return;
            }
            let_go.await;
        }
    }

    /// `epoch` is the catalog's.
    pub(crate) fn void_leases(&self, epoch: u64) {
        let epoch = epoch & ((1 << EPOCH_BITS) - 1);
        self.sequence_epoch
            .store(self.opening | epoch, Ordering::Release);
    }

    pub(crate) fn release(&self) {
        self.released.store(true, Ordering::Release);
    }
}
