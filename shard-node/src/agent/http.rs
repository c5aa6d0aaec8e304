//! `/health` and `/metrics` over HTTP/1.1. Bounded in connections and in time; reads no body, changes nothing.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::board::{Board, JoinState, View};
use super::metrics;
use crate::{Error, Result};

/// Connections at the same time; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// From one request to the end of the next one's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection's whole life: a client that reads slowly cannot stay.
const LIFETIME: Duration = Duration::from_secs(600);

type Page = Response<Full<Bytes>>;

/// Opens the port, so that a fault is known at the start.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::HealthAddress { address, source })
}

/// Goes on for good.
pub async fn serve(listener: TcpListener, board: Arc<Board>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            (stream, place) = accept(&listener, &places) => {
                let board = Arc::clone(&board);
                connections.spawn(async move {
                    connection(stream, board).await;
                    drop(place);
                });
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
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

async fn connection(stream: TcpStream, board: Arc<Board>) {
    let service = service_fn(move |request| {
        let page = page(&request, &board);
        async move { Ok::<_, Infallible>(page) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does wrong here concerns nobody else.
    let _ = tokio::time::timeout(LIFETIME, serving).await;
}

fn page(request: &Request<Incoming>, board: &Board) -> Page {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut page = text(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
        page.headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    match request.uri().path() {
        "/health" => health(&board.view()),
        "/metrics" => respond(
            StatusCode::OK,
            "text/plain; version=0.0.4",
            metrics::render(&board.view()),
        ),
        "/" => text(StatusCode::OK, "/health\n/metrics\n"),
        _ => text(StatusCode::NOT_FOUND, "there are /health and /metrics\n"),
    }
}

/// 200 while the server answers, as primary or as standby; else 503 with the reason.
fn health(view: &View) -> Page {
    let (code, fault) = match view.status() {
        Ok(_) => (StatusCode::OK, None),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, Some(why)),
    };
    let (join, shard, join_fault) = joined(&view.join);
    let body = serde_json::json!({
        "status": if fault.is_none() { "ok" } else { "down" },
        "fault": fault,
        "name": view.name,
        "membership": view.membership,
        "restarts": view.restarts,
        "cluster": { "state": join, "shard": shard, "fault": join_fault },
        "disk": view.look.as_ref().and_then(|look| look.disk),
        "server": view.status().ok(),
    });
    respond(code, "application/json", format!("{body}\n"))
}

fn joined(state: &JoinState) -> (&'static str, Option<u16>, Option<&str>) {
    match state {
        JoinState::Alone => ("alone", None, None),
        JoinState::Standby => ("standby", None, None),
        JoinState::Joining(fault) => ("joining", None, fault.as_deref()),
        JoinState::Joined(shard) => ("joined", Some(*shard), None),
        JoinState::Left => ("left", None, None),
    }
}

fn text(code: StatusCode, body: &'static str) -> Page {
    respond(code, "text/plain", body)
}

fn respond(code: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Page {
    let mut page = Response::new(Full::new(body.into()));
    *page.status_mut() = code;
    page.headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    page
}
