//! Comments, with the post that they are about; their writers may be on other shards.

use std::collections::HashMap;

use serde::Serialize;
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::models::cursor::{Cursor, Page};
use crate::models::people::{self, Person};
use crate::models::{likes, notifications, posts};
use crate::{App, Error, db, retry};

#[derive(Debug, Clone, Serialize)]
pub struct Comment {
    pub id: i64,
    pub writer: Person,
    pub body: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
}

impl Comment {
    /// None: the writer is gone, or cannot be asked just now.
    fn of(row: &Row, people: &HashMap<i64, Person>) -> Option<Comment> {
        Some(Comment {
            id: row.get("id"),
            writer: people.get(&row.get("user_id"))?.clone(),
            body: row.get("body"),
            created: row.get("created"),
        })
    }
}

/// The newest first. Without those of people with whom the viewer has a block.
pub async fn list(
    app: &App,
    author: i64,
    post: i64,
    viewer: Option<i64>,
    cursor: Cursor,
    size: usize,
) -> Result<Page<Comment>, Error> {
    let seen = posts::get(app, author, post, viewer);
    seen.await?;
    let client = app.pool.get().await?;
    let sql = "SELECT id, user_id, body, created FROM comments WHERE author_id = $1 AND post_id = $2 \
        AND (created, id) < ($3, $4) ORDER BY created DESC, id DESC LIMIT $5";
    let limit = size as i64 + 1;
    let rows = db::all(
        &client,
        sql,
        &[&author, &post, &cursor.created, &cursor.id, &limit],
    )
    .await?;
    let page = Page::of(rows, size, |row| Cursor {
        created: row.get("created"),
        id: row.get("id"),
    });
    drop(client);
    let writers = page.items.iter().map(|row| row.get("user_id"));
    let people = people::seen_by(app, viewer, writers).await?;
    Ok(Page {
        items: page
            .items
            .iter()
            .filter_map(|row| Comment::of(row, &people))
            .collect(),
        next: page.next,
    })
}

/// Adds one; gives its id and when it was written.
pub async fn add(
    app: &App,
    me: i64,
    author: i64,
    post: i64,
    body: &str,
) -> Result<(i64, OffsetDateTime), Error> {
    let body = people::clean(body);
    let body = body.trim();
    if !(1..=2000).contains(&body.chars().count()) {
        return Err(Error::invalid(
            "body",
            "A comment has 1 to 2,000 characters.",
        ));
    }
    let added = retry!(insert(app, me, author, post, body))?;
    app.live.wake(author);
    Ok(added)
}

async fn insert(
    app: &App,
    me: i64,
    author: i64,
    post: i64,
    body: &str,
) -> Result<(i64, OffsetDateTime), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    likes::check(&transaction, me, author, post).await?;
    let sql = "INSERT INTO comments (author_id, post_id, user_id, body) VALUES ($1, $2, $3, $4) RETURNING id, created";
    let row = db::one(&transaction, sql, &[&author, &post, &me, &body]).await?;
    count(&transaction, author, post, 1).await?;
    if me != author {
        notifications::add(&transaction, author, "comment", me, Some(post)).await?;
    }
    transaction.commit().await?;
    Ok((row.get(0), row.get(1)))
}

async fn count(
    client: &impl deadpool_postgres::GenericClient,
    author: i64,
    post: i64,
    by: i64,
) -> Result<(), Error> {
    let sql = "UPDATE posts SET comment_count = greatest(0, comment_count + $3) WHERE author_id = $1 AND id = $2";
    db::run(client, sql, &[&author, &post, &by]).await?;
    Ok(())
}

/// By its writer, or by the author of the post.
pub async fn delete(app: &App, me: i64, author: i64, post: i64, id: i64) -> Result<(), Error> {
    retry!(delete_once(app, me, author, post, id))
}

async fn delete_once(app: &App, me: i64, author: i64, post: i64, id: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let sql = "DELETE FROM comments WHERE author_id = $1 AND post_id = $2 AND id = $3 AND (user_id = $4 OR author_id = $4)";
    if db::run(&transaction, sql, &[&author, &post, &id, &me]).await? == 0 {
        return Err(Error::NotFound);
    }
    count(&transaction, author, post, -1).await?;
    transaction.commit().await?;
    Ok(())
}
