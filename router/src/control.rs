//! The control plane: everything that is not a client's statement, on a thread of its own.
//!
//! Owns the catalog of every open database, leases of ids, look-ups of roles, and the recovery of
//! transactions in doubt. Takes requests from worker threads (any runtime may await them); gives
//! [`Database`]s, which workers read without waiting. Must never be on the way of a statement that runs
//! on one shard.

mod bootstrap;
mod catalog;
mod changes;
mod connections;
mod database;
mod deadlocks;
mod error;
mod exclusion;
mod gid;
mod history;
mod holds;
mod inner;
mod load;
mod locks;
mod moves;
mod outcome;
mod patroni;
mod recovery;
mod roles;
mod sequences;
mod standbys;
mod standing;
mod start;
mod watch;

use std::future::Future;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use topology::ShardId;
use wire::sqlstate;

use crate::admin::operations::Rows;
use crate::admin::{Board, LockWait, LockWaits, Operation, Operations};
use crate::config::Config;
use crate::error::RouterError;
use crate::gate::Gate;
use crate::handshake::{RoleSecret, RoleSecrets};
use crate::metrics::Metrics;
use crate::plan::SequenceName;
use crate::worker::WorkerHandle;

pub use database::{Database, DatabaseState};
pub use error::{ControlError, Mismatch};
pub use gid::{GlobalId, LiveTransaction, LiveTransactions, NotAGlobalId};
pub use outcome::Outcome;
pub use sequences::IdBlock;
pub use start::StartError;

use inner::Inner;

/// Where what belongs to the whole cluster is: numbers and signs of life of the routers.
pub(crate) const CLUSTER_DATABASE: &str = crate::management::DATABASE;
/// Requests of all workers that may be under way.
const REQUESTS: usize = 1024;
/// Databases to be left, not yet looked at.
const RELEASES: usize = 64;

/// A handle of the control plane; cheap to clone.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("router", &self.inner.around.identity.router)
            .finish()
    }
}

impl Control {
    /// Checks every shard, takes a number for this router, and starts the thread.
    ///
    /// # Errors
    /// A shard cannot be reached or is not set up as it must be; the text says what to set.
    pub fn start(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        workers: Vec<WorkerHandle>,
    ) -> Result<Self, StartError> {
        start::start(config, metrics, workers)
    }

    /// The database called `name`, made ready on all shards if this is the first time.
    ///
    /// # Errors
    /// 3D000 where it does not exist; F0000 where configuration and shards disagree; 08006 where a shard
    /// cannot be reached.
    pub async fn open_database(&self, name: &str) -> Result<Arc<Database>, RouterError> {
        // The usual case needs no other thread.
        if let Some(watched) = self.inner.opened(name) {
            return Ok(Arc::clone(&watched.database));
        }
        let name = name.to_owned();
        let watched = self
            .request(async move |inner| inner.open(&name).await)
            .await?;
        Ok(Arc::clone(&watched.database))
    }

    /// To be called after a change of the catalog was committed: returns when this router and every
    /// other one that gives signs of life plan with it, or with `limits.catalog_timeout`.
    pub async fn catalog_changed(&self, database: &Arc<Database>) -> Result<(), RouterError> {
        let name = database.name().to_owned();
        self.request(async move |inner| {
            let (watched, limit) = (
                inner.open(&name).await?,
                inner.config.limits.catalog_timeout,
            );
            changes::announce_catalog(&inner.connections, &watched, limit).await
        })
        .await
    }

    /// One block of at most `count` ids of a sequence; good while
    /// [`Database::sequence_epoch`] is [`IdBlock::epoch`]. Taken with the cluster role's rights.
    ///
    /// # Errors
    /// 2200H when the sequence has no value left; 42P01 when there is no such sequence; 55P03 when a
    /// transaction that alters it does not end.
    pub async fn lease_ids(
        &self,
        database: &Arc<Database>,
        sequence: &SequenceName,
        count: u32,
    ) -> Result<IdBlock, RouterError> {
        let (name, sequence) = (database.name().to_owned(), sequence.clone());
        self.request(async move |inner| {
            let watched = inner.open(&name).await?;
            inner
                .leases
                .take(&inner.connections, &watched, &sequence, count)
                .await
        })
        .await
    }

