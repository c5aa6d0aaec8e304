//! Direct messages. Each of the two has a copy of their own, so one's inbox is one shard, whoever wrote.

use serde::Serialize;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::models::blocks;
use crate::models::cursor::{Cursor, Page};
use crate::models::people::{self, Person};
use crate::{App, Error, db, retry};

#[derive(Debug, Clone, Serialize)]
pub struct Message {
    pub id: Uuid,
    pub sender_id: i64,
    pub body: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
}

impl Message {
    fn of(row: &Row) -> Message {
        Message {
            id: row.get("id"),
            sender_id: row.get("sender_id"),
            body: row.get("body"),
            created: row.get("created"),
        }
    }

    /// Two messages of one conversation have not the same microsecond.
    fn cursor(&self) -> Cursor {
        Cursor {
            created: self.created,
            id: 0,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct Conversation {
    pub peer: Person,
    pub excerpt: String,
    pub unread: i64,
    #[serde(with = "time::serde::rfc3339")]
    pub latest: OffsetDateTime,
}

/// Sends to one person.
pub async fn send(app: &App, me: i64, to: i64, body: &str) -> Result<Message, Error> {
    let body = people::clean(body);
    let body = body.trim();
    if me == to {
        return Err(Error::invalid("user", "You cannot write to yourself."));
    }
    if !(1..=4000).contains(&body.chars().count()) {
        return Err(Error::invalid(
            "body",
            "A message has 1 to 4,000 characters.",
        ));
    }
    let message = retry!(insert(app, me, to, body))?;
    app.live.wake(to);
    app.metrics.messages.add(1);
    Ok(message)
}

async fn insert(app: &App, me: i64, to: i64, body: &str) -> Result<Message, Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    blocks::check(&transaction, me, to).await?;
    let id = Uuid::now_v7();
    // The database's clock, to its own precision: both copies have the same time.
    let now = db::one(&transaction, "SELECT clock_timestamp()", &[]).await?;
    let created: OffsetDateTime = now.get(0);
    let sql = "INSERT INTO messages (user_id, peer_id, id, sender_id, body, created) \
        VALUES ($1, $2, $3, $1, $4, $5), ($2, $1, $3, $1, $4, $5)";
    db::run(&transaction, sql, &[&me, &to, &id, &body, &created]).await?;
    let excerpt: String = body.chars().take(80).collect();
    let talk = "INSERT INTO conversations AS c (user_id, peer_id, excerpt, unread, latest) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (user_id, peer_id) DO UPDATE SET excerpt = excluded.excerpt, latest = excluded.latest, unread = c.unread + $4";
    // In the order of ids: two who write to one another at once wait rather than meet.
    let mut sides = [(me, to, 0_i64), (to, me, 1)];
    sides.sort_unstable();
    for (owner, peer, unread) in sides {
        db::run(
            &transaction,
            talk,
            &[&owner, &peer, &excerpt, &unread, &created],
        )
        .await?;
    }
    transaction.commit().await?;
    Ok(Message {
        id,
        sender_id: me,
        body: body.to_owned(),
        created,
    })
}

/// With one person, the newest first; nothing where there is a block between the two.
pub async fn list(
    app: &App,
    me: i64,
    peer: i64,
    cursor: Cursor,
    size: usize,
) -> Result<Page<Message>, Error> {
    let sql = "SELECT id, sender_id, body, created FROM messages WHERE user_id = $1 AND peer_id = $2 AND created < $3 \
        ORDER BY created DESC, id DESC LIMIT $4";
    let client = app.pool.get().await?;
    blocks::check_mine(&client, me, peer).await?;
    let limit = size as i64 + 1;
    let rows = db::all(&client, sql, &[&me, &peer, &cursor.created, &limit]).await?;
    Ok(Page::of(
        rows.iter().map(Message::of).collect(),
        size,
        Message::cursor,
    ))
}

/// Those written after a moment, the oldest first; a hundred at most.
pub async fn since(
    app: &App,
    me: i64,
    peer: i64,
    after: OffsetDateTime,
) -> Result<Vec<Message>, Error> {
    let sql = "SELECT id, sender_id, body, created FROM messages WHERE user_id = $1 AND peer_id = $2 AND created > $3 \
        ORDER BY created, id LIMIT 100";
    let client = app.pool.get().await?;
    blocks::check_mine(&client, me, peer).await?;
    Ok(db::all(&client, sql, &[&me, &peer, &after])
        .await?
        .iter()
        .map(Message::of)
        .collect())
}

pub async fn mark_read(app: &App, me: i64, peer: i64) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql =
        "UPDATE conversations SET unread = 0 WHERE user_id = $1 AND peer_id = $2 AND unread > 0";
    db::run(&client, sql, &[&me, &peer]).await?;
    Ok(())
}

/// The latest first.
pub async fn conversations(
    app: &App,
    me: i64,
    cursor: Cursor,
    size: usize,
) -> Result<Page<Conversation>, Error> {
    let sql = "SELECT peer_id, excerpt, unread, latest FROM conversations WHERE user_id = $1 AND (latest, peer_id) < ($2, $3) \
        ORDER BY latest DESC, peer_id DESC LIMIT $4";
    let client = app.pool.get().await?;
    let limit = size as i64 + 1;
    let rows = db::all(&client, sql, &[&me, &cursor.created, &cursor.id, &limit]).await?;
    drop(client);
    let page = Page::of(rows, size, |row| Cursor {
        created: row.get("latest"),
        id: row.get("peer_id"),
    });
    let mut people = people::seen_by(
        app,
        Some(me),
        page.items.iter().map(|row| row.get("peer_id")),
    )
    .await?;
    let made = page.items.iter().filter_map(|row| {
        Some(Conversation {
            peer: people.remove(&row.get("peer_id"))?,
            excerpt: row.get("excerpt"),
            unread: row.get("unread"),
            latest: row.get("latest"),
        })
    });
    Ok(Page {
        items: made.collect(),
        next: page.next,
    })
}
