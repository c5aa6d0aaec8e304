//! Posts. They are with their author, and so are their likes, comments and media: a post's page is one shard.

use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use tokio_postgres::Row;
use tokio_postgres::types::Json;

use crate::media::{ATTACHMENT, Attachment};
use crate::models::blocks::not_blocked;
use crate::models::cursor::{Cursor, Page};
use crate::models::fan_out;
use crate::models::people::{self, Person};
use crate::{App, Error, db, jobs, media, retry};

/// Pictures and videos of one post.
pub const MOST_MEDIA: usize = 6;

#[derive(Debug, Clone, Serialize)]
pub struct Post {
    pub id: i64,
    pub author: Person,
    pub body: String,
    pub audience: String,
    pub like_count: i64,
    pub comment_count: i64,
    /// By the viewer.
    pub liked: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    pub media: Vec<Attachment>,
}

/// Posts as person `$1` sees them (null: nobody), with `which` as condition and more behind it.
pub fn select(which: &str) -> String {
    let (person, free) = (people::columns(), not_blocked("p.author_id", "$1"));
    format!(
        "SELECT p.id, p.body, p.audience, p.like_count, p.comment_count, p.created, {person}, \
        EXISTS (SELECT FROM likes l WHERE l.author_id = p.author_id AND l.post_id = p.id AND l.user_id = $1) AS liked, \
        (SELECT json_agg({ATTACHMENT} ORDER BY m.position, m.id) FROM media m \
            WHERE m.owner_id = p.author_id AND m.post_id = p.id) AS media \
        FROM posts p JOIN users u ON u.id = p.author_id WHERE u.deleted IS NULL AND {free} AND {VISIBLE} AND {which}"
    )
}

/// Whether `$1` belongs to the audience of post `p`.
pub const VISIBLE: &str = "(p.audience = 'everyone' OR p.author_id = $1 \
    OR EXISTS (SELECT FROM friends f WHERE f.user_id = p.author_id AND f.friend_id = $1))";

impl Post {
    pub fn of(row: &Row) -> Post {
        Post {
            id: row.get("id"),
            author: Person::of(row),
            body: row.get("body"),
            audience: row.get("audience"),
            like_count: row.get("like_count"),
            comment_count: row.get("comment_count"),
            liked: row.get("liked"),
            created: row.get("created"),
            media: row
                .get::<_, Option<Json<Vec<Attachment>>>>("media")
                .map_or_else(Vec::new, |Json(media)| media),
        }
    }

    pub fn cursor(&self) -> Cursor {
        Cursor {
            created: self.created,
            id: self.id,
        }
    }
}

/// One post, if the viewer may see it.
pub async fn get(app: &App, author: i64, id: i64, viewer: Option<i64>) -> Result<Post, Error> {
    let sql = select("p.author_id = $2 AND p.id = $3");
    let client = app.pool.get().await?;
    Ok(Post::of(
        &db::one(&client, &sql, &[&viewer, &author, &id]).await?,
    ))
}

/// One author's, the newest first.
pub async fn by_author(
    app: &App,
    author: i64,
    viewer: Option<i64>,
    cursor: Cursor,
    size: usize,
) -> Result<Page<Post>, Error> {
    let sql = select(
        "p.author_id = $2 AND (p.created, p.id) < ($3, $4) ORDER BY p.created DESC, p.id DESC LIMIT $5",
    );
    let client = app.pool.get().await?;
    let limit = size as i64 + 1;
    let rows = db::all(
        &client,
        &sql,
        &[&viewer, &author, &cursor.created, &cursor.id, &limit],
    )
    .await?;
    Ok(Page::of(
        rows.iter().map(Post::of).collect(),
        size,
        Post::cursor,
    ))
}

/// What somebody wants to post.
#[derive(Debug, Clone)]
pub struct Draft {
    pub body: String,
    pub audience: String,
    /// Of the author's own media, in this order.
    pub media: Vec<i64>,
}

