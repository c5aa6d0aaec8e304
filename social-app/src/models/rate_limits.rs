//! How often something may be done: a bucket of tokens that fills with time, kept in the database for all processes.

use std::time::Duration;

use crate::{App, Error, db};

/// `burst` at once, and then one every `every`.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub name: &'static str,
    pub burst: f64,
    pub every: Duration,
}

const fn limit(name: &'static str, burst: f64, seconds: u64) -> Limit {
    Limit {
        name,
        burst,
        every: Duration::from_secs(seconds),
    }
}

pub const SIGN_UP: Limit = limit("sign-up", 20.0, 60);
pub const SIGN_IN: Limit = limit("sign-in", 10.0, 10);
pub const WRITE: Limit = limit("write", 60.0, 1);
pub const SEARCH: Limit = limit("search", 40.0, 1);
pub const UPLOAD: Limit = limit("upload", 120.0, 2);

/// Takes a token of whoever it is (an address, a person), or is an error.
pub async fn take(app: &App, limit: Limit, who: impl std::fmt::Display) -> Result<(), Error> {
    if app.config.unlimited {
        return Ok(());
    }
    let name = format!("{}:{who}", limit.name);
    let per_second = 1.0 / limit.every.as_secs_f64();
    let sql = "INSERT INTO rate_limits AS r (name, tokens, updated) VALUES ($1, $2::float8 - 1, now()) \
        ON CONFLICT (name) DO UPDATE SET updated = now(), \
        tokens = least($2::float8, r.tokens + extract(epoch FROM now() - r.updated)::float8 * $3::float8) - 1 \
        WHERE least($2::float8, r.tokens + extract(epoch FROM now() - r.updated)::float8 * $3::float8) >= 1";
    let client = app.pool.get().await?;
    match db::run(&client, sql, &[&name, &limit.burst, &per_second]).await? {
        0 => Err(Error::TooMany {
            retry_after: limit.every,
        }),
        _ => Ok(()),
    }
}

/// Forgets what a person's buckets say.
pub async fn forget(app: &App, person: i64) -> Result<(), Error> {
    let names = [SIGN_IN, WRITE, SEARCH, UPLOAD].map(|limit| format!("{}:{person}", limit.name));
    let client = app.pool.get().await?;
    let sql = "DELETE FROM rate_limits WHERE name = ANY($1)";
    db::run(&client, sql, &[&names.as_slice()]).await?;
    Ok(())
}

/// Forgets buckets that have long been full.
pub async fn sweep(app: &App) -> Result<u64, Error> {
    let client = app.pool.get().await?;
    let sql = "DELETE FROM rate_limits WHERE updated < now() - interval '1 hour'";
    db::run(&client, sql, &[]).await
}
