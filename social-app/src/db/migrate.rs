//! Migrations, and how the tables are divided where the database is a cluster.

use anyhow::Context as _;
use tokio_postgres::Client;

/// How a migration is applied.
enum Kind {
    /// As one transaction.
    Plain,
    /// One statement a line, each by itself, and only where schema `oskol` says that this is a cluster.
    Placement,
}

/// Name and text of each migration, in order. A name, once released, never changes.
const MIGRATIONS: [(&str, Kind, &str); 3] = [
    (
        "001_tables",
        Kind::Plain,
        include_str!("../../../schema/sql/social/001_tables.sql"),
    ),
    (
        "002_placement",
        Kind::Placement,
        include_str!("../../../schema/sql/social/002_placement.sql"),
    ),
    (
        "003_foreign_keys",
        Kind::Plain,
        include_str!("../../../schema/sql/social/003_foreign_keys.sql"),
    ),
];

/// Every table of the social network, each with the column that divides it.
pub const TABLES: [(&str, &str); 19] = [
    ("users", "id"),
    ("sessions", "user_id"),
    ("api_tokens", "user_id"),
    ("follows", "user_id"),
    ("followers", "user_id"),
    ("friend_requests", "user_id"),
    ("friends", "user_id"),
    ("blocks", "user_id"),
    ("posts", "author_id"),
    ("comments", "author_id"),
    ("likes", "author_id"),
    ("feed", "user_id"),
    ("messages", "user_id"),
    ("conversations", "user_id"),
    ("notifications", "user_id"),
    ("names", "prefix"),
    ("media", "owner_id"),
    ("jobs", "owner_id"),
    ("rate_limits", "name"),
];

/// Applies the migrations that the database has not seen; gives their names. Two programs that migrate at once wait for
/// one another.
pub async fn migrate(client: &mut Client) -> anyhow::Result<Vec<&'static str>> {
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS social_migrations (name text PRIMARY KEY, applied timestamptz NOT NULL)",
        )
        .await?;
    let mut applied = Vec::new();
    for (name, kind, sql) in MIGRATIONS {
        let new = match kind {
            Kind::Plain => apply(client, name, sql).await,
            Kind::Placement => place(client, name, sql).await,
        };
        if new.with_context(|| format!("migration {name}"))? {
            applied.push(name);
        }
    }
    Ok(applied)
}

async fn is_applied(client: &Client, name: &str) -> anyhow::Result<bool> {
    let known = "SELECT FROM social_migrations WHERE name = $1";
    Ok(client.query_opt(known, &[&name]).await?.is_some())
}

/// False: it was applied before.
async fn apply(client: &mut Client, name: &str, sql: &str) -> anyhow::Result<bool> {
    if is_applied(client, name).await? {
        return Ok(false);
    }
    let transaction = client.transaction().await?;
    let record = "INSERT INTO social_migrations VALUES ($1, now()) ON CONFLICT DO NOTHING";
    if transaction.execute(record, &[&name]).await? == 0 {
        return Ok(false);
    }
    transaction.batch_execute(sql).await?;
    transaction.commit().await?;
    Ok(true)
}

/// As [`apply`]. A table that has its rule already is left alone, so that what was cut short can be run again.
async fn place(client: &Client, name: &str, sql: &str) -> anyhow::Result<bool> {
    if is_applied(client, name).await? {
        return Ok(false);
    }
    let cluster = "SELECT FROM pg_namespace WHERE nspname = 'oskol'";
    if client.query_opt(cluster, &[]).await?.is_some() {
        let placed = client
            .query("SELECT name::text FROM oskol.tables", &[])
            .await?;
        let placed: Vec<String> = placed.iter().map(|row| row.get(0)).collect();
        for statement in sql.lines().filter(|line| line.starts_with("SELECT")) {
            let table = statement.split('\'').nth(1).context("a table in quotes")?;
            if !placed.iter().any(|name| name == table) {
                client
                    .simple_query(statement)
                    .await
                    .with_context(|| statement.to_owned())?;
            }
        }
    }
    let record = "INSERT INTO social_migrations VALUES ($1, now()) ON CONFLICT DO NOTHING";
    Ok(client.execute(record, &[&name]).await? == 1)
}

/// Each table with its number of rows.
pub async fn counts(client: &Client) -> anyhow::Result<Vec<(&'static str, i64)>> {
    let mut counts = Vec::new();
    for (table, _) in TABLES {
        let row = client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await?;
        counts.push((table, row.get(0)));
    }
    Ok(counts)
}
