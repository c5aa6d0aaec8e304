//! The clients that work while the others are idle.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::Client;
use crate::endpoint::Endpoint;
use crate::statistics::percentile;

pub struct Outcome {
    pub statements: usize,
    /// Statements per second.
    pub throughput: f64,
    /// Microseconds.
    pub p50: u64,
    /// Microseconds.
    pub p99: u64,
    pub errors: Vec<String>,
}

/// `clients` clients select by key for `length`.
pub async fn run(endpoint: &Endpoint, clients: usize, length: Duration) -> anyhow::Result<Outcome> {
    let mut tasks = JoinSet::new();
    let end = Instant::now() + length;
    for number in 0..clients {
        tasks.spawn(work(endpoint.clone(), number, end));
    }
    let mut latencies = Vec::new();
    let mut errors = Vec::new();
    while let Some(result) = tasks.join_next().await {
        match result? {
            Ok(taken) => latencies.extend(taken),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    latencies.sort_unstable();
    Ok(Outcome {
        statements: latencies.len(),
        throughput: latencies.len() as f64 / length.as_secs_f64(),
        p50: percentile(&latencies, 50.0),
        p99: percentile(&latencies, 99.0),
        errors,
    })
}

/// Microseconds of every statement.
async fn work(endpoint: Endpoint, number: usize, end: Instant) -> anyhow::Result<Vec<u64>> {
    let mut client = Client::connect(&endpoint).await?;
    let mut latencies = Vec::new();
    let mut key = number as u64;
    while Instant::now() < end {
        // Steps through the accounts without a pattern that the shards would notice.
        key = (key * 48_271 + 11) % 100_000;
        let start = Instant::now();
        client
            .query(&format!(
                "SELECT abalance FROM pgbench_accounts WHERE aid = {}",
                key + 1
            ))
            .await?;
        latencies.push(start.elapsed().as_micros() as u64);
    }
    Ok(latencies)
}