/// Posts it; gives its id. It comes to the followers' home feeds by a job.
pub async fn create(app: &App, author: i64, draft: Draft) -> Result<i64, Error> {
    let draft = checked(draft)?;
    let id = retry!(insert(app, author, &draft))?;
    app.metrics.posts.add(1);
    Ok(id)
}

fn checked(draft: Draft) -> Result<Draft, Error> {
    let body = people::clean(&draft.body).trim().to_owned();
    if body.is_empty() && draft.media.is_empty() {
        return Err(Error::invalid(
            "body",
            "Please write something, or add a picture.",
        ));
    }
    if body.chars().count() > 5000 {
        return Err(Error::invalid(
            "body",
            "Please use at most 5,000 characters.",
        ));
    }
    if !["everyone", "friends"].contains(&draft.audience.as_str()) {
        return Err(Error::invalid(
            "audience",
            "The audience is everyone or friends.",
        ));
    }
    if draft.media.len() > MOST_MEDIA {
        return Err(Error::invalid(
            "media",
            "A post has at most 6 pictures and videos.",
        ));
    }
    Ok(Draft { body, ..draft })
}

async fn insert(app: &App, author: i64, draft: &Draft) -> Result<i64, Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let counted = "UPDATE users SET post_count = post_count + 1 WHERE id = $1 AND deleted IS NULL RETURNING fan_in";
    let fan_in: bool = db::one(&transaction, counted, &[&author]).await?.get(0);
    let sql = "INSERT INTO posts (author_id, body, audience, fan_in) VALUES ($1, $2, $3, $4) RETURNING id, created";
    let row = db::one(
        &transaction,
        sql,
        &[&author, &draft.body, &draft.audience, &fan_in],
    )
    .await?;
    let (id, created): (i64, OffsetDateTime) = (row.get(0), row.get(1));
    if !draft.media.is_empty() {
        let attach = "UPDATE media SET post_id = $2, position = array_position($3::bigint[], id)::smallint \
            WHERE owner_id = $1 AND id = ANY($3) AND post_id IS NULL AND state <> 'failed'";
        let attached = db::run(&transaction, attach, &[&author, &id, &draft.media]).await?;
        if attached != draft.media.len() as u64 {
            return Err(Error::invalid(
                "media",
                "One of the pictures is not there, or in a post already.",
            ));
        }
    }
    let own = "INSERT INTO feed (user_id, author_id, post_id, created) VALUES ($1, $1, $2, $3)";
    db::run(&transaction, own, &[&author, &id, &created]).await?;
    if !fan_in {
        jobs::enqueue(
            &transaction,
            author,
            fan_out::SPREAD,
            &json!({ "post_id": id }),
        )
        .await?;
    }
    transaction.commit().await?;
    app.bell.ring(author);
    Ok(id)
}

/// With its comments, likes and media; home feeds lose it by a job.
pub async fn delete(app: &App, author: i64, id: i64) -> Result<(), Error> {
    retry!(delete_once(app, author, id))
}

async fn delete_once(app: &App, author: i64, id: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let sql = "DELETE FROM posts WHERE author_id = $1 AND id = $2";
    if db::run(&transaction, sql, &[&author, &id]).await? == 0 {
        return Err(Error::NotFound);
    }
    people::count(&transaction, author, "post_count", -1).await?;
    let notes = "DELETE FROM notifications WHERE user_id = $1 AND post_id = $2";
    db::run(&transaction, notes, &[&author, &id]).await?;
    let own = "DELETE FROM feed WHERE user_id = $1 AND author_id = $1 AND post_id = $2";
    db::run(&transaction, own, &[&author, &id]).await?;
    media::drop_of_post(&transaction, author, id).await?;
    jobs::enqueue(
        &transaction,
        author,
        fan_out::WITHDRAW,
        &json!({ "post_id": id }),
    )
    .await?;
    transaction.commit().await?;
    app.bell.ring(author);
    Ok(())
}
