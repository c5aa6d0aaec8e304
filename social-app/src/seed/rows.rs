//! The town's rows, many in one statement. Counters are counted at the end of each part.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use time::{Duration, OffsetDateTime};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::models::people::insert;
use crate::seed::town::{Answer, Bonds, NewPost, Someone, Talk};
use crate::{App, Error, db, retry};

/// People who join at the same time.
const AT_ONCE: usize = 8;
/// Rows of one statement.
const ROWS: usize = 2000;
/// Posts of one statement: each has four parameters.
const POSTS: usize = 100;

fn ago(minutes: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() - Duration::minutes(minutes)
}

/// Their ids, in the order of the list.
pub async fn people(app: &App, people: &[Someone], hash: &str) -> Result<Vec<i64>, Error> {
    let joining = people.iter().map(|someone| async move {
        let email = format!("{}@town.example", someone.user_name);
        retry!(insert(app, &someone.user_name, &email, &someone.name, hash))
    });
    let ids: Vec<i64> = stream::iter(joining)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let bios: Vec<&str> = people.iter().map(|someone| someone.bio.as_str()).collect();
    for (id, bio) in ids.iter().zip(bios) {
        let client = app.pool.get().await?;
        db::run(
            &client,
            "UPDATE users SET bio = $2 WHERE id = $1",
            &[id, &bio],
        )
        .await?;
    }
    Ok(ids)
}

/// Rows of two or three numbers.
async fn pairs(app: &App, sql: &str, one: &[i64], other: &[i64]) -> Result<(), Error> {
    let client = app.pool.get().await?;
    for (one, other) in one.chunks(ROWS).zip(other.chunks(ROWS)) {
        db::run(&client, sql, &[&one, &other]).await?;
    }
    Ok(())
}

async fn run(app: &App, sql: &str) -> Result<(), Error> {
    let client = app.pool.get().await?;
    db::run(&client, sql, &[]).await?;
    Ok(())
}

pub async fn bonds(app: &App, ids: &[i64], bonds: &Bonds) -> Result<(), Error> {
    let (one, other): (Vec<i64>, Vec<i64>) = bonds
        .follows
        .iter()
        .map(|(one, other)| (ids[*one], ids[*other]))
        .unzip();
    let follows = "INSERT INTO follows (user_id, followee_id) SELECT a, b FROM unnest($1::bigint[], $2::bigint[]) AS t (a, b)";
    pairs(app, follows, &one, &other).await?;
    let followers = "INSERT INTO followers (user_id, follower_id) SELECT a, b FROM unnest($1::bigint[], $2::bigint[]) AS t (a, b)";
    pairs(app, followers, &other, &one).await?;
    let both = bonds
        .friends
        .iter()
        .flat_map(|(one, other)| [(*one, *other), (*other, *one)]);
    let (one, other): (Vec<i64>, Vec<i64>) =
        both.map(|(one, other)| (ids[one], ids[other])).unzip();
    let friends = "INSERT INTO friends (user_id, friend_id) SELECT a, b FROM unnest($1::bigint[], $2::bigint[]) AS t (a, b)";
    pairs(app, friends, &one, &other).await?;
    let count = "UPDATE users SET follower_count = (SELECT count(*) FROM followers f WHERE f.user_id = users.id), \
        following_count = (SELECT count(*) FROM follows f WHERE f.user_id = users.id)";
    run(app, count).await
}

/// A post that is in the database.
pub struct Written {
    pub id: i64,
    pub author: usize,
    pub for_friends: bool,
    pub minutes_ago: i64,
}

pub async fn posts(app: &App, ids: &[i64], posts: Vec<NewPost>) -> Result<Vec<Written>, Error> {
    let client = app.pool.get().await?;
    let mut written = Vec::new();
    for some in posts.chunks(POSTS) {
        let rows: Vec<(i64, &str, &str, OffsetDateTime)> = some
            .iter()
            .map(|post| {
                let audience = if post.for_friends {
                    "friends"
                } else {
                    "everyone"
                };
                (
                    ids[post.author],
                    post.body.as_str(),
                    audience,
                    ago(post.minutes_ago),
                )
            })
            .collect();
        let places: Vec<String> = (0..rows.len())
            .map(|row| row * 4)
            .map(|at| format!("(${}, ${}, ${}, ${})", at + 1, at + 2, at + 3, at + 4))
            .collect();
        let sql = format!(
            "INSERT INTO posts (author_id, body, audience, created) VALUES {} RETURNING id",
            places.join(", ")
        );
        let values: Vec<&(dyn ToSql + Sync)> = rows
            .iter()
            .flat_map(|(author, body, audience, created)| {
                [author as &(dyn ToSql + Sync), body, audience, created]
            })
            .collect();
        let made = db::all(&client, &sql, &values).await?;
        written.extend(some.iter().zip(&made).map(|(post, row)| Written {
            id: row.get(0),
            author: post.author,
            for_friends: post.for_friends,
            minutes_ago: post.minutes_ago,
        }));
    }
    drop(client);
    run(
        app,
        "UPDATE users SET post_count = (SELECT count(*) FROM posts p WHERE p.author_id = users.id)",
    )
    .await?;
    Ok(written)
}

