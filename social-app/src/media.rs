//! Pictures and videos: received within limits, checked by what is in them, made into sizes by background jobs, kept in an object
//! store and served from there as by a small CDN.
//!
//! `receive`, `kind`, `whole`, `container` and `picture` know one file and nothing else; `desk` and
//! `decoders` bound how many are worked on at a time; `shelf` has the rows of `media` and the jobs; `store` and `names` are the object store; `upload` and `serve` speak HTTP;
//! `show` is a page's part.

mod conditions;
mod container;
mod decoders;
mod desk;
mod kind;
mod limits;
mod names;
mod picture;
pub mod placeholder;
mod range;
mod receive;
mod refusal;
mod serve;
mod shelf;
mod show;
mod store;
mod upload;
mod whole;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::routing::get;
use deadpool_postgres::GenericClient;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use serde::{Deserialize, Serialize};

use crate::{App, Error, db};

pub use desk::{Checked, Desk};
pub use limits::Limits;
pub use refusal::Refusal;
pub use shelf::{EXPIRE, PUBLISH, REMOVE, add, draw, expire, publish, remove};
pub use show::{avatar, gallery};
pub use upload::{delete, find, receive};

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

/// `s3://bucket/path` with credentials and the like from the environment's `AWS_*`, or a directory, which is made.
pub fn open_store(
    place: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<Arc<dyn ObjectStore>> {
    if let Some(place) = place.strip_prefix("s3://") {
        return open_s3(place, environment).context("the media store");
    }
    std::fs::create_dir_all(place).with_context(|| format!("media directory {place}"))?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(place)?))
}

fn open_s3(
    place: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let (bucket, path) = place.split_once('/').unwrap_or((place, ""));
    let mut builder = AmazonS3Builder::new();
    for (name, value) in environment {
        // Others of this kind are not the store's.
        if name.starts_with("AWS_")
            && let Ok(key) = name.to_ascii_lowercase().parse()
        {
            builder = builder.with_config(key, value);
        }
    }
    let store = builder.with_bucket_name(bucket).build()?;
    let path = object_store::path::Path::parse(path)?;
    Ok(match path.as_ref() {
        "" => Arc::new(store),
        _ => Arc::new(PrefixStore::new(store, path)),
    })
}

/// Served beside the pages: `/media/...`.
pub fn routes() -> Router<App> {
    Router::new().route("/media/{owner}/{media}/{file}", get(upload::served))
}

/// Within the transaction that deletes a post: its media go, too, and their objects by a job.
pub async fn drop_of_post(
    client: &impl GenericClient,
    owner_id: i64,
    post_id: i64,
) -> Result<(), Error> {
    let sql = "DELETE FROM media WHERE owner_id = $1 AND post_id = $2 RETURNING id";
    for row in db::all(client, sql, &[&owner_id, &post_id]).await? {
        shelf::remove_later(client, owner_id, row.get(0)).await?;
    }
    Ok(())
}

/// All that a person has ever uploaded goes, from the database and the store.
pub async fn drop_of_person(app: &App, owner_id: i64) -> Result<(), Error> {
    {
        let client = app.pool.get().await?;
        db::run(
            &client,
            "DELETE FROM media WHERE owner_id = $1",
            &[&owner_id],
        )
        .await?;
    }
    shelf::remove_all_of(app, owner_id).await
}
