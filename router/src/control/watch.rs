//! Keeps one open database up to date: a sign of life to the other routers, and the catalog read anew
//! when its epoch changes.
//!
//! A router's row in `oskol.routers` names the epoch it plans with; who changes the catalog waits for
//! those rows. The row is there before the catalog is first read, so no change slips in between. When
//! the home shard is away the state of before stays in use, and nobody can change the catalog.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio_postgres::{Client, Notification};
use topology::ShardId;

use super::CLUSTER_DATABASE;
use super::connections::Connections;
use super::database::{Database, DatabaseState};
use super::error::ControlError;
use super::holds::{self, Holds};
use super::load::{Loaded, load, load_map};
use crate::admin::Board;
use crate::metrics::Metrics;
use crate::standbys::Moment;
use crate::worker::WorkerHandle;

/// Between signs of life. Others stop waiting for a router that gave none for [`SILENCE`].
pub(crate) const BEAT: Duration = Duration::from_secs(2);
/// As an SQL interval.
pub(crate) const SILENCE: &str = "interval '10 seconds'";
/// One that has closed its connection, as the kernel does for a process that is killed, is taken for dead sooner: its
/// presence is an advisory lock of this class, held by the connection that watches the cluster's database.
pub(crate) const GONE: &str = "interval '4 seconds'";
pub(crate) const PRESENCE: i32 = 803_087_593;
pub(crate) const SILENCE_TIME: Duration = Duration::from_secs(10);
/// A sign of life that takes longer means a new connection.
const BEAT_LIMIT: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// The channel of NOTIFY, and what is said on it.
pub(crate) const CHANNEL: &str = "oskol";
/// A catalog or a sequence changed: look at the epochs.
pub(crate) const CHANGED: &str = "changed";
/// A router plans with a new epoch: look whether it is the last one.
pub(crate) const SEEN: &str = "seen";
/// On database postgres: leave the database named after it.
pub(crate) const RELEASE: &str = "release ";

/// Who this router is, in `oskol.routers`.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) router: u32,
    pub(crate) address: String,
}

/// The epochs that workers of this router plan with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Epochs {
    pub(crate) catalog: u64,
    pub(crate) sequences: u64,
    /// Of the shard map.
    pub(crate) map: u64,
    /// Of this router, as shards know it (`DatabaseState::life`).
    pub(crate) life: u64,
}

/// An open database and the means to keep it.
pub(crate) struct Watched {
    pub(crate) database: Arc<Database>,
    pub(crate) seen: watch::Sender<Epochs>,
    /// Every shard's OIDs are known.
    complete: AtomicBool,
    /// Look at the epochs now.
    pub(crate) poke: Notify,
    /// Something was said on the channel.
    pub(crate) heard: Notify,
    pub(crate) holds: Holds,
    /// Shards on which a move that is decided may not be committed yet, as they could not be reached.
    unsettled: Mutex<Vec<ShardId>>,
}

impl Watched {
    /// Nobody asks these shards for anything, from the next reading on, which begins now, until one has found them again, and
    /// the move committed.
    pub(crate) fn set_unsettled(&self, shards: &[ShardId]) {
        self.unsettled().extend(shards);
        self.poke.notify_one();
    }

    /// It is asked for nothing, or was found again meanwhile.
    pub(crate) fn is_left_alone(&self, shard: ShardId) -> bool {
        self.database.state().unseen.contains(&shard) || !self.unsettled().contains(&shard)
    }

    /// What was read last, less what it says of shards that must be looked at again; and those.
    fn known(&self) -> (DatabaseState, Vec<ShardId>) {
        let mut state = DatabaseState::clone(&self.database.state());
        let unsettled = self.unsettled().clone();
        state.unseen.extend(&unsettled);
        (state, unsettled)
    }

    /// A reading that looked at the first `count` of them has not found those that are `unseen`. What has come meanwhile it did not
    /// look at.
    fn settle(&self, count: usize, unseen: &[ShardId]) {
        let mut at = 0;
        self.unsettled().retain(|shard| {
            at += 1;
            at > count || unseen.contains(shard)
        });
    }

    /// Nothing is to be read again but for a change.
    fn is_whole(&self) -> bool {
        self.complete.load(Ordering::Relaxed) && self.unsettled().is_empty()
    }

