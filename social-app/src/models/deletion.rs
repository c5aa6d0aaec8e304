//! An account deleted: hidden at once, and then every trace removed from every shard.

use serde_json::json;

use crate::jobs::Job;
use crate::models::{people, rate_limits};
use crate::{App, Error, db, jobs, media, retry};

pub const DELETE: &str = "delete-account";

/// The person is gone for everybody from now on; a job removes the rows.
pub async fn request(app: &App, me: i64, password: String) -> Result<(), Error> {
    if !people::has_password(app, me, password).await? {
        return Err(Error::invalid("password", "This is not your password."));
    }
    retry!(request_once(app, me))
}

async fn request_once(app: &App, me: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    let hide = "UPDATE users SET deleted = now() WHERE id = $1 AND deleted IS NULL";
    if db::run(&transaction, hide, &[&me]).await? == 0 {
        return Err(Error::NotFound);
    }
    for table in ["sessions", "api_tokens"] {
        let sql = format!("DELETE FROM {table} WHERE user_id = $1");
        db::run(&transaction, &sql, &[&me]).await?;
    }
    jobs::enqueue(&transaction, me, DELETE, &json!({})).await?;
    transaction.commit().await?;
    app.bell.ring(me);
    Ok(())
}

/// Something of the person that is counted in a row `c` of another: its rows `t`, and how they belong to `c`.
#[derive(Clone, Copy)]
struct Counted {
    table: &'static str,
    key: &'static str,
    counter: &'static str,
    rows: &'static str,
    /// That names the person.
    column: &'static str,
}

const OF_POST: &str = "t.author_id = c.author_id AND t.post_id = c.id";
const OF_USER: &str = "t.user_id = c.id";

const fn counted(
    table: &'static str,
    key: &'static str,
    counter: &'static str,
    rows: &'static str,
    column: &'static str,
) -> Counted {
    Counted {
        table,
        key,
        counter,
        rows,
        column,
    }
}

const COUNTED: [Counted; 4] = [
    counted("posts", OF_POST, "like_count", "likes", "user_id"),
    counted("posts", OF_POST, "comment_count", "comments", "user_id"),
    counted(
        "users",
        OF_USER,
        "following_count",
        "follows",
        "followee_id",
    ),
    counted(
        "users",
        OF_USER,
        "follower_count",
        "followers",
        "follower_id",
    ),
];

/// Rows with others that name the person, and in which column. These are on any shard.
const ELSEWHERE: [(&str, &str); 8] = [
    ("names", "user_id"),
    ("friend_requests", "from_id"),
    ("friends", "friend_id"),
    ("blocks", "other_id"),
    ("feed", "author_id"),
    ("messages", "peer_id"),
    ("conversations", "peer_id"),
    ("notifications", "actor_id"),
];

/// The job. May be cut short anywhere and run again.
pub async fn delete(app: &App, job: &Job) -> Result<(), Error> {
    let person = job.owner_id;
    remove_elsewhere(app, person).await?;
    media::drop_of_person(app, person).await?;
    retry!(remove_own(app, person))?;
    // Whoever had looked before the person was hidden may have written since, and the person's own last file may have come.
    remove_elsewhere(app, person).await?;
    remove_jobs(app, job).await?;
    media::drop_of_person(app, person).await?;
    rate_limits::forget(app, person).await
}

/// Whatever else was to be done for the person, this job excepted.
async fn remove_jobs(app: &App, job: &Job) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql = "DELETE FROM jobs WHERE owner_id = $1 AND id <> $2";
    db::run(&client, sql, &[&job.owner_id, &job.id]).await?;
    Ok(())
}

async fn remove_elsewhere(app: &App, person: i64) -> Result<(), Error> {
    for counted in COUNTED {
        retry!(remove_counted(app, person, counted))?;
    }
    for (table, column) in ELSEWHERE {
        retry!(remove(app, table, column, person))?;
    }
    Ok(())
}

async fn remove(app: &App, table: &str, column: &str, person: i64) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql = format!("DELETE FROM {table} WHERE {column} = $1");
    db::run(&client, &sql, &[&person]).await?;
    Ok(())
}

async fn remove_counted(app: &App, person: i64, counted: Counted) -> Result<(), Error> {
    let Counted {
        table,
        key,
        counter,
        rows,
        column,
    } = counted;
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    // A like is one row, comments may be several: as many as there are.
    let mine = format!("SELECT FROM {rows} t WHERE {key} AND t.{column} = $1");
    let down = format!(
        "UPDATE {table} c SET {counter} = greatest(0, {counter} - (SELECT count(*) FROM {rows} t WHERE {key} AND t.{column} = $1)) \
        WHERE EXISTS ({mine})"
    );
    db::run(&transaction, &down, &[&person]).await?;
    db::run(
        &transaction,
        &format!("DELETE FROM {rows} WHERE {column} = $1"),
        &[&person],
    )
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// The person's own row, and all that is with it.
async fn remove_own(app: &App, person: i64) -> Result<(), Error> {
    let mut client = app.pool.get().await?;
    let transaction = client.transaction().await?;
    db::run(
        &transaction,
        "DELETE FROM feed WHERE user_id = $1",
        &[&person],
    )
    .await?;
    // Foreign keys take the rest.
    db::run(&transaction, "DELETE FROM users WHERE id = $1", &[&person]).await?;
    transaction.commit().await?;
    Ok(())
}
