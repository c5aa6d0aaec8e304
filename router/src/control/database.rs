//! One database as workers see it: what it is planned with, swapped whole when the catalog changes.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use schema::oids::OidMap;
use schema::{Admission, Applied, Snapshot};
use tokio::sync::Notify;
use topology::{ShardId, ShardMap};

use crate::error::RouterError;
use crate::standbys::Moment;

/// Less than a mover waits for a router that has closed its connection.
const CONFIRMED_FOR: Duration = Duration::from_millis(3_500);

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
    /// [`Self::changed`]
    changed: AtomicU64,
    /// [`Self::is_confirmed`]
    confirmed: AtomicU64,
    /// The changes of the schema that the home shard has, where it was asked since `state` was read: some need no new plans.
    applied: RwLock<Applied>,
    /// Shards that have done more than the home shard knows of.
    ahead: RwLock<Vec<ShardId>>,
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
    /// By which shards know whether this router has heard of all that happened while it was taken for dead: the map was read
    /// after the home shard has told it. What was routed by a state must not run on a connection of a later life.
    pub life: u64,
    /// Shards that this router has not seen yet: they were away when it began. Nothing is asked of them.
    pub unseen: Vec<ShardId>,
    /// By position of the shard in [`Self::shards`]: the shard map's epoch after the last move from or to it.
    pub moved: Vec<i64>,
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

    /// # Errors
    /// It is not known whether the shard is the right one, nor how its OIDs are translated.
    #[inline]
    pub fn must_be_seen(&self, shard: ShardId) -> Result<(), RouterError> {
        match self.unseen.is_empty() || !self.unseen.contains(&shard) {
            true => Ok(()),
            false => Err(is_unseen(shard)),
        }
    }

    /// What a connection to the shard is opened with.
    pub fn admission(&self, shard: ShardId) -> Admission {
        let position = self.shards.iter().position(|id| *id == shard);
        let moved = position.and_then(|position| self.moved.get(position));
        Admission {
            life: self.life,
            applied: self.snapshot.applied,
            moved: moved.copied().unwrap_or_default(),
        }
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
            changed: AtomicU64::new(Moment::now().0),
            confirmed: AtomicU64::new(0),
            applied: RwLock::new(state.snapshot.applied),
            ahead: RwLock::default(),
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
            state.moved.clone_from(&current.moved);
        }
        if current.map.epoch() <= state.map.epoch() {
            state.life = state.life.max(current.life);
        }
        state.version = current.version + 1;
        let version = state.version;
        let epochs = |state: &DatabaseState| (state.snapshot.epoch, state.map.epoch());
        // Else it is the same, read again for want of a shard's OIDs.
        if epochs(&current) != epochs(&state) || current.map.shards() != state.map.shards() {
            self.changed.store(Moment::now().0, Ordering::Release);
        }
        self.learn_applied(state.snapshot.applied);
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
        if self.held_shard().is_some() {
            // The move is settled on all primaries only now.
            self.changed.store(Moment::now().0, Ordering::Release);
        }
        self.held.store(0, Ordering::Release);
        self.let_go.notify_waiters();
    }

    /// What a new connection to the shard is opened with.
    ///
    /// # Errors
    /// The shard has done more than the home shard knows of.
    pub fn admission(&self, shard: ShardId) -> Result<Admission, RouterError> {
        let ahead = self.ahead.read().unwrap_or_else(PoisonError::into_inner);
        if ahead.contains(&shard) {
            return Err(is_ahead(shard));
        }
        Ok(Admission {
            applied: *self.applied.read().unwrap_or_else(PoisonError::into_inner),
            ..self.state().admission(shard)
        })
    }

    pub(crate) fn learn_applied(&self, applied: Applied) {
        *self.applied.write().unwrap_or_else(PoisonError::into_inner) = applied;
    }

    /// Whether there are some that were not known.
    pub(crate) fn set_ahead(&self, shards: Vec<ShardId>) -> bool {
        let mut ahead = self.ahead.write().unwrap_or_else(PoisonError::into_inner);
        let more = shards.iter().any(|shard| !ahead.contains(shard));
        *ahead = shards;
        more
    }

    /// When this router came to plan as it does now: what it plans with was committed on all primaries before. A standby
    /// that is not as of then may have rows where they were, or tables as they were.
    pub fn changed(&self) -> Moment {
        Moment(self.changed.load(Ordering::Acquire))
    }

    /// The home shard was asked at this moment, and has said since that nothing else is in use.
    pub(crate) fn confirm(&self, asked: Moment) {
        self.confirmed.store(asked.0, Ordering::Release);
    }

    /// Whether the shard map is that of now: no mover passes over a router before it has been silent for four seconds
    /// (`GONE`). Primaries let in no router that was passed over; standbys have to be spared by the router itself.
    pub fn is_confirmed(&self) -> bool {
        Moment(self.confirmed.load(Ordering::Acquire)).elapsed() < CONFIRMED_FOR
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

fn is_unseen(shard: ShardId) -> RouterError {
    RouterError::new(
        wire::sqlstate::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
        format!("shard {shard} cannot be reached"),
    )
    .detail("It has not been there since this router was started, or began to serve the database, or since rows moved from or to it.")
    .hint("Rows on other shards can still be used; SHOW SHARDS in the admin database tells which are up.")
}

fn is_ahead(shard: ShardId) -> RouterError {
    RouterError::new(
        "57P03",
        format!("shard {shard} is kept out: the home shard does not know of all that it has done"),
    )
    .detail(
        "The home shard was restored from an older backup than the others, or has lost changes.",
    )
    .hint("Restore all shards to one moment.")
}
