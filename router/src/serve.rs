//! The router as a whole: the control thread, the workers, the listener; and their orderly end.

mod report;
mod stalled;
mod worker_loop;

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context as _;

use crate::admin::{AdminState, health, http};
use crate::cancel::CancelRegistry;
use crate::config::Config;
use crate::control::Control;
use crate::handshake::{HandshakeContext, ServerTls, new_mock_secret};
use crate::listen;
use crate::metrics::Metrics;
use crate::permits::Permits;
use crate::seats::Seats;
use crate::shutdown::Shutdown;
use crate::worker::{WorkerHandle, WorkerInbox, WorkerMessage};

/// What every worker is given.
#[derive(Clone)]
pub(crate) struct Shared {
    pub config: Arc<Config>,
    pub control: Control,
    pub metrics: Arc<Metrics>,
    pub permits: Arc<Permits>,
    pub handshake: Arc<HandshakeContext>,
    pub admin: Arc<AdminState>,
}

/// Serves clients until `shutdown` is uttered; blocks. An error where it cannot begin.
pub fn run(config: Arc<Config>, shutdown: Shutdown) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::default());
    let (handles, inboxes): (Vec<_>, Vec<_>) = (0..config.listen.workers.max(1))
        .map(|_| WorkerHandle::new())
        .unzip();
    let control = Control::start(Arc::clone(&config), Arc::clone(&metrics), handles.clone())?;
    let cancels = CancelRegistry::new(handles.clone());
    let admin = AdminState::new(
        Arc::clone(&config),
        Arc::clone(&metrics),
        handles.clone(),
        control.board(),
    );
    admin.ask_for_locks(Box::new(control.clone()));
    admin.operate_by(Box::new(control.clone()));
    let shared = Shared {
        handshake: Arc::new(handshake_context(&config, &control, cancels)?),
        permits: Arc::new(Permits::new(config.pool.size)),
        admin,
        config: Arc::clone(&config),
        control,
        metrics,
    };
    let workers = start_workers(&shared, inboxes)?;
    let served = listen_until(&shared, &handles, shutdown);
    for handle in &handles {
        let _ = handle.send(WorkerMessage::Shutdown);
    }
    for worker in workers {
        let _ = worker.join();
    }
    shared.control.stop();
    served
}

fn handshake_context(
    config: &Config,
    control: &Control,
    cancels: Arc<CancelRegistry>,
) -> anyhow::Result<HandshakeContext> {
    Ok(HandshakeContext {
        auth: config.client_auth,
        tls: ServerTls::load(&config.client_tls).context("client_tls")?,
        timeout: config.listen.handshake_timeout,
        secrets: Arc::new(control.clone()),
        cancels,
        seats: Seats::new(config.listen.max_clients),
        mock_secret: new_mock_secret(),
    })
}

/// Bytes that each worker's stack may grow to; what it has not used takes no memory. Trees of statements are walked by
/// recursion, as deep as `parse` lets them be.
const WORKER_STACK: usize = 256 << 20;

fn start_workers(
    shared: &Shared,
    inboxes: Vec<WorkerInbox>,
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let start = |(index, inbox)| {
        let shared = shared.clone();
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .stack_size(WORKER_STACK)
            .spawn(move || worker_loop::run(index, shared, inbox))
            .context("cannot start a worker thread")
    };
    inboxes.into_iter().enumerate().map(start).collect()
}

/// Accepts on the calling thread until told to stop.
fn listen_until(
    shared: &Shared,
    handles: &[WorkerHandle],
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listeners = listen::bind(&shared.config.listen)?;
        watch(shared, &shutdown).await?;
        for address in listeners.addresses() {
            tracing::info!(%address, "listening");
        }
        listeners.serve(handles, shutdown).await;
        Ok(())
    })
}

/// The admin port and the watch over the shards, as tasks of this thread's runtime.
async fn watch(shared: &Shared, shutdown: &Shutdown) -> anyhow::Result<()> {
    let config = &shared.config;
    let admin = &shared.admin;
    let dialer = crate::dial::Dialer::new(&config.cluster)?;
    let board = Arc::clone(&admin.board);
    tokio::spawn(health::watch(
        config.cluster.clone(),
        dialer,
        board,
        shutdown.clone(),
    ));
    tokio::spawn(http::sample(Arc::clone(admin), shutdown.clone()));
    if let Some(address) = config.admin.address {
        let listener = http::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address} (admin.address)"))?;
        tokio::spawn(http::serve(listener, Arc::clone(admin), shutdown.clone()));
    }
    Ok(())
}