    /// `setval`, and every router drops its leased ids. Done with the cluster role's rights: where the
    /// client's count, run `setval` on the client's own connection and call [`Self::leases_void`].
    pub async fn set_sequence(
        &self,
        database: &Arc<Database>,
        sequence: &SequenceName,
        value: i64,
        is_called: bool,
    ) -> Result<(), RouterError> {
        let (name, sequence) = (database.name().to_owned(), sequence.clone());
        self.request(async move |inner| {
            let home = inner.connections.get_home(&name).await?;
            let sql = "SELECT setval(format('%I.%I', $1::text, $2::text)::regclass, $3, $4)";
            home.execute(sql, &[&sequence.schema, &sequence.name, &value, &is_called])
                .await
                .map_err(home.failed())?;
            drop(home);
            inner.void_leases(&name).await
        })
        .await
    }

    /// A sequence was set, restarted or altered: every router drops its leased ids.
    pub async fn leases_void(&self, database: &Arc<Database>) -> Result<(), RouterError> {
        let name = database.name().to_owned();
        self.request(async move |inner| inner.void_leases(&name).await)
            .await
    }

    /// A role was changed through this router.
    pub fn roles_changed(&self) {
        self.inner.roles.forget();
    }

    /// A database was dropped, or is about to be dropped or renamed: this router leaves it, and tells
    /// the others to, and every worker closes its idle connections to it.
    pub async fn database_dropped(&self, name: &str) {
        let name = name.to_owned();
        let told = self.request(async move |inner| {
            inner.release(&name);
            inner.tell_release(&name).await
        });
        if let Err(error) = told.await {
            tracing::warn!(%error, "other routers are not told that a database goes");
        }
    }

    /// The number of this router among all that ever were; part of every global transaction id.
    pub fn router_id(&self) -> u32 {
        self.inner.around.identity.router
    }

    /// The name of a new transaction on `participants` shards. Enter it among
    /// [`Self::live_transactions`] before the first PREPARE.
    pub fn next_gid(&self, lead: ShardId, participants: usize) -> String {
        let cluster = &self.inner.config.cluster.name;
        self.inner
            .recovery
            .live
            .name(cluster, self.router_id(), lead, participants)
    }

    /// The global transactions that this router is busy with; recovery leaves them alone.
    pub fn live_transactions(&self) -> &Arc<LiveTransactions> {
        &self.inner.recovery.live
    }

