//! Friendship: asked for, and accepted. Friends follow one another and see what is for friends only.

use deadpool_postgres::Transaction;

use crate::models::people::{self, Person};
use crate::models::{blocks, follows, notifications};
use crate::{App, Error, db, retry};

/// Asks; where the other has asked already, this is the answer.
pub async fn request(app: &App, me: i64, other: i64) -> Result<(), Error> {
    if me == other {
        return Err(Error::invalid("user", "You are your own friend already."));
    }
    retry!(request_once(app, me, other))?;
    app.live.wake(other);
    Ok(())
}

async fn request_once(app: &App, me: i64, other: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    blocks::check(&transaction, me, other).await?;
    let friends = "SELECT FROM friends WHERE user_id = $1 AND friend_id = $2";
    if db::maybe(&transaction, friends, &[&me, &other])
        .await?
        .is_some()
    {
        return Ok(());
    }
    let asked = "DELETE FROM friend_requests WHERE user_id = $1 AND from_id = $2";
    if db::run(&transaction, asked, &[&me, &other]).await? > 0 {
        make(app, &transaction, me, other).await?;
    } else {
        let sql =
            "INSERT INTO friend_requests (user_id, from_id) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        if db::run(&transaction, sql, &[&other, &me]).await? > 0 {
            notifications::add(&transaction, other, "friend_request", me, None).await?;
        }
    }
    transaction.commit().await?;
    [me, other].iter().for_each(|person| app.bell.ring(*person));
    Ok(())
}

async fn make(app: &App, transaction: &Transaction<'_>, me: i64, other: i64) -> Result<(), Error> {
    let sql =
        "INSERT INTO friends (user_id, friend_id) VALUES ($1, $2), ($2, $1) ON CONFLICT DO NOTHING";
    db::run(transaction, sql, &[&me, &other]).await?;
    follows::begin(app, transaction, me, other).await?;
    follows::begin(app, transaction, other, me).await?;
    notifications::add(transaction, other, "friend", me, None).await
}

/// Says yes to one who has asked.
pub async fn accept(app: &App, me: i64, other: i64) -> Result<(), Error> {
    retry!(accept_once(app, me, other))?;
    app.live.wake(other);
    Ok(())
}

async fn accept_once(app: &App, me: i64, other: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    blocks::check(&transaction, me, other).await?;
    let asked = "DELETE FROM friend_requests WHERE user_id = $1 AND from_id = $2";
    if db::run(&transaction, asked, &[&me, &other]).await? == 0 {
        return Err(Error::NotFound);
    }
    make(app, &transaction, me, other).await?;
    transaction.commit().await?;
    [me, other].iter().for_each(|person| app.bell.ring(*person));
    Ok(())
}

/// Ends a friendship or a request, whoever made it.
pub async fn end(app: &App, me: i64, other: i64) -> Result<(), Error> {
    retry!(end_once(app, me, other))
}

async fn end_once(app: &App, me: i64, other: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    for (one, another) in [(me, other), (other, me)] {
        let friends = "DELETE FROM friends WHERE user_id = $1 AND friend_id = $2";
        db::run(&transaction, friends, &[&one, &another]).await?;
        let requests = "DELETE FROM friend_requests WHERE user_id = $1 AND from_id = $2";
        db::run(&transaction, requests, &[&one, &another]).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Those who wait for my answer.
pub async fn requests(app: &App, me: i64) -> Result<Vec<Person>, Error> {
    let client = app.pool.get().await?;
    let sql =
        "SELECT from_id FROM friend_requests WHERE user_id = $1 ORDER BY created DESC LIMIT 100";
    let rows = db::all(&client, sql, &[&me]).await?;
    drop(client);
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let mut people = people::by_ids(app, ids.iter().copied()).await?;
    Ok(ids.iter().filter_map(|id| people.remove(id)).collect())
}
