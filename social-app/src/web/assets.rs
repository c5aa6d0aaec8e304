//! Style, script and icon. Their addresses carry a digest of their content, so browsers may keep them for ever.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest as _, Sha256};

use crate::web::Failure;
use crate::{App, Error};

struct Asset {
    name: &'static str,
    mime: &'static str,
    text: &'static str,
    address: String,
}

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        (
            "app.css",
            "text/css; charset=utf-8",
            include_str!("../../static/app.css"),
        ),
        (
            "app.js",
            "text/javascript; charset=utf-8",
            include_str!("../../static/app.js"),
        ),
        (
            "icon.svg",
            "image/svg+xml",
            include_str!("../../static/icon.svg"),
        ),
    ]
    .map(|(name, mime, text)| {
        let digest = Sha256::digest(text);
        let digest: String = digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Asset {
            name,
            mime,
            text,
            address: format!("/static/{digest}/{name}"),
        }
    })
});

/// Where this asset is served; it has to be one of ours.
pub fn address(name: &str) -> &'static str {
    ASSETS
        .iter()
        .find(|asset| asset.name == name)
        .map_or("", |asset| asset.address.as_str())
}

pub fn routes() -> Router<App> {
    Router::new().route("/static/{digest}/{name}", get(serve))
}

async fn serve(Path((digest, name)): Path<(String, String)>) -> Result<Response, Failure> {
    let wanted = format!("/static/{digest}/{name}");
    let asset = ASSETS
        .iter()
        .find(|asset| asset.address == wanted)
        .ok_or(Error::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, asset.mime),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.text).into_response())
}
