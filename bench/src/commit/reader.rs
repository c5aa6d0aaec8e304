//! Clients that read a sum over all shards without a pause.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::endpoint::Endpoint;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    ReadCommitted,
    RepeatableRead,
}

impl Isolation {
    fn begin(self) -> &'static str {
        match self {
            Self::ReadCommitted => "BEGIN",
            Self::RepeatableRead => "BEGIN ISOLATION LEVEL REPEATABLE READ",
        }
    }
}

/// How many sums `readers` clients have read in `length`.
pub async fn run(
    endpoint: &Endpoint,
    isolation: Isolation,
    readers: usize,
    length: Duration,
) -> anyhow::Result<usize> {
    let end = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for _ in 0..readers {
        tasks.spawn(read(endpoint.clone(), isolation, end));
    }
    let mut sums = 0;
    while let Some(read) = tasks.join_next().await {
        sums += read??;
    }
    Ok(sums)
}

async fn read(endpoint: Endpoint, isolation: Isolation, end: Instant) -> anyhow::Result<usize> {
    let client = endpoint.connect().await?;
    // A few rows only: what counts is the snapshot.
    let sum = client
        .prepare("SELECT sum(balance) FROM accounts WHERE id <= 100")
        .await?;
    let mut sums = 0;
    while Instant::now() < end {
        client.batch_execute(isolation.begin()).await?;
        client.query_one(&sum, &[]).await?;
        client.batch_execute("COMMIT").await?;
        sums += 1;
    }
    Ok(sums)
}
