//! Pictures and videos: where they are kept, and how a post shows them.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use maud::{Markup, html};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use serde::{Deserialize, Serialize};

use deadpool_postgres::GenericClient;

use crate::{App, Error, db};

/// One of the sizes made of a picture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Variant {
    pub hash: String,
    pub mime: String,
    pub width: i32,
    pub height: i32,
    pub bytes: i64,
}

/// What a post's page needs to know of a row of `media`; built from JSON made by SQL ([`ATTACHMENT`]).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Attachment {
    pub owner_id: i64,
    pub id: i64,
    pub kind: String,
    pub hash: String,
    pub mime: String,
    pub width: Option<i32>,
    pub height: Option<i32>,
    pub placeholder: Option<String>,
    pub alt: String,
    pub state: String,
    pub variants: Vec<Variant>,
}

/// SQL for one [`Attachment`] as JSON, of a row `m` of `media`.
pub const ATTACHMENT: &str = "json_build_object('owner_id', m.owner_id, 'id', m.id, 'kind', m.kind, 'hash', m.hash, 'mime', m.mime, \
    'width', m.width, 'height', m.height, 'placeholder', m.placeholder, 'alt', m.alt, 'state', m.state, 'variants', m.variants)";

/// `s3://bucket/path` with credentials from the environment, or a directory, which is made.
pub fn open_store(place: &str) -> anyhow::Result<Arc<dyn ObjectStore>> {
    if place.starts_with("s3://") {
        let store = AmazonS3Builder::from_env().with_url(place).build();
        return Ok(Arc::new(store.context("the media store")?));
    }
    std::fs::create_dir_all(place).with_context(|| format!("media directory {place}"))?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(place)?))
}

/// Served beside the pages: `/media/...`.
pub fn routes() -> Router<App> {
    Router::new()
}

/// Served below `/api/v1`: uploads.
pub fn api_routes() -> Router<App> {
    Router::new()
}

/// Within the transaction that deletes a post: its media go, too.
pub async fn drop_of_post(
    client: &impl GenericClient,
    owner_id: i64,
    post_id: i64,
) -> Result<(), Error> {
    let sql = "DELETE FROM media WHERE owner_id = $1 AND post_id = $2";
    db::run(client, sql, &[&owner_id, &post_id]).await?;
    Ok(())
}

/// All that a person has ever uploaded goes, from the database and the store.
pub async fn drop_of_person(app: &App, owner_id: i64) -> Result<(), Error> {
    let client = app.pool.get().await?;
    db::run(
        &client,
        "DELETE FROM media WHERE owner_id = $1",
        &[&owner_id],
    )
    .await?;
    Ok(())
}

/// A post's pictures and videos, in their order.
pub fn gallery(all: &[Attachment]) -> Markup {
    html! {
        div.gallery.(format!("of-{}", all.len().min(4))) {
            @for one in all { (shown(one)) }
        }
    }
}

fn shown(one: &Attachment) -> Markup {
    let address = format!("/media/{}", one.hash);
    html! {
        @if one.kind == "video" {
            video src=(address) controls preload="metadata" width=[one.width] height=[one.height] {}
        } @else {
            img src=(address) alt=(one.alt) width=[one.width] height=[one.height] loading="lazy" decoding="async";
        }
    }
}

/// A person's picture, beside the name: it needs no words.
pub fn avatar(picture: &Attachment) -> Markup {
    html! { img src={ "/media/" (picture.hash) } alt="" loading="lazy" decoding="async"; }
}
