//! Management connections, lent for one piece of work and kept for a while: DDL is often followed by
//! more DDL.
//!
//! Takes a shard and a database; gives a logged-in client. At most [`PER_SHARD`] at a time. Must never
//! know what is run on them.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{Client, Notification};
use topology::ShardId;

use super::error::ControlError;
use crate::config::{Config, ShardConfig};
use crate::dial::Dialer;
use crate::management::{self, ManagementError};

/// Connections lent at a time, for each shard.
const PER_SHARD: usize = 8;
/// Connections kept, for each shard and database.
const IDLE: usize = 2;
const IDLE_TIME: Duration = Duration::from_secs(20);
const INVALID_CATALOG_NAME: &str = "3D000";

type Key = (ShardId, String);

pub(crate) struct Connections {
    config: Arc<Config>,
    dialer: Dialer,
    idle: Mutex<HashMap<Key, Vec<(Client, Instant)>>>,
    /// How often connections to a database were closed; see [`Connections::close`].
    closings: AtomicU64,
    /// Made when a shard is first asked for.
    permits: Mutex<HashMap<ShardId, Arc<Semaphore>>>,
}

impl Connections {
    pub(crate) fn new(config: Arc<Config>, dialer: Dialer) -> Arc<Self> {
        Arc::new(Self {
            config,
            dialer,
            idle: Mutex::default(),
            closings: AtomicU64::default(),
            permits: Mutex::default(),
        })
    }

    /// Those known by now.
    pub(crate) fn shards(&self) -> Arc<[ShardConfig]> {
        self.config.cluster.shards.all()
    }

    pub(crate) fn home(&self) -> ShardId {
        self.config.cluster.home
    }

    pub(crate) fn home_address(&self) -> String {
        self.shard(self.home())
            .map(|shard| crate::dial::address(&shard))
            .unwrap_or_default()
    }

    /// A connection to `database` on `shard`, one kept or a new one.
    pub(crate) async fn get(
        self: &Arc<Self>,
        shard: ShardId,
        database: &str,
    ) -> Result<Lent, ControlError> {
        self.shard(shard)?;
        let permit = self
            .permits_of(shard)
            .acquire_owned()
            .await
            .map_err(|_| ControlError::Stopped)?;
        let key = (shard, database.to_owned());
        let client = match self.kept(&key) {
            Some(client) => client,
            None => self.connect(shard, database).await?,
        };
        Ok(Lent {
            client: Some(client),
            key,
            closings: self.closings.load(Ordering::SeqCst),
            owner: Arc::clone(self),
            _permit: permit,
        })
    }

    /// The home shard's.
    pub(crate) async fn get_home(self: &Arc<Self>, database: &str) -> Result<Lent, ControlError> {
        self.get(self.home(), database).await
    }

    /// A connection of its own to the home shard, for LISTEN.
    pub(crate) async fn listen(
        &self,
        database: &str,
    ) -> Result<(Client, tokio::sync::mpsc::Receiver<Notification>), ControlError> {
        let shard = self.shard(self.home())?;
        let connected =
            management::connect_listening(&self.dialer, &self.config.cluster, &shard, database);
        connected
            .await
            .map_err(|error| self.named(error, shard.id, database))
    }

    /// Closes what is kept to `database`, which then can be dropped. What is lent is closed when it comes back, to
    /// whatever database.
    pub(crate) fn close(&self, database: &str) {
        self.closings.fetch_add(1, Ordering::SeqCst);
        self.idle().retain(|key, _| key.1 != database);
    }

    /// Closes what has not been used for a while.
    pub(crate) fn sweep(&self) {
        self.idle().retain(|_, kept| {
            kept.retain(|(client, since)| !client.is_closed() && since.elapsed() < IDLE_TIME);
            !kept.is_empty()
        });
    }

    fn kept(&self, key: &Key) -> Option<Client> {
        let mut idle = self.idle();
        let kept = idle.get_mut(key)?;
        std::iter::from_fn(|| kept.pop())
            .map(|kept| kept.0)
            .find(|client| !client.is_closed())
    }

    async fn connect(&self, shard: ShardId, database: &str) -> Result<Client, ControlError> {
        let config = self.shard(shard)?;
        let connected = management::connect(&self.dialer, &self.config.cluster, &config, database);
        connected
            .await
            .map_err(|error| self.named(error, shard, database))
    }

    fn named(&self, error: ManagementError, shard: ShardId, database: &str) -> ControlError {
        let error = ControlError::from(error);
        match error.sqlstate() {
            Some(INVALID_CATALOG_NAME) if shard == self.home() => {
                ControlError::NoDatabase(database.to_owned())
            }
            Some(INVALID_CATALOG_NAME) => ControlError::NotOnShard {
                database: database.to_owned(),
                shard,
            },
            _ => error,
        }
    }

    /// A connection that nobody else is lent, and that is closed when it is dropped: for work that takes long, or that
    /// changes settings.
    pub(crate) async fn own(&self, shard: ShardId, database: &str) -> Result<Client, ControlError> {
        self.connect(shard, database).await
    }

    /// To one host of a shard, be it a primary or a standby.
    pub(crate) async fn to_host(&self, host: &ShardConfig) -> Result<Client, ManagementError> {
        management::connect_to_host(&self.dialer, &self.config.cluster, host).await
    }

    /// As [`Self::own`], to a server that is no shard yet.
    pub(crate) async fn to_server(
        &self,
        server: &ShardConfig,
        database: &str,
    ) -> Result<Client, ControlError> {
        let connected = management::connect(&self.dialer, &self.config.cluster, server, database);
        Ok(connected.await?)
    }

    fn shard(&self, id: ShardId) -> Result<ShardConfig, ControlError> {
        let found = self.config.cluster.shards.find(id);
        found.ok_or(ControlError::UnknownShard(id))
    }

    fn permits_of(&self, shard: ShardId) -> Arc<Semaphore> {
        let mut permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(Semaphore::new(PER_SHARD));
        Arc::clone(permits.entry(shard).or_insert_with(made))
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<Key, Vec<(Client, Instant)>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: &Key, client: Client) {
        let mut idle = self.idle();
        let kept = idle.entry(key.clone()).or_default();
        if kept.len() < IDLE {
            kept.push((client, Instant::now()));
        }
    }
}

/// A connection that goes back when dropped, unless it is broken.
pub(crate) struct Lent {
    /// `None` only while it is dropped.
    client: Option<Client>,
    key: Key,
    /// When it was lent.
    closings: u64,
    owner: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    pub(crate) fn shard(&self) -> ShardId {
        self.key.0
    }

    pub(crate) fn database(&self) -> &str {
        &self.key.1
    }

    pub(crate) fn config(&self) -> &Config {
        &self.owner.config
    }

    pub(crate) fn shared_config(&self) -> &Arc<Config> {
        &self.owner.config
    }

    /// The error of a statement on this connection.
    pub(crate) fn failed(&self) -> impl Fn(tokio_postgres::Error) -> ControlError + use<> {
        ControlError::statement(self.shard())
    }
}

impl Deref for Lent {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("only drop takes it")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("only drop takes it")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let still_wanted = self.owner.closings.load(Ordering::SeqCst) == self.closings;
        let client = self.client.take();
        if let Some(client) = client.filter(|client| still_wanted && !client.is_closed()) {
            self.owner.keep(&self.key, client);
        }
    }
}
