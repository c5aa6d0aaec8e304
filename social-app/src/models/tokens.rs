//! Tokens for programs: as sessions, but named, and sent as `Authorization: Bearer`.

use serde::Serialize;
use time::OffsetDateTime;

use crate::models::people;
use crate::models::sessions::Token;
use crate::{App, Error, db};

/// Of one person.
const MOST: i64 = 20;

#[derive(Debug, Clone, Serialize)]
pub struct ApiToken {
    pub id: i64,
    pub label: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub expires: OffsetDateTime,
}

/// Good for a year. The token is told once and never again.
pub async fn create(app: &App, user_id: i64, label: &str) -> Result<(ApiToken, Token), Error> {
    let label = people::clean(label);
    let label = label.trim();
    if !(1..=60).contains(&label.chars().count()) {
        return Err(Error::invalid(
            "label",
            "Please name the token in 1 to 60 characters.",
        ));
    }
    let client = app.pool.get().await?;
    let old = "DELETE FROM api_tokens WHERE user_id = $1 AND expires < now()";
    db::run(&client, old, &[&user_id]).await?;
    let there = "SELECT count(*) FROM api_tokens WHERE user_id = $1";
    if db::one(&client, there, &[&user_id]).await?.get::<_, i64>(0) >= MOST {
        return Err(Error::invalid(
            "label",
            "You have 20 tokens. Please delete one first.",
        ));
    }
    let token = Token::new(user_id);
    let sql = "INSERT INTO api_tokens (user_id, token_hash, label, expires) VALUES ($1, $2, $3, now() + interval '1 year') \
        RETURNING id, label, created, expires";
    let row = db::one(&client, sql, &[&user_id, &token.hash(), &label]).await?;
    Ok((of(&row), token))
}

fn of(row: &tokio_postgres::Row) -> ApiToken {
    ApiToken {
        id: row.get("id"),
        label: row.get("label"),
        created: row.get("created"),
        expires: row.get("expires"),
    }
}

pub async fn list(app: &App, user_id: i64) -> Result<Vec<ApiToken>, Error> {
    let client = app.pool.get().await?;
    let sql = "SELECT id, label, created, expires FROM api_tokens WHERE user_id = $1 AND expires > now() ORDER BY id";
    Ok(db::all(&client, sql, &[&user_id])
        .await?
        .iter()
        .map(of)
        .collect())
}

pub async fn revoke(app: &App, user_id: i64, id: i64) -> Result<(), Error> {
    let client = app.pool.get().await?;
    let sql = "DELETE FROM api_tokens WHERE user_id = $1 AND id = $2";
    match db::run(&client, sql, &[&user_id, &id]).await? {
        0 => Err(Error::NotFound),
        _ => Ok(()),
    }
}

/// The person whose token it is.
pub async fn owner(app: &App, token: &Token) -> Result<Option<i64>, Error> {
    let client = app.pool.get().await?;
    let sql = "SELECT u.id FROM users u JOIN api_tokens t ON t.user_id = u.id \
        WHERE u.id = $1 AND t.user_id = $1 AND t.token_hash = $2 AND t.expires > now() AND u.deleted IS NULL";
    let row = db::maybe(&client, sql, &[&token.user_id(), &token.hash()]).await?;
    Ok(row.map(|row| row.get(0)))
}
