//! The process: migrates, listens, runs jobs, and stops when it is told to.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::config::Config;
use crate::models::rate_limits;
use crate::{App, db, web};

/// Longest wait for the head of a request.
const HEADER_WAIT: Duration = Duration::from_secs(20);
/// How long requests may go on after the process was told to stop.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Between two sweeps of what is not needed any more.
const SWEEP: Duration = Duration::from_secs(600);

/// Runs until `stop` is done. Prints where the first page is when it serves.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(config.listen).await.with_context(|| {
        format!(
            "cannot listen on {}; choose another address with --listen",
            config.listen
        )
    })?;
    let app = App::open(config)?;
    db::migrate::migrate(&mut db::connect(&app.config.url).await?).await?;
    println!("ready: http://{}/", listener.local_addr()?);
    run(app, listener, stop).await
}

/// As [`serve`], on a database that has its tables and a socket that is bound.
pub async fn run(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    let sweeping = tokio::spawn(sweep(app.clone(), stopping.clone()));
    let working = tokio::spawn(crate::work::work(app.clone(), stopping.clone()));
    let router = web::router(app.clone());
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(app.config.max_connections as usize));
    tokio::pin!(stop);
    loop {
        let place = Arc::clone(&places).acquire_owned().await?;
        let (stream, peer) = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // No file descriptors, most likely: others end, and then there are some.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        // A page's last packet must not wait for an acknowledgement.
        let _ = stream.set_nodelay(true);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_WAIT);
        let connection = http.serve_connection(TokioIo::new(stream), service(router.clone(), peer));
        let connection = graceful.watch(connection);
        let metrics = Arc::clone(&app.metrics);
        tokio::spawn(async move {
            metrics.connections.fetch_add(1, Ordering::Relaxed);
            // Its errors are the client's doing, or its absence.
            let _ = connection.await;
            metrics.connections.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    tracing::info!("stopping");
    stopping.cancel();
    app.live.close();
    if tokio::time::timeout(LAST_WAIT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests were cut off");
    }
    let _ = tokio::join!(sweeping, working);
    Ok(())
}

/// Every request knows where it came from.
fn service(
    router: Router,
    peer: SocketAddr,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone
{
    service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    })
}

async fn sweep(app: App, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        if let Err(error) = rate_limits::sweep(&app).await {
            tracing::warn!(%error, "cannot sweep");
        }
    }
}

/// Done when the process is told to stop, by Ctrl-C or SIGTERM.
pub async fn on_signal() {
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::warn!(%error, "cannot hear SIGTERM");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        // An error: there is no Ctrl-C to hear.
        _ = tokio::signal::ctrl_c() => {}
    }
}
