//! Following: a row with the follower, which the home feed needs, and its mirror with the one who is followed.

use deadpool_postgres::Transaction;
use serde_json::json;

use crate::models::cursor::{Cursor, Page};
use crate::models::people::{self, Person};
use crate::models::{blocks, fan_out, notifications};
use crate::{App, Error, db, jobs, retry};

/// From now on the other's posts are in my home feed.
pub async fn follow(app: &App, me: i64, other: i64) -> Result<(), Error> {
    if me == other {
        return Err(Error::invalid("user", "You cannot follow yourself."));
    }
    retry!(follow_once(app, me, other))?;
    app.live.wake(other);
    Ok(())
}

async fn follow_once(app: &App, me: i64, other: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    blocks::check(&transaction, me, other).await?;
    if begin(app, &transaction, me, other).await? {
        notifications::add(&transaction, other, "follow", me, None).await?;
    }
    transaction.commit().await?;
    app.bell.ring(me);
    Ok(())
}

/// Within a transaction; false: it was so before.
pub async fn begin(
    app: &App,
    transaction: &Transaction<'_>,
    me: i64,
    other: i64,
) -> Result<bool, Error> {
    let mirror =
        "INSERT INTO followers (user_id, follower_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    if db::run(transaction, mirror, &[&other, &me]).await? == 0 {
        return Ok(false);
    }
    let fan_in = counted(app, transaction, other).await?;
    let sql = "INSERT INTO follows (user_id, followee_id, fan_in) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    db::run(transaction, sql, &[&me, &other, &fan_in]).await?;
    people::count(transaction, me, "following_count", 1).await?;
    jobs::enqueue(
        transaction,
        me,
        fan_out::FILL,
        &json!({ "followee_id": other }),
    )
    .await?;
    Ok(true)
}

/// Counts one follower more. Whose followers become very many is read from now on, rather than written to each.
async fn counted(app: &App, transaction: &Transaction<'_>, other: i64) -> Result<bool, Error> {
    let sql = "UPDATE users SET follower_count = follower_count + 1 WHERE id = $1 RETURNING follower_count, fan_in";
    let row = db::one(transaction, sql, &[&other]).await?;
    let (followers, fan_in): (i64, bool) = (row.get(0), row.get(1));
    if fan_in || followers < app.config.fan_in_from {
        return Ok(fan_in);
    }
    let switch = "UPDATE users SET fan_in = true WHERE id = $1";
    db::run(transaction, switch, &[&other]).await?;
    jobs::enqueue(transaction, other, fan_out::SWITCH, &json!({})).await?;
    Ok(true)
}

pub async fn unfollow(app: &App, me: i64, other: i64) -> Result<(), Error> {
    retry!(unfollow_once(app, me, other))
}

async fn unfollow_once(app: &App, me: i64, other: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    end(&transaction, me, other).await?;
    transaction.commit().await?;
    Ok(())
}

/// Within a transaction: `me` does not follow `other`, and has nothing of them in the home feed.
pub async fn end(transaction: &Transaction<'_>, me: i64, other: i64) -> Result<(), Error> {
    let mirror = "DELETE FROM followers WHERE user_id = $1 AND follower_id = $2";
    if db::run(transaction, mirror, &[&other, &me]).await? > 0 {
        people::count(transaction, other, "follower_count", -1).await?;
    }
    let sql = "DELETE FROM follows WHERE user_id = $1 AND followee_id = $2";
    if db::run(transaction, sql, &[&me, &other]).await? > 0 {
        people::count(transaction, me, "following_count", -1).await?;
    }
    let feed = "DELETE FROM feed WHERE user_id = $1 AND author_id = $2";
    db::run(transaction, feed, &[&me, &other]).await?;
    Ok(())
}

/// Which list of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    Followers,
    Following,
    Friends,
}

/// Of one person, the newest first; without those with whom the viewer has a block.
pub async fn list(
    app: &App,
    of: i64,
    list: List,
    viewer: Option<i64>,
    cursor: Cursor,
    size: usize,
) -> Result<Page<Person>, Error> {
    let (table, column) = match list {
        List::Followers => ("followers", "follower_id"),
        List::Following => ("follows", "followee_id"),
        List::Friends => ("friends", "friend_id"),
    };
    let sql = format!(
        "SELECT {column}, created FROM {table} WHERE user_id = $1 AND (created, {column}) < ($2, $3) \
        ORDER BY created DESC, {column} DESC LIMIT $4"
    );
    let client = app.pool.get().await?;
    let limit = size as i64 + 1;
    let rows = db::all(&client, &sql, &[&of, &cursor.created, &cursor.id, &limit]).await?;
    drop(client);
    let page = Page::of(rows, size, |row| Cursor {
        created: row.get(1),
        id: row.get(0),
    });
    let ids = page.items.iter().map(|row| row.get(0));
    let mut people = people::seen_by(app, viewer, ids).await?;
    Ok(Page {
        items: page
            .items
            .iter()
            .filter_map(|row| people.remove(&row.get(0)))
            .collect(),
        next: page.next,
    })
}
