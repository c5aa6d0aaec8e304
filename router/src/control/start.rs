//! The control thread's beginning, its standing work, and its end.

use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc as tokio_mpsc;
use tokio::sync::{Notify, Semaphore, watch as channel};

use super::connections::Connections;
use super::deadlocks::Deadlocks;
use super::error::ControlError;
use super::gid::LiveTransactions;
use super::inner::Inner;
use super::recovery::Recovery;
use super::watch::{Identity, Surroundings};
use super::{CLUSTER_DATABASE, Control, RELEASES, REQUESTS, bootstrap};
use crate::admin::Board;
use crate::check::{self, Finding, Verdict};
use crate::config::{Config, ShardConfig};
use crate::dial::{DialError, Dialer};
use crate::metrics::Metrics;
use crate::worker::WorkerHandle;

/// Between looks for transactions in doubt.
const RECOVERY: Duration = Duration::from_secs(2);
/// Between removals of old decisions and routers.
const SWEEP: Duration = Duration::from_secs(60);

/// Why the router cannot serve this cluster.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Shards(Vec<Finding>),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the control thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

pub(super) fn start(
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    workers: Vec<WorkerHandle>,
) -> Result<Control, StartError> {
    let (report, started) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(run(config, metrics, workers, report)),
                // Who waits for the report may have gone; then nobody wants to know.
                Err(error) => drop(report.send(Err(error.into()))),
            }
        })?;
    let ended = || StartError::Control(ControlError::Stopped);
    let control = started.recv().unwrap_or_else(|_| Err(ended()))?;
    *control
        .inner
        .thread
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(thread);
    Ok(control)
}

async fn run(
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    workers: Vec<WorkerHandle>,
    report: mpsc::SyncSender<Result<Control, StartError>>,
) {
    let (releases, received) = tokio_mpsc::channel(RELEASES);
    match begin(config, metrics, workers, releases).await {
        Ok(control) => {
            let inner = Arc::clone(&control.inner);
            // Who waits for the report may have gone; the handle then is dropped at once.
            drop(report.send(Ok(control)));
            inner.stand(received).await;
        }
        Err(error) => drop(report.send(Err(error))),
    }
}

async fn begin(
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    workers: Vec<WorkerHandle>,
    releases: tokio_mpsc::Sender<String>,
) -> Result<Control, StartError> {
    let dialer = Dialer::new(&config.cluster)?;
    let connections = Connections::new(Arc::clone(&config), dialer);
    check_shards(&config, &connections).await?;
    bootstrap::prepare(&config, &connections, CLUSTER_DATABASE).await?;
    let router = take_number(&connections).await?;
    let address = config
        .listen
        .addresses
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let identity = Identity { router, address };
    let board = Arc::<Board>::default();
    let recovery = Recovery {
        connections: Arc::clone(&connections),
        cluster: config.cluster.name.clone(),
        router,
        live: Arc::<LiveTransactions>::default(),
        metrics: Arc::clone(&metrics),
        board: Arc::clone(&board),
        alerted: Default::default(),
    };
    let around = Surroundings {
        connections: Arc::clone(&connections),
        identity,
        releases,
        metrics,
        board,
        workers: workers.clone(),
    };
    let inner = Arc::new(Inner {
        config,
        connections,
        around,
        runtime: tokio::runtime::Handle::current(),
        requests: Semaphore::new(REQUESTS),
        databases: Default::default(),
        leases: Default::default(),
        roles: Default::default(),
        recovery,
        gate: Default::default(),
        recover_now: Notify::new(),
        stalled: Notify::new(),
        moves_wanted: Notify::new(),
        stop: channel::channel(false).0,
        thread: Default::default(),
        workers,
    });
    inner.open(CLUSTER_DATABASE).await?;
    Ok(Control { inner })
}

/// Everything that is wrong with any shard, at once. A shard of the cluster that cannot be reached is no reason not to serve the
/// others.
async fn check_shards(config: &Config, connections: &Arc<Connections>) -> Result<(), StartError> {
    let shards = connections.shards();
    let checks = shards
        .iter()
        .map(|shard| check_shard(config, connections, shard));
    let (mut facts, mut findings) = (Vec::new(), Vec::new());
    let results = join_all(checks).await;
    let known = match connections.get_home(CLUSTER_DATABASE).await {
        Ok(home) => Some(bootstrap::known_shards(&home).await?),
        // That is among the findings.
        Err(_) => None,
    };
    for (shard, result) in shards.iter().zip(results) {
        match result {
            Ok((read, judged)) => {
                facts.push(read);
                findings.extend(judged);
            }
            Err(Unchecked { finding, away }) => {
                let is_known = known.as_ref().is_some_and(|known| known.has(shard));
                let may_wait = away && is_known && shard.id != config.cluster.home;
                let verdict = if may_wait {
                    Verdict::Warn
                } else {
                    finding.verdict
                };
                findings.push(Finding { verdict, ..finding });
            }
        }
    }
    findings.extend(check::compare(&facts));
    for finding in findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Warn)
    {
        tracing::warn!("{finding}");
    }
    findings.retain(|finding| finding.verdict == Verdict::Wrong);
    if findings.is_empty() {
        Ok(())
    } else {
        Err(StartError::Shards(findings))
    }
}