pub async fn feeds(app: &App, ids: &[i64], bonds: &Bonds, posts: &[Written]) -> Result<(), Error> {
    let (mut readers, mut authors, mut numbers, mut created) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for post in posts {
        for reader in bonds.followers(post.author).chain([post.author]) {
            readers.push(ids[reader]);
            authors.push(ids[post.author]);
            numbers.push(post.id);
            created.push(ago(post.minutes_ago));
        }
    }
    let client = app.pool.get().await?;
    let sql = "INSERT INTO feed (user_id, author_id, post_id, created) \
        SELECT a, b, c, d FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[]) AS t (a, b, c, d)";
    let columns = readers
        .chunks(ROWS)
        .zip(authors.chunks(ROWS))
        .zip(numbers.chunks(ROWS))
        .zip(created.chunks(ROWS));
    for (((readers, authors), numbers), created) in columns {
        db::run(&client, sql, &[&readers, &authors, &numbers, &created]).await?;
    }
    Ok(())
}

pub async fn answers(
    app: &App,
    ids: &[i64],
    posts: &[Written],
    said: &[Answer],
) -> Result<(), Error> {
    let (comments, likes): (Vec<&Answer>, Vec<&Answer>) =
        said.iter().partition(|answer| answer.comment.is_some());
    let of = |answer: &&Answer| {
        (
            ids[posts[answer.post].author],
            posts[answer.post].id,
            ids[answer.person],
        )
    };
    let client = app.pool.get().await?;
    for some in likes.chunks(ROWS) {
        let (authors, (numbers, people)): (Vec<i64>, (Vec<i64>, Vec<i64>)) =
            some.iter().map(of).map(|(a, b, c)| (a, (b, c))).unzip();
        let created: Vec<OffsetDateTime> = some.iter().map(|like| ago(like.minutes_ago)).collect();
        let sql = "INSERT INTO likes (author_id, post_id, user_id, created) \
            SELECT a, b, c, d FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::timestamptz[]) AS t (a, b, c, d)";
        db::run(&client, sql, &[&authors, &numbers, &people, &created]).await?;
    }
    for some in comments.chunks(POSTS) {
        let rows: Vec<_> = some
            .iter()
            .map(|comment| {
                (
                    of(comment),
                    comment.comment.unwrap_or(""),
                    ago(comment.minutes_ago),
                )
            })
            .collect();
        let places: Vec<String> = (0..rows.len())
            .map(|row| row * 5)
            .map(|at| {
                format!(
                    "(${}, ${}, ${}, ${}, ${})",
                    at + 1,
                    at + 2,
                    at + 3,
                    at + 4,
                    at + 5
                )
            })
            .collect();
        let sql = format!(
            "INSERT INTO comments (author_id, post_id, user_id, body, created) VALUES {}",
            places.join(", ")
        );
        let values: Vec<&(dyn ToSql + Sync)> = rows
            .iter()
            .flat_map(|((author, post, person), body, created)| {
                [author as &(dyn ToSql + Sync), post, person, body, created]
            })
            .collect();
        db::run(&client, &sql, &values).await?;
    }
    let count = "UPDATE posts p SET like_count = (SELECT count(*) FROM likes l WHERE l.author_id = p.author_id AND l.post_id = p.id), \
        comment_count = (SELECT count(*) FROM comments c WHERE c.author_id = p.author_id AND c.post_id = p.id)";
    db::run(&client, count, &[]).await?;
    Ok(())
}

pub async fn talks(app: &App, ids: &[i64], talks: &[Talk]) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let (mut owners, mut peers, mut numbers, mut senders, mut bodies, mut created) = (
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
        Vec::new(),
    );
    for talk in talks {
        let (one, other) = (ids[talk.one], ids[talk.other]);
        for (mine, text, minutes_ago) in &talk.lines {
            let (number, moment) = (Uuid::now_v7(), ago(*minutes_ago));
            for (owner, peer) in [(one, other), (other, one)] {
                owners.push(owner);
                peers.push(peer);
                numbers.push(number);
                senders.push(if *mine { one } else { other });
                bodies.push(*text);
                created.push(moment);
            }
        }
    }
    let sql = "INSERT INTO messages (user_id, peer_id, id, sender_id, body, created) SELECT a, b, c, d, e, f \
        FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[]) AS t (a, b, c, d, e, f)";
    let mut at = 0;
    while at < owners.len() {
        let end = (at + ROWS).min(owners.len());
        let part = at..end;
        db::run(
            &client,
            sql,
            &[
                &&owners[part.clone()],
                &&peers[part.clone()],
                &&numbers[part.clone()],
                &&senders[part.clone()],
                &&bodies[part.clone()],
                &&created[part],
            ],
        )
        .await?;
        at = end;
    }
    // The last line of each conversation, by each of the two.
    let inbox = "INSERT INTO conversations (user_id, peer_id, excerpt, unread, latest) \
        SELECT DISTINCT ON (user_id, peer_id) user_id, peer_id, left(body, 80), \
            CASE WHEN sender_id = peer_id AND created > now() - interval '2 days' THEN 1 ELSE 0 END, created \
        FROM messages ORDER BY user_id, peer_id, created DESC";
    db::run(&client, inbox, &[]).await?;
    Ok(())
}
