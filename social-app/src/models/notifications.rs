//! What others did that concerns a person, kept with that person.

use deadpool_postgres::GenericClient;
use serde::Serialize;
use time::OffsetDateTime;

use crate::models::cursor::{Cursor, Page};
use crate::models::people::{self, Person};
use crate::{App, Error, db};

#[derive(Debug, Clone, Serialize)]
pub struct Notification {
    pub id: i64,
    /// follow, friend_request, friend, like or comment.
    pub kind: String,
    pub actor: Person,
    /// One's own post that it is about.
    pub post_id: Option<i64>,
    pub seen: bool,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
}

impl Notification {
    /// What the actor did, to be read behind the actor's name.
    pub fn words(&self) -> &'static str {
        match self.kind.as_str() {
            "follow" => "follows you",
            "friend_request" => "would like to be your friend",
            "friend" => "is your friend now",
            "like" => "likes your post",
            _ => "commented on your post",
        }
    }
}

/// Within the transaction in which it happens.
pub async fn add(
    client: &impl GenericClient,
    user_id: i64,
    kind: &str,
    actor_id: i64,
    post_id: Option<i64>,
) -> Result<(), Error> {
    let sql =
        "INSERT INTO notifications (user_id, kind, actor_id, post_id) VALUES ($1, $2, $3, $4)";
    db::run(client, sql, &[&user_id, &kind, &actor_id, &post_id]).await?;
    Ok(())
}

/// The newest first.
pub async fn list(
    app: &App,
    me: i64,
    cursor: Cursor,
    size: usize,
) -> Result<Page<Notification>, Error> {
    let sql = "SELECT id, kind, actor_id, post_id, seen, created FROM notifications WHERE user_id = $1 \
        AND (created, id) < ($2, $3) ORDER BY created DESC, id DESC LIMIT $4";
    let client = app.pool.get().await?;
    let limit = size as i64 + 1;
    let rows = db::all(&client, sql, &[&me, &cursor.created, &cursor.id, &limit]).await?;
    drop(client);
    let page = Page::of(rows, size, |row| Cursor {
        created: row.get("created"),
        id: row.get("id"),
    });
    let people = people::by_ids(app, page.items.iter().map(|row| row.get("actor_id"))).await?;
    let made = page.items.iter().filter_map(|row| {
        Some(Notification {
            id: row.get("id"),
            kind: row.get("kind"),
            actor: people.get(&row.get("actor_id"))?.clone(),
            post_id: row.get("post_id"),
            seen: row.get("seen"),
            created: row.get("created"),
        })
    });
    Ok(Page {
        items: made.collect(),
        next: page.next,
    })
}

pub async fn mark_seen(app: &App, me: i64) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql = "UPDATE notifications SET seen = true WHERE user_id = $1 AND NOT seen";
    db::run(&client, sql, &[&me]).await?;
    Ok(())
}
