//! `POST /shards`: a server asks to be a shard, and shows the cluster's token.
//!
//! Takes `{"name", "host", "port", "weight"}` as JSON; gives `{"shard_id": n}` once every router uses the shard, and the
//! same again to a shard that is one already. The token is told nowhere.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Page, respond};
use crate::admin::{AdminState, NewShard, Operation};
use crate::error::RouterError;

pub(super) const PATH: &str = "/shards";
/// Bytes of a body.
const LONGEST: usize = 16 * 1024;

#[derive(Deserialize)]
struct Wish {
    name: String,
    host: String,
    port: u16,
    #[serde(default = "one")]
    weight: f64,
    /// Where the server has its data; a cluster's databases are made anew.
    #[serde(default, rename = "database")]
    _database: Option<String>,
}

fn one() -> f64 {
    1.0
}

pub(super) async fn join(request: Request<Incoming>, state: &AdminState) -> Page {
    if let Err((code, text)) = admitted(&request, state) {
        return failed(code, text);
    }
    let body = match Limited::new(request.into_body(), LONGEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => {
            return failed(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the body is too long, or broken off",
            );
        }
    };
    let wish = match read(&body) {
        Ok(wish) => wish,
        Err(text) => return failed(StatusCode::BAD_REQUEST, &text),
    };
    match state.operate(Operation::AddShard(wish)).await {
        Ok(rows) => {
            let id = rows.first().and_then(|row| row.first().cloned().flatten());
            let id = id.and_then(|id| id.parse::<u16>().ok());
            answer(StatusCode::OK, &serde_json::json!({ "shard_id": id }))
        }
        Err(error) => refused(&error),
    }
}

/// `DELETE /shards/n`: 202 while its buckets move to others, 200 once it is out of the cluster.
pub(super) async fn leave(request: Request<Incoming>, state: &AdminState) -> Page {
    if let Err((code, text)) = admitted(&request, state) {
        return failed(code, text);
    }
    let shard = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    let shard = shard.trim_start_matches('/').to_owned();
    match state.operate(Operation::RetireShard(shard)).await {
        Ok(rows) => {
            let cell = |at: usize| rows.first().and_then(|row| row.get(at).cloned().flatten());
            let code = match cell(2).as_deref() {
                Some("removed") => StatusCode::OK,
                _ => StatusCode::ACCEPTED,
            };
            answer(code, &serde_json::json!({ "state": cell(2) }))
        }
        Err(error) => refused(&error),
    }
}

fn refused(error: &RouterError) -> Page {
    let code = match error.sqlstate {
        "55000" => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    failed(code, &error.message)
}

fn read(body: &Bytes) -> Result<NewShard, String> {
    let wish: Wish = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    Ok(NewShard {
        name: wish.name,
        host: wish.host,
        port: wish.port,
        weight: wish.weight,
    })
}

fn admitted(
    request: &Request<Incoming>,
    state: &AdminState,
) -> Result<(), (StatusCode, &'static str)> {
    let Some(token) = &state.config.admin.join_token else {
        return Err((
            StatusCode::FORBIDDEN,
            "no shard joins by itself: admin.join_token_file is not set",
        ));
    };
    let shown = request
        .headers()
        .get(AUTHORIZATION)
        .map(|value| value.as_bytes());
    let shown = shown
        .and_then(|value| value.strip_prefix(b"Bearer "))
        .unwrap_or_default();
    // Of digests, so that not even the length is told.
    let (wanted, shown) = (Sha256::digest(token.0.as_bytes()), Sha256::digest(shown));
    match bool::from(wanted.ct_eq(&shown)) {
        true => Ok(()),
        false => Err((StatusCode::UNAUTHORIZED, "the token is not this cluster's")),
    }
}

fn failed(code: StatusCode, text: &str) -> Page {
    answer(code, &serde_json::json!({ "error": text }))
}

fn answer(code: StatusCode, body: &serde_json::Value) -> Page {
    respond(code, "application/json", format!("{body}\n"))
}
