//! Rows of `media`: a file that was checked becomes one, its sizes are made by a job, and whatever nobody uses goes.

use image::RgbImage;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use super::desk::Checked;
use super::picture::Size;
use super::receive::{Received, hexadecimal};
use super::refusal::Refusal;
use super::{ATTACHMENT, Attachment, Variant, names, store};
use crate::jobs::{self, Job};
use crate::{App, Error, db, retry};

/// Makes what is served of one file.
pub const PUBLISH: &str = "media-publish";
/// Takes away one row's objects.
pub const REMOVE: &str = "media-remove";
/// Takes away a row that no post uses.
pub const EXPIRE: &str = "media-expire";

/// Seconds after which a file goes that no post uses.
const UNUSED_FOR: f64 = 24.0 * 3600.0;

/// Payload of [`PUBLISH`].
#[derive(Debug, Serialize, Deserialize)]
struct Publish {
    media: i64,
    incoming: Uuid,
}

/// Payload of [`REMOVE`] and [`EXPIRE`].
#[derive(Debug, Serialize, Deserialize)]
struct OfMedia {
    media: i64,
}

/// Stores the file and makes its row, and the job that makes its sizes.
pub async fn add(app: &App, owner: i64, checked: Checked, alt: &str) -> Result<Attachment, Error> {
    let incoming = Uuid::new_v4();
    let name = names::incoming(owner, incoming);
    store::put_file(&app.media, &name, &checked.received.path).await?;
    let added = retry!(insert(app, owner, incoming, &checked, alt));
    match &added {
        Ok(_) => app.bell.ring(owner),
        // Without a row nobody would ever look for it.
        Err(_) => store::remove(&*app.media, &name).await?,
    }
    added
}

async fn insert(
    app: &App,
    owner: i64,
    incoming: Uuid,
    checked: &Checked,
    alt: &str,
) -> Result<Attachment, Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let unused = "SELECT count(*) FROM media WHERE owner_id = $1 AND post_id IS NULL";
    let most = app.desk.limits.unused;
    if db::one(&transaction, unused, &[&owner])
        .await?
        .get::<_, i64>(0)
        >= most
    {
        return Err(Refusal::TooMany(most).into());
    }
    let received = &checked.received;
    let kind = if received.kind.is_video() {
        "video"
    } else {
        "image"
    };
    let (width, height) = checked.dimensions.map(pixels).unzip();
    let sql = format!(
        "INSERT INTO media AS m (owner_id, kind, hash, mime, bytes, width, height, placeholder, alt) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING {ATTACHMENT}"
    );
    let bytes = received.length as i64;
    let mime = received.kind.mime();
    let row = db::one(
        &transaction,
        &sql,
        &[
            &owner,
            &kind,
            &received.hash,
            &mime,
            &bytes,
            &width,
            &height,
            &checked.placeholder,
            &alt,
        ],
    )
    .await?;
    let Json(attachment): Json<Attachment> = row.get(0);
    let publish = Publish {
        media: attachment.id,
        incoming,
    };
    jobs::enqueue(&transaction, owner, PUBLISH, &json!(publish)).await?;
    let expire = OfMedia {
        media: attachment.id,
    };
    jobs::enqueue_after(&transaction, owner, EXPIRE, &json!(expire), UNUSED_FOR).await?;
    transaction.commit().await?;
    Ok(attachment)
}

/// No side is longer than the limits say.
fn pixels((width, height): (u32, u32)) -> (i32, i32) {
    (
        i32::try_from(width).unwrap_or(i32::MAX),
        i32::try_from(height).unwrap_or(i32::MAX),
    )
}

/// A picture of this program's own: ready at once. Gives its id.
pub async fn draw(
    app: &App,
    owner: i64,
    picture: impl FnOnce() -> RgbImage + Send + 'static,
    alt: String,
) -> Result<i64, Error> {
    let drawn = app.desk.draw(picture).await?;
    let largest = drawn.sizes.last().ok_or(Error::NotFound)?;
    let (width, height) = pixels((largest.width, largest.height));
    let hash = hexadecimal(&Sha256::digest(&largest.bytes));
    let bytes = largest.bytes.len() as i64;
    let sql = "INSERT INTO media (owner_id, kind, hash, mime, bytes, width, height, placeholder, alt) \
        VALUES ($1, 'image', $2, 'image/webp', $3, $4, $5, $6, $7) RETURNING id";
    let client = app.pool.get().await?;
    let parameters: [&(dyn ToSql + Sync); 7] = [
        &owner,
        &hash,
        &bytes,
        &width,
        &height,
        &drawn.placeholder,
        &alt,
    ];
    let media = db::one(&client, sql, &parameters).await?.get(0);
    drop(client);
    let variants = keep(app, owner, media, drawn.sizes).await?;
    set_ready(app, owner, media, variants).await?;
    Ok(media)
}

