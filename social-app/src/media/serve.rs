//! What is in the store, served as by a small CDN: it never changes, so it is kept for ever; parts of it on demand.

use std::time::SystemTime;

use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, LAST_MODIFIED, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, Response, StatusCode, response};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};

use super::conditions::Validators;
use super::names;
use super::range::{Wanted, wanted};
use crate::Error;

/// A year, which is as long as caches are told.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Whatever a file holds, a browser that opens it by itself runs nothing.
const NOTHING_RUNS: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'; sandbox";

/// GET and HEAD of `/media/{owner}/{media}/{file}`.
pub async fn serve(
    store: &dyn ObjectStore,
    method: Method,
    Path((owner, media, file)): Path<(i64, i64, String)>,
    headers: HeaderMap,
) -> Result<Response<Body>, Error> {
    let (hash, mime) = names::parse_file(&file).ok_or(Error::NotFound)?;
    let object = names::public(owner, media, hash, mime).ok_or(Error::NotFound)?;
    let about = store.head(&object).await.map_err(not_found)?;
    let validators = validators(&about, hash);
    let answer = common(&validators);
    if validators.is_known(&headers) {
        return finish(answer.status(StatusCode::NOT_MODIFIED), Body::empty());
    }
    let answer = answer.header(CONTENT_TYPE, mime);
    let range = headers.get(RANGE).and_then(|range| range.to_str().ok());
    let range = range.filter(|_| method == Method::GET && validators.range_holds(&headers));
    let (answer, part) = match wanted(range, about.size) {
        Wanted::Nothing => {
            let answer = answer.header(CONTENT_RANGE, format!("bytes */{}", about.size));
            return finish(
                answer.status(StatusCode::RANGE_NOT_SATISFIABLE),
                Body::empty(),
            );
        }
        Wanted::Whole => (answer, 0..about.size),
        Wanted::Part(part) => {
            let said = format!("bytes {}-{}/{}", part.start, part.end - 1, about.size);
            (
                answer
                    .status(StatusCode::PARTIAL_CONTENT)
                    .header(CONTENT_RANGE, said),
                part,
            )
        }
    };
    let answer = answer.header(CONTENT_LENGTH, part.end - part.start);
    if method == Method::HEAD {
        return finish(answer, Body::empty());
    }
    let options = GetOptions {
        range: Some(GetRange::Bounded(part)),
        ..GetOptions::default()
    };
    let found = store.get_opts(&object, options).await.map_err(not_found)?;
    finish(answer, Body::from_stream(found.into_stream()))
}

fn validators(about: &ObjectMeta, hash: &str) -> Validators {
    Validators {
        // The name is the content.
        etag: format!("\"{}\"", &hash[..32]),
        modified: SystemTime::from(about.last_modified),
    }
}

fn common(validators: &Validators) -> response::Builder {
    Response::builder()
        .header(ETAG, &validators.etag)
        .header(LAST_MODIFIED, validators.last_modified())
        .header(CACHE_CONTROL, FOR_EVER)
        .header(ACCEPT_RANGES, "bytes")
        .header(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .header(CONTENT_SECURITY_POLICY, NOTHING_RUNS)
}

fn finish(answer: response::Builder, body: Body) -> Result<Response<Body>, Error> {
    Ok(answer.body(body).map_err(anyhow::Error::from)?)
}

fn not_found(error: object_store::Error) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::NotFound,
        other => Error::Internal(anyhow::Error::from(other).context("the media store")),
    }
}
