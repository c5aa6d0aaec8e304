//! Likes, with the post that is liked.

use crate::models::blocks::not_blocked;
use crate::models::{notifications, posts};
use crate::{App, Error, db, retry};

/// How a post stands after a like came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Liked {
    pub liked: bool,
    pub like_count: i64,
}

pub async fn like(app: &App, me: i64, author: i64, post: i64) -> Result<Liked, Error> {
    let liked = retry!(like_once(app, me, author, post))?;
    app.live.wake(author);
    Ok(liked)
}

async fn like_once(app: &App, me: i64, author: i64, post: i64) -> Result<Liked, Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    check(&transaction, me, author, post).await?;
    let sql = "INSERT INTO likes (author_id, post_id, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let new = db::run(&transaction, sql, &[&author, &post, &me]).await? > 0;
    let like_count = count(&transaction, author, post, i64::from(new)).await?;
    if new && me != author {
        notifications::add(&transaction, author, "like", me, Some(post)).await?;
    }
    transaction.commit().await?;
    Ok(Liked {
        liked: true,
        like_count,
    })
}

/// Error where the post is not for me to see.
pub async fn check(
    client: &impl deadpool_postgres::GenericClient,
    me: i64,
    author: i64,
    post: i64,
) -> Result<(), Error> {
    let (free, visible) = (not_blocked("p.author_id", "$1"), posts::VISIBLE);
    let sql = format!(
        "SELECT FROM posts p WHERE p.author_id = $2 AND p.id = $3 AND {free} AND {visible}"
    );
    db::one(client, &sql, &[&me, &author, &post]).await?;
    Ok(())
}

async fn count(
    client: &impl deadpool_postgres::GenericClient,
    author: i64,
    post: i64,
    by: i64,
) -> Result<i64, Error> {
    let sql = "UPDATE posts SET like_count = greatest(0, like_count + $3) WHERE author_id = $1 AND id = $2 RETURNING like_count";
    Ok(db::one(client, sql, &[&author, &post, &by]).await?.get(0))
}

pub async fn unlike(app: &App, me: i64, author: i64, post: i64) -> Result<Liked, Error> {
    retry!(unlike_once(app, me, author, post))
}

async fn unlike_once(app: &App, me: i64, author: i64, post: i64) -> Result<Liked, Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let sql = "DELETE FROM likes WHERE author_id = $1 AND post_id = $2 AND user_id = $3";
    let gone = db::run(&transaction, sql, &[&author, &post, &me]).await?;
    let like_count = count(&transaction, author, post, -(gone as i64)).await?;
    let note = "DELETE FROM notifications WHERE user_id = $1 AND kind = 'like' AND post_id = $2 AND actor_id = $3";
    db::run(&transaction, note, &[&author, &post, &me]).await?;
    transaction.commit().await?;
    Ok(Liked {
        liked: false,
        like_count,
    })
}