/// Why nothing is known of a shard's settings.
struct Unchecked {
    finding: Finding,
    /// It cannot be reached, and may be later.
    away: bool,
}

async fn check_shard(
    config: &Config,
    connections: &Arc<Connections>,
    shard: &ShardConfig,
) -> Result<(check::ShardFacts, Vec<Finding>), Unchecked> {
    let wrong = |error: ControlError| {
        let remedy =
            "see that the server runs, and mend host, port, user and password in [cluster]";
        Unchecked {
            finding: Finding::wrong(&check::place(shard), error.to_string(), remedy),
            away: error.is_unreachable(),
        }
    };
    let connection = connections
        .get(shard.id, CLUSTER_DATABASE)
        .await
        .map_err(wrong)?;
    let found = check::shard_findings(&connection, config, shard).await;
    found.map_err(connection.failed()).map_err(wrong)
}

/// No router ever had this number, as a crash must not give the same global ids again.
async fn take_number(connections: &Arc<Connections>) -> Result<u32, ControlError> {
    let home = connections.get_home(CLUSTER_DATABASE).await?;
    let row = home
        .query_one("SELECT nextval('oskol.router_number')", &[])
        .await;
    // The sequence ends at 32 bits.
    Ok(row.map_err(home.failed())?.get::<_, i64>(0) as u32)
}

impl Inner {
    /// The standing work, until the end.
    async fn stand(self: Arc<Self>, mut releases: tokio_mpsc::Receiver<String>) {
        let recovery = tokio::spawn(Arc::clone(&self).recover());
        let deadlocks = tokio::spawn(Deadlocks::new(Arc::clone(&self)).watch());
        let moves = tokio::spawn(super::moves::watch(Arc::clone(&self)));
        let standbys = tokio::spawn(super::standbys::watch(Arc::clone(&self)));
        let standing = tokio::spawn(super::standing::watch(Arc::clone(&self)));
        let patroni = tokio::spawn(super::patroni::watch(Arc::clone(&self.config)));
        let mut stop = self.stop.subscribe();
        loop {
            tokio::select! {
                name = releases.recv() => if let Some(name) = name { self.release(&name) },
                // The sender is in `self`.
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        recovery.abort();
        deadlocks.abort();
        moves.abort();
        standbys.abort();
        standing.abort();
        patroni.abort();
        self.sign_off().await;
    }

    async fn recover(self: Arc<Self>) {
        let mut last_sweep = tokio::time::Instant::now();
        self.recovery.forget_routers(&self.open_names()).await;
        loop {
            for database in self.recovery.run().await {
                self.announce_recovered(&database).await;
            }
            self.connections.sweep();
            if last_sweep.elapsed() >= SWEEP {
                self.recovery.sweep(&self.open_names()).await;
                self.recovery.forget_routers(&self.open_names()).await;
                last_sweep = tokio::time::Instant::now();
            }
            let _ = tokio::time::timeout(RECOVERY, self.recover_now.notified()).await;
        }
    }

    /// What was finished may have been DDL.
    async fn announce_recovered(&self, database: &str) {
        let announced = async {
            let watched = self.open(database).await?;
            let limit = self.config.limits.catalog_timeout;
            super::changes::announce_catalog(&self.connections, &watched, limit).await
        };
        if let Err(error) = announced.await {
            tracing::warn!(database, %error, "the catalog after a recovery is not announced");
        }
    }

    /// So that nobody waits for this router.
    async fn sign_off(&self) {
        let number = i64::from(self.around.identity.router);
        let names = self.open_names();
        names.iter().for_each(|name| self.release(name));
        for database in names {
            let signed_off = async {
                let home = self.connections.get_home(&database).await?;
                let sql = "DELETE FROM oskol.routers WHERE id = $1";
                home.execute(sql, &[&number]).await.map_err(home.failed())
            };
            let limit = self.config.cluster.connect_timeout;
            if tokio::time::timeout(limit, signed_off).await.is_err() {
                return;
            }
        }
    }
}
