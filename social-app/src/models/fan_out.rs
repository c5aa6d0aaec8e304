//! Jobs that bring posts to home feeds and take them away. Each may run twice.

use deadpool_postgres::GenericClient;
use time::OffsetDateTime;

use crate::jobs::Job;
use crate::{App, Error, db};

/// A new post to its author's followers.
pub const SPREAD: &str = "spread";
/// A deleted post out of their feeds.
pub const WITHDRAW: &str = "withdraw";
/// The latest posts of somebody newly followed.
pub const FILL: &str = "fill";
/// An account's followers read its posts from now on.
pub const SWITCH: &str = "switch";

/// Followers written to at once.
const BATCH: i64 = 1000;
/// Posts of somebody newly followed.
const FILLED: i64 = 30;

fn number(job: &Job, name: &str) -> Result<i64, Error> {
    let value = job.payload[name].as_i64();
    value.ok_or_else(|| anyhow::anyhow!("job {} has no {name}", job.id).into())
}

/// The next followers behind `after`, by id.
async fn followers(client: &impl GenericClient, of: i64, after: i64) -> Result<Vec<i64>, Error> {
    let sql = "SELECT follower_id FROM followers WHERE user_id = $1 AND follower_id > $2 ORDER BY follower_id LIMIT $3";
    let rows = db::all(client, sql, &[&of, &after, &BATCH]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub async fn spread(app: &App, job: &Job) -> Result<(), Error> {
    let (author, post) = (job.owner_id, number(job, "post_id")?);
    let client = app.pool.get().await?;
    let sql = "SELECT created FROM posts WHERE author_id = $1 AND id = $2";
    let Some(row) = db::maybe(&client, sql, &[&author, &post]).await? else {
        return Ok(()); // Deleted before it was spread.
    };
    let created: OffsetDateTime = row.get(0);
    let write = "INSERT INTO feed (user_id, author_id, post_id, created) \
        SELECT reader, $2::bigint, $3::bigint, $4::timestamptz FROM unnest($1::bigint[]) AS t (reader) ON CONFLICT DO NOTHING";
    let mut failed = None;
    let mut readers = followers(&client, author, i64::MIN).await?;
    while let Some(last) = readers.last().copied() {
        if let Err(error) = db::run(&client, write, &[&readers, &author, &post, &created]).await {
            // Those who can be reached do not wait for those who cannot: they have it when the job is tried again.
            for reader in &readers {
                let one = vec![*reader];
                let _ = db::run(&client, write, &[&one, &author, &post, &created]).await;
            }
            failed = Some(error);
        }
        readers.iter().for_each(|reader| app.live.wake(*reader));
        readers = followers(&client, author, last).await?;
    }
    // Deleted while it was spread: who deleted it may have looked before we wrote.
    if db::maybe(&client, sql, &[&author, &post]).await?.is_none() {
        drop(client);
        return withdraw(app, job).await;
    }
    failed.map_or(Ok(()), Err)
}

pub async fn withdraw(app: &App, job: &Job) -> Result<(), Error> {
    let (author, post) = (job.owner_id, number(job, "post_id")?);
    let client = app.pool.get().await?;
    let sql = "DELETE FROM feed WHERE user_id = ANY($1) AND author_id = $2 AND post_id = $3";
    let mut readers = followers(&client, author, i64::MIN).await?;
    while let Some(last) = readers.last().copied() {
        db::run(&client, sql, &[&readers, &author, &post]).await?;
        readers = followers(&client, author, last).await?;
    }
    Ok(())
}

pub async fn fill(app: &App, job: &Job) -> Result<(), Error> {
    let (me, followee) = (job.owner_id, number(job, "followee_id")?);
    let mut client = app.pool.get().await?;
    let latest = "SELECT id, created FROM posts WHERE author_id = $1 AND NOT fan_in ORDER BY created DESC, id DESC LIMIT $2";
    let rows = db::all(&client, latest, &[&followee, &FILLED]).await?;
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let created: Vec<OffsetDateTime> = rows.iter().map(|row| row.get(1)).collect();
    let transaction = client.transaction().await?;
    // Locked, so that who stops following meanwhile does so after us and takes away what we wrote.
    let follows = "SELECT FROM follows WHERE user_id = $1 AND followee_id = $2 FOR UPDATE";
    if db::maybe(&transaction, follows, &[&me, &followee])
        .await?
        .is_some()
    {
        let write = "INSERT INTO feed (user_id, author_id, post_id, created) \
            SELECT $1::bigint, $2::bigint, t.id, t.created FROM unnest($3::bigint[], $4::timestamptz[]) AS t (id, created) \
            ON CONFLICT DO NOTHING";
        db::run(&transaction, write, &[&me, &followee, &ids, &created]).await?;
    }
    transaction.commit().await?;
    app.live.wake(me);
    Ok(())
}

pub async fn switch(app: &App, job: &Job) -> Result<(), Error> {
    let author = job.owner_id;
    let client = app.pool.get().await?;
    let sql = "UPDATE follows SET fan_in = true WHERE user_id = ANY($1) AND followee_id = $2 AND NOT fan_in";
    let mut readers = followers(&client, author, i64::MIN).await?;
    while let Some(last) = readers.last().copied() {
        db::run(&client, sql, &[&readers, &author]).await?;
        readers = followers(&client, author, last).await?;
    }
    Ok(())
}
