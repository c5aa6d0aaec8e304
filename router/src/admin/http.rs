//! `/metrics` and `/health` over HTTP/1.1, and `POST /shards` for servers that join, `DELETE /shards/n` for those that leave.
//!
//! Bounded in connections, in time and in bytes.

mod join;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{AdminState, averages};
use crate::shutdown::Shutdown;

/// Connections at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
/// From one request to the end of the next one's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection's whole life: a client that reads slowly cannot stay.
const LIFETIME: Duration = Duration::from_secs(600);

type Page = Response<Full<Bytes>>;

/// Opens the port, so that a fault is known at the start.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `shutdown`; also samples the counters for the averages of SHOW STATS.
pub async fn serve(listener: TcpListener, state: Arc<AdminState>, mut shutdown: Shutdown) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    // Dropped at the end, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            Some(_) = connections.join_next() => {}
            (stream, place) = accept(&listener, &places) => {
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    connection(stream, state).await;
                    drop(place);
                });
            }
        }
    }
}

/// Samples the counters every minute until `shutdown`, for the averages of SHOW STATS.
pub async fn sample(state: Arc<AdminState>, mut shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(averages::PERIOD);
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            _ = ticks.tick() => state.averages.sample(Instant::now(), state.metrics.total()),
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there is always a permit in the end.
    let place = Arc::clone(places).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // The process is out of file descriptors, or the client is gone already.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<AdminState>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move {
            Ok::<_, Infallible>(match (request.method(), request.uri().path()) {
                (&Method::POST, join::PATH) => join::join(request, &state).await,
                (&Method::DELETE, path) if path.starts_with(join::PATH) => {
                    join::leave(request, &state).await
                }
                _ => page(&request, &state),
            })
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does wrong here concerns nobody else.
    let _ = tokio::time::timeout(LIFETIME, serving).await;
}

fn page(request: &Request<Incoming>, state: &AdminState) -> Page {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut page = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        page.headers_mut()
            .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    match request.uri().path() {
        "/metrics" => respond(
            StatusCode::OK,
            "text/plain; version=0.0.4",
            state.metrics.render(&state.board.standbys().all()),
        ),
        "/health" => health(state),
        "/" => text(StatusCode::OK, "/metrics\n/health\n"),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /health\n"),
    }
}

/// 200 when every shard serves; 503 when one does not or was not looked at yet.
fn health(state: &AdminState) -> Page {
    let statuses = state.board.shards();
    let shard = |shard: &crate::config::ShardConfig| {
        let status = statuses.get(&shard.id);
        let fault = match status {
            None => Some("not looked at yet".to_owned()),
            Some(_) => state.board.fault(shard.id),
        };
        serde_json::json!({
            "shard": shard.id.0,
            "up": fault.is_none(),
            "fault": fault,
            "seconds": status.map(|status| status.since.elapsed().as_secs()),
        })
    };
    let shards: Vec<serde_json::Value> = state
        .config
        .cluster
        .shards
        .all()
        .iter()
        .map(shard)
        .collect();
    let healthy = shards.iter().all(|shard| shard["up"] == true);
    let (code, status) = match healthy {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "shard down"),
    };
    let body = serde_json::json!({ "status": status, "shards": shards });
    respond(code, "application/json", format!("{body}\n"))
}

fn text(code: StatusCode, body: &'static str) -> Page {
    respond(code, "text/plain", body)
}

fn respond(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = code;
    page.headers_mut()
        .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    page
}
