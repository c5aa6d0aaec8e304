//! A router's admin port, as far as an agent sees it: answers one after the other, the last one for good.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::process::runtime;

#[derive(Debug, Clone)]
pub struct Seen {
    /// `POST /shards`.
    pub line: String,
    pub authorization: String,
    pub body: Value,
}

pub struct Router {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Router {
    /// Its thread ends with the test's process.
    pub fn start(answers: &[(u16, &str)]) -> Router {
        let answers: Vec<_> = answers
            .iter()
            .map(|(status, body)| (*status, (*body).to_owned()))
            .collect();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let state = (Arc::clone(&seen), Arc::new(answers));
        std::thread::spawn(move || runtime().block_on(serve(listener, state)));
        Router { url, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

type State = (Arc<Mutex<Vec<Seen>>>, Arc<Vec<(u16, String)>>);

async fn serve(listener: std::net::TcpListener, state: State) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        let service = service_fn(move |request| answer(request, state.clone()));
        // A client that hangs up concerns nobody.
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}

async fn answer(
    request: Request<Incoming>,
    (seen, answers): State,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let authorization = request.headers().get("authorization").cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut seen = seen.lock().unwrap();
    let (status, answer) = &answers[seen.len().min(answers.len() - 1)];
    seen.push(Seen {
        line,
        authorization: authorization
            .map_or(String::new(), |value| value.to_str().unwrap().to_owned()),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    });
    let mut response = Response::new(Full::new(Bytes::from(answer.clone())));
    *response.status_mut() = (*status).try_into().unwrap();
    Ok(response)
}