    fn unsettled(&self) -> std::sync::MutexGuard<'_, Vec<ShardId>> {
        self.unsettled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a watch needs of the control plane.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) connections: Arc<Connections>,
    pub(crate) identity: Identity,
    /// Names of databases to leave.
    pub(crate) releases: mpsc::Sender<String>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) board: Arc<Board>,
    pub(crate) workers: Vec<WorkerHandle>,
}

impl Surroundings {
    async fn load(
        &self,
        name: &str,
        previous: Option<&DatabaseState>,
        unsettled: &[ShardId],
    ) -> Result<Loaded, ControlError> {
        let loaded = load(&self.connections, name, previous, unsettled).await?;
        self.metrics.control.catalog_loads.increment();
        self.metrics.control.map_epoch.set(loaded.state.map.epoch());
        self.board.set_map(Arc::clone(&loaded.state.map));
        self.board
            .set_database(name, Arc::clone(&loaded.state.snapshot));
        Ok(loaded)
    }
}

/// Reads a database for the first time.
pub(crate) async fn open(around: &Surroundings, name: &str) -> Result<Arc<Watched>, ControlError> {
    let home = around.connections.get_home(name).await?;
    let failed = home.failed();
    let began = beat(&home, &around.identity, Epochs::default()).await;
    let mut life = began.map_err(&failed)?.life;
    loop {
        let mut loaded = around.load(name, None, &[]).await?;
        loaded.state.life = life;
        let read = loaded.state.snapshot.epoch;
        let map = loaded.state.map.epoch();
        let seen = Epochs {
            catalog: read,
            map,
            life,
            ..Epochs::default()
        };
        let asked = Moment::now();
        let now = beat(&home, &around.identity, seen).await.map_err(&failed)?;
        life = now.life;
        if (now.catalog, now.map, now.life) == (read, map, seen.life) {
            let database = Arc::new(Database::new(name, loaded.state));
            database.void_leases(now.sequences);
            database.confirm(asked);
            let (seen, _) = watch::channel(now);
            let (poke, heard) = (Notify::new(), Notify::new());
            let complete = AtomicBool::new(loaded.complete);
            return Ok(Arc::new(Watched {
                database,
                seen,
                complete,
                poke,
                heard,
                holds: Holds::default(),
                unsettled: Mutex::default(),
            }));
        }
    }
}

