//! Pages, made here and enhanced by one small script. Each works without it.

mod account;
mod assets;
mod events;
mod failure;
mod form;
mod friends;
mod home;
mod layout;
mod messages;
mod notifications;
mod post;
mod profile;
mod search;
mod session;
mod settings;
mod text;
mod view;

use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::{App, Error, api, db, media, metrics};

pub use failure::{Failure, log, retry_after};
pub use session::{SESSION_COOKIE, address, csrf_of, is_of_session, token_of};

/// Longest work on one page or API call. Uploads and live news take longer, and bound themselves.
const LONGEST: Duration = Duration::from_secs(30);
/// Largest form.
const FORM: usize = 64 * 1024;

/// Everything that is served: pages, `/api/v1`, media, health and metrics.
pub fn router(app: App) -> Router {
    let pages = Router::new()
        .merge(home::routes())
        .merge(account::routes())
        .merge(post::routes())
        .merge(profile::routes())
        .merge(friends::routes())
        .merge(messages::routes())
        .merge(notifications::routes())
        .merge(search::routes())
        .merge(settings::routes())
        .layer(DefaultBodyLimit::max(FORM));
    let bounded = pages
        .merge(api::routes())
        .route_layer(middleware::from_fn(bounded));
    Router::new()
        .merge(bounded)
        .merge(events::routes())
        .merge(media::routes())
        .merge(api::file_routes())
        .merge(assets::routes())
        .route("/health", get(health))
        .route("/metrics", get(metrics_text))
        .fallback(nothing_here)
        .layer(middleware::from_fn_with_state(app.clone(), observed))
        .with_state(app)
}

async fn bounded(request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    match tokio::time::timeout(LONGEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => told(&uri, Error::TookTooLong),
    }
}

/// The error in the words of whoever asked: a program, or a person.
fn told(uri: &Uri, error: Error) -> Response {
    match uri.path().starts_with("/api/") {
        true => api::Problem(error).into_response(),
        false => Failure(error).into_response(),
    }
}

/// Counts, logs, and adds the headers that every answer has.
async fn observed(State(app): State<App>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let method = request.method().clone();
    // The route rather than the path: who looks at whom is nobody's business.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    let (status, took) = (response.status(), start.elapsed());
    app.metrics.answered(status.as_u16(), took);
    let route = route.as_ref().map_or("-", MatchedPath::as_str);
    tracing::debug!(%method, route, status = status.as_u16(), took = ?took, "answered");
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; \
    object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Whether the database answers.
async fn health(State(app): State<App>) -> Response {
    let asked = async {
        let client = app.pool.get().await?;
        db::one(&client, "SELECT 1", &[]).await
    };
    match asked.await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not healthy");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer\n",
            )
                .into_response()
        }
    }
}

async fn metrics_text(State(app): State<App>) -> Response {
    let plain = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (plain, metrics::text(&app)).into_response()
}

async fn nothing_here(method: Method, uri: Uri) -> Response {
    tracing::debug!(%method, "no such page");
    told(&uri, Error::NotFound)
}
