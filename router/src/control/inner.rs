//! What all requests share: the open databases, connections, leases, roles, recovery.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, Semaphore, watch as channel};

use super::connections::Connections;
use super::error::ControlError;
use super::recovery::Recovery;
use super::watch::{self, CHANNEL, RELEASE, Surroundings, Watched};
use super::{CLUSTER_DATABASE, bootstrap, changes, roles, sequences};
use crate::config::Config;
use crate::gate::Gate;
use crate::worker::{WorkerHandle, WorkerMessage};

/// Filled when the database is open; several may wait for that at a time.
type Opening = Arc<OnceCell<Arc<Watched>>>;

pub(crate) struct Inner {
    pub(super) config: Arc<Config>,
    pub(super) connections: Arc<Connections>,
    pub(super) around: Surroundings,
    pub(super) runtime: Handle,
    pub(super) requests: Semaphore,
    pub(super) databases: Mutex<HashMap<String, Opening>>,
    pub(super) leases: sequences::Leases,
    pub(super) roles: roles::Roles,
    pub(super) recovery: Recovery,
    pub(super) gate: Arc<Gate>,
    pub(super) recover_now: Notify,
    /// Sessions wait for several shards.
    pub(super) stalled: Notify,
    /// Buckets are to be moved.
    pub(super) moves_wanted: Notify,
    pub(super) stop: channel::Sender<bool>,
    pub(super) thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) workers: Vec<WorkerHandle>,
}

impl Inner {
    fn databases(&self) -> MutexGuard<'_, HashMap<String, Opening>> {
        self.databases
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open_names(&self) -> Vec<String> {
        let databases = self.databases();
        let open = databases.iter().filter(|(_, cell)| cell.initialized());
        open.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn opened(&self, name: &str) -> Option<Arc<Watched>> {
        self.databases().get(name)?.get().cloned()
    }

    /// Open once, however many ask at a time.
    pub(super) async fn open(&self, name: &str) -> Result<Arc<Watched>, ControlError> {
        let cell = Arc::clone(self.databases().entry(name.to_owned()).or_default());
        let opened = cell
            .get_or_try_init(|| self.open_first(name))
            .await
            .cloned();
        if opened.is_err() {
            self.forget_failed(name, &cell);
        }
        opened
    }

    /// Names that clients make up are not kept. Who still waits for the same cell tries again.
    fn forget_failed(&self, name: &str, cell: &Opening) {
        let mut databases = self.databases();
        // One reference is in the map and one with the caller.
        let is_unused = |kept: &Opening| {
            Arc::ptr_eq(kept, cell) && !kept.initialized() && Arc::strong_count(kept) <= 2
        };
        if databases.get(name).is_some_and(is_unused) {
            databases.remove(name);
        }
    }

    async fn open_first(&self, name: &str) -> Result<Arc<Watched>, ControlError> {
        bootstrap::prepare(&self.config, &self.connections, name).await?;
        let watched = watch::open(&self.around, name).await?;
        tokio::spawn(watch::keep(self.around.clone(), Arc::clone(&watched)));
        Ok(watched)
    }

    pub(super) async fn void_leases(&self, name: &str) -> Result<(), ControlError> {
        let watched = self.open(name).await?;
        self.leases.forget(name);
        let limit = self.config.limits.catalog_timeout;
        changes::announce_sequences(&self.connections, &watched, limit).await
    }

    /// Closes all connections of this process's control plane to a database.
    pub(super) fn release(&self, name: &str) {
        let cell = self.databases().remove(name);
        if let Some(watched) = cell.and_then(|cell| cell.get().cloned()) {
            watched.database.release();
            watched.poke.notify_one();
        }
        self.connections.close(name);
        self.leases.forget(name);
        self.around.board.remove_database(name);
        self.close_idle(name);
    }

    /// Workers close their idle connections to a database, and those in use once they come back.
    pub(super) fn close_idle(&self, name: &str) {
        for worker in &self.workers {
            // A worker that has ended has no connections.
            let _ = worker.send(WorkerMessage::CloseIdle {
                database: name.to_owned(),
            });
        }
    }

    pub(super) async fn tell_release(&self, name: &str) -> Result<(), ControlError> {
        let home = self.connections.get_home(CLUSTER_DATABASE).await?;
        let said = format!("{RELEASE}{name}");
        let told = home
            .execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &said])
            .await;
        told.map(|_| ()).map_err(home.failed())
    }
}