/// Runs until the database is released.
pub(crate) async fn keep(around: Surroundings, watched: Arc<Watched>) {
    let mut retry = FIRST_RETRY;
    while !watched.database.is_released() {
        let session = Session {
            around: &around,
            watched: &watched,
        };
        match session.run(&mut retry).await {
            Ok(()) => return,
            Err(error) => {
                let database = watched.database.name();
                tracing::warn!(database, %error, "the catalog cannot be watched; it stays as it is");
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
    }
}

/// Gives a sign of life, and the epochs of now. A life that others gave meanwhile is told by the next one.
async fn beat(
    client: &Client,
    identity: &Identity,
    seen: Epochs,
) -> Result<Epochs, tokio_postgres::Error> {
    let sql = "SELECT b.epoch, b.sequence_epoch, m.map_epoch,
        coalesce((SELECT r.life FROM oskol.routers r WHERE r.id = $1), 0)
        FROM oskol.beat($1, $2, $3, $4) b, oskol.meta m";
    let (catalog, sequences) = (seen.catalog as i64, seen.sequences as i64);
    let router = i64::from(identity.router);
    let row = client
        .query_one(sql, &[&router, &identity.address, &catalog, &sequences])
        .await?;
    let epoch = |column| row.get::<_, i64>(column) as u64;
    Ok(Epochs {
        catalog: epoch(0),
        sequences: epoch(1),
        map: epoch(2),
        life: epoch(3),
    })
}

/// One connection's worth of watching.
struct Session<'a> {
    around: &'a Surroundings,
    watched: &'a Arc<Watched>,
}

impl Session<'_> {
    async fn run(&self, retry: &mut Duration) -> Result<(), ControlError> {
        let name = self.watched.database.name();
        let (client, mut notifications) = self.around.connections.listen(name).await?;
        let failed = ControlError::statement(self.around.connections.home());
        client
            .batch_execute(&format!("LISTEN {CHANNEL}"))
            .await
            .map_err(&failed)?;
        if name == CLUSTER_DATABASE {
            self.be_present(&client).await?;
        }
        loop {
            self.look(&client).await?;
            *retry = FIRST_RETRY;
            tokio::select! {
                said = notifications.recv() => match said {
                    Some(said) => self.hear(&said).await,
                    None => return Err(self.closed()),
                },
                () = self.watched.poke.notified() => {}
                () = tokio::time::sleep(BEAT) => {}
            }
            if self.watched.database.is_released() {
                return Ok(());
            }
        }
    }

    async fn be_present(&self, client: &Client) -> Result<(), ControlError> {
        let router = self.around.identity.router.cast_signed();
        let sql = "SELECT pg_advisory_lock_shared($1, $2)";
        let held = client.query(sql, &[&PRESENCE, &router]).await;
        held.map_err(ControlError::statement(self.around.connections.home()))?;
        Ok(())
    }

    /// A sign of life; whatever changed is taken over, and said to be.
    async fn look(&self, client: &Client) -> Result<(), ControlError> {
        loop {
            let seen = *self.watched.seen.borrow();
            let asked = Moment::now();
            let now = self.timely_beat(client, seen).await?;
            if now.sequences != seen.sequences {
                self.watched.database.void_leases(now.sequences);
            }
            let mut reached = Epochs {
                sequences: now.sequences,
                ..seen
            };
            if now.catalog != seen.catalog || now.life != seen.life || !self.watched.is_whole() {
                (reached.catalog, reached.map) = self.load(now.life).await?;
                reached.life = now.life;
            } else if now.map != seen.map {
                (reached.catalog, reached.map) = self.load_map().await?;
            }
            if reached == seen {
                self.watched.database.confirm(asked);
                return Ok(());
            }
            self.timely_beat(client, reached).await?;
            self.watched.seen.send_replace(reached);
            self.say_seen(client).await?;
        }
    }

    /// The epochs of the catalog and of the shard map that are in use from now on. `life`: told by a sign of life before this.
    async fn load(&self, life: u64) -> Result<(u64, u64), ControlError> {
        let database = &self.watched.database;
        let before = database.state();
        let (known, unsettled) = self.watched.known();
        let loaded = self.around.load(database.name(), Some(&known), &unsettled);
        let Loaded {
            mut state,
            complete,
        } = loaded.await?;
        state.life = life;
        self.watched.settle(unsettled.len(), &state.unseen);
        let epochs = (state.snapshot.epoch, state.map.epoch());
        // Read again only for want of a shard's OIDs, and for nothing: plans stay good.
        let known = (before.snapshot.epoch, before.map.epoch());
        let seen = before.unseen != state.unseen;
        if complete || seen || epochs != known || life != before.life {
            database.swap(state);
        }
        self.watched.complete.store(complete, Ordering::Relaxed);
        Ok(epochs)
    }

    /// As [`Self::load`], where buckets have moved and nothing else has changed.
    async fn load_map(&self) -> Result<(u64, u64), ControlError> {
        let database = &self.watched.database;
        let before = database.state();
        let read = load_map(&self.around.connections, database.name(), &before).await?;
        let Some(state) = read else {
            return self.load(before.life).await;
        };
        let epochs = (state.snapshot.epoch, state.map.epoch());
        self.around.metrics.control.map_epoch.set(epochs.1);
        self.around.board.set_map(Arc::clone(&state.map));
        database.swap(state);
        Ok(epochs)
    }

    async fn timely_beat(&self, client: &Client, seen: Epochs) -> Result<Epochs, ControlError> {
        let beat = beat(client, &self.around.identity, seen);
        match tokio::time::timeout(BEAT_LIMIT, beat).await {
            Ok(now) => now.map_err(ControlError::statement(self.around.connections.home())),
            Err(_) => Err(ControlError::Timeout {
                what: "a sign of life",
                limit: BEAT_LIMIT,
            }),
        }
    }

    async fn say_seen(&self, client: &Client) -> Result<(), ControlError> {
        let failed = ControlError::statement(self.around.connections.home());
        client
            .batch_execute(&format!("NOTIFY {CHANNEL}, '{SEEN}'"))
            .await
            .map_err(failed)
    }

    async fn hear(&self, said: &Notification) {
        self.watched.heard.notify_waiters();
        holds::hear(self.around, self.watched, said.payload());
        if let Some(name) = said.payload().strip_prefix(RELEASE) {
            // Full or gone: then the control plane has other worries, and DROP DATABASE says who is left.
            let _ = self.around.releases.send(name.to_owned()).await;
        }
    }

    fn closed(&self) -> ControlError {
        let address = self.around.connections.home_address();
        let source = std::io::Error::from(std::io::ErrorKind::ConnectionAborted);
        ControlError::Connect(crate::dial::DialError::Connect { address, source }.into())
    }
}
