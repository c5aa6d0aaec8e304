//! The tables of `bench scatter`: made on both sides, filled by PostgreSQL, copied from it to the cluster.

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::Client;

use crate::endpoint::Endpoint;

/// Name, columns, and the rows; `$rows` is how many the big table has.
const TABLES: [(&str, &str, &str); 3] = [
    (
        "users",
        "id int PRIMARY KEY, name text, country int",
        "SELECT i, 'user ' || i, i % 100 FROM generate_series(1, $rows / 40) i",
    ),
    (
        "events",
        "user_id int, id int, kind int, amount numeric(10,2), PRIMARY KEY (user_id, id)",
        "SELECT i % ($rows / 40) + 1, i, i % 1000, (i::bigint * 7919 % 1000003) / 100.0 FROM generate_series(1, $rows) i",
    ),
    (
        "items",
        "id int PRIMARY KEY, owner_id int, weight int",
        "SELECT i, i::bigint * 31 % ($rows / 40) + 1, i % 977 FROM generate_series(1, $rows / 4) i",
    ),
];

/// Makes the tables on both sides with the same `rows`.
pub async fn fill(plain: &Endpoint, cluster: &Endpoint, rows: u64) -> anyhow::Result<()> {
    let (plain, cluster) = (plain.connect().await?, cluster.connect().await?);
    for (name, columns, source) in TABLES {
        eprintln!("filling {name}");
        let key = if name == "events" { "user_id" } else { "id" };
        let create = format!("CREATE TABLE {name} ({columns})");
        plain.batch_execute(&create).await?;
        cluster.batch_execute(&create).await?;
        let divide = format!("SELECT oskol.shard_table('{name}', '{key}')");
        cluster.batch_execute(&divide).await?;
        let source = source.replace("$rows", &rows.to_string());
        let insert = format!("INSERT INTO {name} {source}");
        plain.batch_execute(&insert).await?;
        copy(&plain, &cluster, name)
            .await
            .with_context(|| name.to_owned())?;
        for side in [&plain, &cluster] {
            side.batch_execute(&format!("VACUUM ANALYZE {name}"))
                .await?;
        }
    }
    Ok(())
}

async fn copy(from: &Client, to: &Client, table: &str) -> anyhow::Result<()> {
    let rows = from.copy_out(&format!("COPY {table} TO STDOUT")).await?;
    let sink = to.copy_in(&format!("COPY {table} FROM STDIN")).await?;
    let (mut rows, mut sink) = (std::pin::pin!(rows), std::pin::pin!(sink));
    while let Some(chunk) = rows.next().await {
        sink.send(chunk?).await?;
    }
    sink.finish().await?;
    Ok(())
}
