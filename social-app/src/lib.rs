//! The social network's database: migrations and a first look at it, on a plain connection string.
//!
//! Imports nothing of the router: the same program runs on one PostgreSQL and on a cluster.

use anyhow::Context as _;
use tokio_postgres::{Client, NoTls};

/// Name and text of each migration, in order. A name, once released, never changes.
const MIGRATIONS: [(&str, &str); 1] = [(
    "001_people_and_posts",
    include_str!("../../schema/sql/social/001_people_and_posts.sql"),
)];

const TABLES: [&str; 3] = ["people", "posts", "follows"];

/// Connects to a PostgreSQL connection string; the connection ends with the client.
pub async fn connect(url: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .context("cannot connect to the database")?;
    tokio::spawn(async move {
        // Its error is the next statement's error too.
        let _ = connection.await;
    });
    Ok(client)
}

/// Applies the migrations that the database has not seen, each in a transaction; gives their names.
pub async fn migrate(client: &mut Client) -> anyhow::Result<Vec<&'static str>> {
    client
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS social_migrations (name text PRIMARY KEY, applied timestamptz NOT NULL)",
        )
        .await?;
    let mut applied = Vec::new();
    for (name, sql) in MIGRATIONS {
        if apply(client, name, sql)
            .await
            .with_context(|| format!("migration {name}"))?
        {
            applied.push(name);
        }
    }
    Ok(applied)
}

/// False: it was applied before. Two programs that migrate at once wait for one another.
async fn apply(client: &mut Client, name: &str, sql: &str) -> anyhow::Result<bool> {
    let transaction = client.transaction().await?;
    let known = "SELECT FROM social_migrations WHERE name = $1";
    if transaction.query_opt(known, &[&name]).await?.is_some() {
        return Ok(false);
    }
    let record = "INSERT INTO social_migrations VALUES ($1, now())";
    transaction.execute(record, &[&name]).await?;
    transaction.batch_execute(sql).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Each table with its number of rows.
pub async fn counts(client: &Client) -> anyhow::Result<Vec<(&'static str, i64)>> {
    let mut counts = Vec::new();
    for table in TABLES {
        let row = client
            .query_one(&format!("SELECT count(*) FROM {table}"), &[])
            .await?;
        counts.push((table, row.get(0)));
    }
    Ok(counts)
}
