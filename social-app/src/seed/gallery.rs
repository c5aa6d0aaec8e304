//! The town's pictures: a face for people, a landscape for posts, drawn and made into sizes as what people send.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::seed::pictures;
use crate::seed::rows::Written;
use crate::{App, Error, db, media};

/// Pixels across a face.
const FACE: u32 = 256;
const WIDTH: u32 = 640;
const HEIGHT: u32 = 427;

/// Faces for the first `most` people.
pub async fn faces(app: &App, ids: &[i64], most: usize) -> Result<(), Error> {
    let drawn = ids.iter().take(most).map(|id| face(app, *id));
    at_once(drawn).await
}

async fn face(app: &App, id: i64) -> Result<(), Error> {
    let face = move || pictures::avatar(id as u64, FACE);
    let medium = media::draw(app, id, face, String::new()).await?;
    let client = app.pool.get().await?;
    let sql = "UPDATE users SET avatar_id = $2 WHERE id = $1";
    db::run(&client, sql, &[&id, &medium]).await?;
    Ok(())
}

/// Landscapes for `most` of the newest posts: every other one.
pub async fn landscapes(
    app: &App,
    ids: &[i64],
    posts: &[Written],
    most: usize,
) -> Result<(), Error> {
    let mut newest: Vec<&Written> = posts.iter().collect();
    newest.sort_by_key(|post| (post.minutes_ago, post.id));
    let chosen = newest.into_iter().step_by(2).take(most);
    at_once(chosen.map(|post| landscape(app, ids[post.author], post.id))).await
}

async fn landscape(app: &App, author: i64, post: i64) -> Result<(), Error> {
    let seed = post as u64;
    let place = move || pictures::landscape(seed, WIDTH, HEIGHT);
    let medium = media::draw(app, author, place, pictures::describe(seed)).await?;
    let client = app.pool.get().await?;
    let sql = "UPDATE media SET post_id = $3 WHERE owner_id = $1 AND id = $2";
    db::run(&client, sql, &[&author, &medium, &post]).await?;
    Ok(())
}

async fn at_once(
    all: impl Iterator<Item = impl Future<Output = Result<(), Error>>>,
) -> Result<(), Error> {
    stream::iter(all).buffer_unordered(4).try_collect().await
}
