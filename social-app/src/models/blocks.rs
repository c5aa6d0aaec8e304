//! Blocks: neither sees the other any more. Two rows, one with each person.

use deadpool_postgres::GenericClient;

use crate::models::follows;
use crate::models::people::{self, Person};
use crate::{App, Error, db, retry};

/// A condition: person `$viewer` may see what the person in column `owner` of the same shard shows. Parts of larger statements.
pub fn not_blocked(owner: &str, viewer: &str) -> String {
    format!("NOT EXISTS (SELECT FROM blocks b WHERE b.user_id = {owner} AND b.other_id = {viewer})")
}

/// Error where `other` is not there, or one of the two has blocked the other.
pub async fn check(client: &impl GenericClient, me: i64, other: i64) -> Result<(), Error> {
    let free = not_blocked("$1", "$2");
    let sql = format!("SELECT FROM users u WHERE u.id = $1 AND u.deleted IS NULL AND {free}");
    db::one(client, &sql, &[&other, &me]).await?;
    Ok(())
}

/// Error where one of the two has blocked the other; asks my shard only.
pub async fn check_mine(client: &impl GenericClient, me: i64, other: i64) -> Result<(), Error> {
    match hidden(client, me, &[other]).await?.is_empty() {
        true => Ok(()),
        false => Err(Error::NotFound),
    }
}

/// Those of the others whom I do not see, or who do not see me.
pub async fn hidden(
    client: &impl GenericClient,
    me: i64,
    others: &[i64],
) -> Result<Vec<i64>, Error> {
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "SELECT other_id FROM blocks WHERE user_id = $1 AND other_id = ANY($2)";
    let rows = db::all(client, sql, &[&me, &others]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Ends everything between the two.
pub async fn block(app: &App, me: i64, other: i64) -> Result<(), Error> {
    if me == other {
        return Err(Error::invalid("user", "You cannot block yourself."));
    }
    retry!(block_once(app, me, other))
}

async fn block_once(app: &App, me: i64, other: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let there = "SELECT FROM users WHERE id = $1 AND deleted IS NULL";
    db::one(&transaction, there, &[&other]).await?;
    let sql = "INSERT INTO blocks (user_id, other_id, by_me) VALUES ($1, $2, true), ($2, $1, false) ON CONFLICT DO NOTHING";
    db::run(&transaction, sql, &[&me, &other]).await?;
    follows::end(&transaction, me, other).await?;
    follows::end(&transaction, other, me).await?;
    for (one, another) in [(me, other), (other, me)] {
        let friends = "DELETE FROM friends WHERE user_id = $1 AND friend_id = $2";
        db::run(&transaction, friends, &[&one, &another]).await?;
        let requests = "DELETE FROM friend_requests WHERE user_id = $1 AND from_id = $2";
        db::run(&transaction, requests, &[&one, &another]).await?;
        let notes = "DELETE FROM notifications WHERE user_id = $1 AND actor_id = $2";
        db::run(&transaction, notes, &[&one, &another]).await?;
        // Nobody is told of messages that cannot be read any more.
        let unread = "UPDATE conversations SET unread = 0 WHERE user_id = $1 AND peer_id = $2 AND unread > 0";
        db::run(&transaction, unread, &[&one, &another]).await?;
    }
    transaction.commit().await?;
    Ok(())
}

pub async fn unblock(app: &App, me: i64, other: i64) -> Result<(), Error> {
    retry!(unblock_once(app, me, other))
}

async fn unblock_once(app: &App, me: i64, other: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let sql = "DELETE FROM blocks WHERE user_id = $1 AND other_id = $2 AND by_me = $3";
    db::run(&transaction, sql, &[&me, &other, &true]).await?;
    db::run(&transaction, sql, &[&other, &me, &false]).await?;
    transaction.commit().await?;
    Ok(())
}

/// Those whom I have blocked.
pub async fn list(app: &App, me: i64) -> Result<Vec<Person>, Error> {
    let client = app.pool.get().await?;
    let sql =
        "SELECT other_id FROM blocks WHERE user_id = $1 AND by_me ORDER BY created DESC LIMIT 500";
    let rows = db::all(&client, sql, &[&me]).await?;
    drop(client);
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let mut people = people::by_ids(app, ids.iter().copied()).await?;
    Ok(ids.iter().filter_map(|id| people.remove(id)).collect())
}