/// The job [`PUBLISH`]: a picture's sizes, or a video as it is. The file as it was sent goes afterwards, and with it what it
/// said of camera and place.
pub async fn publish(app: &App, job: &Job) -> Result<(), Error> {
    let Publish { media, incoming } = payload(job)?;
    let name = names::incoming(job.owner_id, incoming);
    let outcome = match app.media.get(&name).await {
        Ok(found) => {
            let received = app.desk.receive_again(found.into_stream()).await?;
            make(app, job.owner_id, media, &received).await
        }
        // A run before this one did all and was not heard of.
        Err(object_store::Error::NotFound { .. }) => return Ok(()),
        Err(error) => Err(anyhow::Error::from(error).context("the media store").into()),
    };
    match outcome {
        Ok(variants) => set_ready(app, job.owner_id, media, variants).await?,
        Err(error) if job.is_last_attempt() || matches!(error, Error::Refused { .. }) => {
            set_failed(app, job.owner_id, media, &error).await?;
        }
        Err(error) => return Err(error),
    }
    store::remove(&*app.media, &name).await?;
    Ok(())
}

async fn make(
    app: &App,
    owner: i64,
    media: i64,
    received: &Received,
) -> Result<Vec<Variant>, Error> {
    if received.kind.is_video() {
        let mime = received.kind.mime();
        let name = names::public(owner, media, &received.hash, mime).ok_or(Error::NotFound)?;
        store::put_file(&app.media, &name, &received.path).await?;
        return Ok(Vec::new());
    }
    let sizes = app.desk.sizes(received).await?;
    keep(app, owner, media, sizes).await
}

/// Stores a picture's sizes.
async fn keep(app: &App, owner: i64, media: i64, sizes: Vec<Size>) -> Result<Vec<Variant>, Error> {
    let mut variants = Vec::new();
    for size in sizes {
        let hash = hexadecimal(&Sha256::digest(&size.bytes));
        let (width, height) = pixels((size.width, size.height));
        let variant = Variant {
            mime: "image/webp".to_owned(),
            width,
            height,
            bytes: size.bytes.len() as i64,
            hash,
        };
        let name =
            names::public(owner, media, &variant.hash, &variant.mime).ok_or(Error::NotFound)?;
        store::put(&*app.media, &name, size.bytes).await?;
        variants.push(variant);
    }
    Ok(variants)
}

/// Where the row has gone meanwhile its objects go, too.
async fn set_ready(app: &App, owner: i64, media: i64, variants: Vec<Variant>) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql = "UPDATE media SET state = 'ready', error = NULL, variants = $3 WHERE owner_id = $1 AND id = $2";
    if db::run(&client, sql, &[&owner, &media, &json!(variants)]).await? == 0 {
        store::remove_all(&*app.media, &names::all_of(owner, media)).await?;
    }
    Ok(())
}

async fn set_failed(app: &App, owner: i64, media: i64, error: &Error) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql = "UPDATE media SET state = 'failed', error = $3 WHERE owner_id = $1 AND id = $2";
    db::run(&client, sql, &[&owner, &media, &error.public()]).await?;
    store::remove_all(&*app.media, &names::all_of(owner, media)).await?;
    Ok(())
}

/// The job [`EXPIRE`]: a file that no post and no profile uses by now.
pub async fn expire(app: &App, job: &Job) -> Result<(), Error> {
    let OfMedia { media } = payload(job)?;
    let client = app.pool.get().await?;
    let sql = "DELETE FROM media WHERE owner_id = $1 AND id = $2 AND post_id IS NULL \
        AND NOT EXISTS (SELECT FROM users u WHERE u.id = $1 AND u.avatar_id = $2)";
    if db::run(&client, sql, &[&job.owner_id, &media]).await? == 1 {
        store::remove_all(&*app.media, &names::all_of(job.owner_id, media)).await?;
    }
    Ok(())
}

/// Deletes a row's objects once the transaction, in which its row is deleted, has committed.
pub async fn remove_later(
    client: &impl deadpool_postgres::GenericClient,
    owner: i64,
    media: i64,
) -> Result<(), Error> {
    jobs::enqueue(client, owner, REMOVE, &json!(OfMedia { media })).await?;
    Ok(())
}

/// The job [`REMOVE`].
pub async fn remove(app: &App, job: &Job) -> Result<(), Error> {
    let OfMedia { media } = payload(job)?;
    store::remove_all(&*app.media, &names::all_of(job.owner_id, media)).await?;
    Ok(())
}

/// All that a person ever sent, for the deletion of an account: after its rows are gone.
pub async fn remove_all_of(app: &App, owner: i64) -> Result<(), Error> {
    for below in [names::all_public(owner), names::all_incoming(owner)] {
        store::remove_all(&*app.media, &below).await?;
    }
    Ok(())
}

fn payload<T: for<'a> Deserialize<'a>>(job: &Job) -> Result<T, Error> {
    serde_json::from_value(job.payload.clone()).map_err(|error| {
        anyhow::Error::from(error)
            .context("the job's payload")
            .into()
    })
}