    /// Which commits of one shard pass.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.inner.gate
    }

    /// Commits what is prepared on the shards named and known to be decided; whoever else does the same does no harm.
    ///
    /// # Errors
    /// 08006 where a shard cannot be reached, or not within `limit`.
    pub(crate) async fn finish_decided(
        &self,
        database: &str,
        decided: Vec<(ShardId, String)>,
        limit: Duration,
    ) -> Result<(), RouterError> {
        let database = database.to_owned();
        self.request(async move |inner| {
            let finished = outcome::finish_decided(&inner.connections, &database, &decided);
            let timeout = |_| ControlError::Timeout {
                what: "the end of a decided transaction",
                limit,
            };
            tokio::time::timeout(limit, finished)
                .await
                .map_err(timeout)?
        })
        .await
    }

    /// What admins see of the cluster.
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.inner.around.board)
    }

    /// The outcome of a transaction whose lead did not answer; waits for a lead that is just committing,
    /// and is an abort for good if there was no decision. To be asked within minutes.
    pub async fn outcome(&self, database: &str, id: &GlobalId) -> Result<Outcome, RouterError> {
        let (database, id) = (database.to_owned(), id.clone());
        self.request(async move |inner| outcome::settle(&inner.connections, &database, &id).await)
            .await
    }

    /// COMMIT PREPARED or ROLLBACK PREPARED on `shards`, as the lead has decided; what is done already is done.
    pub async fn finish(
        &self,
        database: &str,
        id: &GlobalId,
        shards: &[ShardId],
    ) -> Result<(), RouterError> {
        let (database, id, shards) = (database.to_owned(), id.clone(), shards.to_vec());
        self.request(async move |inner| {
            let finished = outcome::finish(&inner.connections, &database, &id, &shards).await;
            finished.map(|_| ())
        })
        .await
    }

    /// Looks for changes of the catalog and the shard map now and not only in two seconds.
    pub(crate) fn look_soon(&self, database: &Database) {
        if let Some(watched) = self.inner.opened(database.name()) {
            watched.poke.notify_one();
        }
    }

    /// Looks for transactions in doubt now and not only in a few seconds.
    pub fn recover_soon(&self) {
        self.inner.recover_now.notify_one();
    }

    /// A session waits for several shards, and for long: looks for deadlocks, soon and until none waits.
    pub fn may_be_deadlocked(&self) {
        self.inner.stalled.notify_one();
    }

    /// Removes decisions that nobody needs any more now and not only in a minute.
    pub async fn sweep_decisions(&self) -> Result<(), RouterError> {
        self.request(async move |inner| {
            inner.recovery.sweep(&inner.open_names()).await;
            Ok(())
        })
        .await
    }

    /// Ends the thread, after telling the other routers not to wait for this one; blocks until then, but
    /// not for longer than a shard's connect timeout.
    pub fn stop(&self) {
        self.inner.stop.send_replace(true);
        let mut thread = self
            .inner
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the control thread has panicked");
        }
    }

    /// Runs `work` on the control thread, so that a caller that goes away leaves nothing half done.
    async fn request<T, W, F>(&self, work: W) -> Result<T, RouterError>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Inner>) -> F + Send + 'static,
        F: Future<Output = Result<T, ControlError>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let _place = self
            .inner
            .requests
            .try_acquire()
            .map_err(|_| ControlError::Busy)?;
        // The task fails only by a panic or with the end of the thread.
        let done = self.inner.runtime.spawn(work(inner)).await;
        Ok(done.map_err(|_| ControlError::Stopped)??)
    }
}

/// As the shards' lock tables have them now.
impl LockWaits for Control {
    fn lock_waits(&self) -> BoxFuture<'_, Result<Vec<LockWait>, RouterError>> {
        Box::pin(self.request(async move |inner| {
            let shards = inner.connections.shards();
            let shards = shards.iter().map(|shard| shard.id);
            let (waits, _) = locks::waits(&inner.connections, shards).await;
            Ok(waits.into_iter().map(locks::Wait::shown).collect())
        }))
    }
}

/// What admins have done to the cluster.
impl Operations for Control {
    fn operate(&self, operation: Operation) -> BoxFuture<'_, Result<Rows, RouterError>> {
        Box::pin(self.request(async move |inner| {
            // An admin that goes away leaves nothing half done: this is a task of its own.
            Ok(moves::operate(&inner, operation).await?)
        }))
    }
}

/// As the home shard has them; a few seconds old at most while it answers.
impl RoleSecrets for Control {
    fn role_secret<'a>(
        &'a self,
        user: &'a str,
    ) -> BoxFuture<'a, Result<Option<RoleSecret>, RouterError>> {
        let user = user.to_owned();
        let asked =
            self.request(async move |inner| inner.roles.get(&inner.connections, &user).await);
        Box::pin(async { asked.await.map_err(cannot_log_in_now) })
    }
}

/// To a client that is about to log in, a home shard that does not answer is a reason to come again.
fn cannot_log_in_now(error: RouterError) -> RouterError {
    match error.sqlstate {
        sqlstate::CONNECTION_FAILURE => RouterError {
            sqlstate: sqlstate::CANNOT_CONNECT_NOW,
            ..error
        },
        _ => error,
    }
}
