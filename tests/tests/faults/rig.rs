//! Three shards behind proxies, two routers, and rows on each shard that every transaction changes.

use std::time::{Duration, Instant};

use tests::{Cluster, ClusterOptions, Router, block_on, connect};
use tokio_postgres::Client;

use crate::case::Told;

pub const SHARDS: usize = 3;

/// Longest wait for a transaction's end, for its recovery, for the next one.
pub const LIMIT: Duration = Duration::from_secs(30);

const TABLES: &str = "create table marks (k bigint, note text, primary key (k, note));
    create table totals (k bigint primary key, n int not null);
    select oskol.shard_table('marks', 'k');
    select oskol.shard_table('totals', 'k')";

pub struct Rig {
    pub cluster: Cluster,
    pub second: Router,
    /// One on each shard.
    keys: Vec<i64>,
}

impl Rig {
    pub fn start() -> Rig {
        let cluster = Cluster::start_with(ClusterOptions {
            shards: Some(SHARDS),
            proxied: true,
            ..ClusterOptions::default()
        });
        let second = cluster.another_router();
        let keys = block_on(fill(&cluster));
        Rig {
            cluster,
            second,
            keys,
        }
    }

    /// Changes a row and adds one named `note` on every shard, `lead` first.
    pub async fn transfer(&self, router: &Router, lead: usize, note: &str) -> Told {
        let client = match connect(&router.url_of("postgres")).await {
            Ok(client) => client,
            Err(error) => return Told::from(error),
        };
        match tokio::time::timeout(LIMIT, self.write(&client, lead, note)).await {
            Ok(Ok(())) => Told::Committed,
            Ok(Err(error)) => Told::from(error),
            Err(_) => Told::Nothing,
        }
    }

    async fn write(
        &self,
        client: &Client,
        lead: usize,
        note: &str,
    ) -> Result<(), tokio_postgres::Error> {
        client.batch_execute("begin").await?;
        for shard in 0..SHARDS {
            let key = self.keys[(lead + shard) % SHARDS];
            let change = format!("update totals set n = n + 1 where k = {key}");
            client.batch_execute(&change).await?;
            let add = format!("insert into marks values ({key}, '{note}')");
            client.batch_execute(&add).await?;
        }
        client.batch_execute("commit").await
    }

    /// One number from each shard, asked directly.
    pub async fn on_each(&self, sql: &str) -> Vec<i64> {
        let mut numbers = Vec::new();
        for shard in 0..SHARDS {
            let client = self.cluster.shard(shard).await;
            let row = client.query_one(sql, &[]).await;
            numbers.push(row.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0));
        }
        numbers
    }

    /// Waits until `sql` gives 0 on every shard; how long that took, or none.
    pub async fn until_zero(&self, sql: &str) -> Option<Duration> {
        let begun = Instant::now();
        while begun.elapsed() < LIMIT {
            if self.on_each(sql).await.iter().all(|number| *number == 0) {
                return Some(begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }
}

async fn fill(cluster: &Cluster) -> Vec<i64> {
    let client = cluster.client().await;
    for statement in TABLES.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    let rows = "insert into totals select n, 0 from generate_series(1, 60) n";
    client.batch_execute(rows).await.unwrap();
    let mut keys = Vec::new();
    for shard in 0..SHARDS {
        let row = cluster.shard(shard).await;
        let row = row.query_one("select min(k) from totals", &[]).await;
        keys.push(row.unwrap().get(0));
    }
    keys
}
