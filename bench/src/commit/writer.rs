//! Clients that commit as fast as they can.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::{Client, Statement};

use super::accounts::Accounts;
use super::reader::Isolation;
use crate::endpoint::Endpoint;
use crate::statistics::percentile;

/// What is written in one unit of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// One account, on the PostgreSQL that has all.
    Direct,
    /// One account, through the router.
    OneShard,
    /// Two accounts of two shards, each in a transaction of its own.
    TwoPlain,
    /// Two accounts of two shards, in one transaction.
    TwoPhase,
    /// As [`Self::TwoPhase`], while others read.
    TwoPhaseBeside(Isolation),
}

pub struct Written {
    pub units: usize,
    /// Microseconds.
    pub p50: u64,
    /// Microseconds.
    pub p99: u64,
}

pub async fn run(
    endpoint: &Endpoint,
    load: Load,
    clients: usize,
    accounts: &Accounts,
    length: Duration,
) -> anyhow::Result<Written> {
    let end = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let own = accounts.of_client(number, clients);
        tasks.spawn(work(endpoint.clone(), load, own, number, end));
    }
    let mut latencies = Vec::new();
    while let Some(taken) = tasks.join_next().await {
        latencies.extend(taken??);
    }
    latencies.sort_unstable();
    Ok(Written {
        units: latencies.len(),
        p50: percentile(&latencies, 50.0),
        p99: percentile(&latencies, 99.0),
    })
}

/// Microseconds of every unit of work.
async fn work(
    endpoint: Endpoint,
    load: Load,
    own: Vec<Vec<i64>>,
    number: usize,
    end: Instant,
) -> anyhow::Result<Vec<u64>> {
    let client = endpoint.connect().await?;
    let update = client
        .prepare("UPDATE accounts SET balance = balance + $2 WHERE id = $1")
        .await?;
    let mut latencies = Vec::new();
    let mut step = number;
    // An even number of units, so that what was added is taken away again.
    while Instant::now() < end || !latencies.len().is_multiple_of(2) {
        let start = Instant::now();
        unit(&client, &update, load, &own, step / 2, amount(step)).await?;
        latencies.push(start.elapsed().as_micros() as u64);
        step += 1;
    }
    Ok(latencies)
}

fn amount(step: usize) -> i64 {
    if step.is_multiple_of(2) { 1 } else { -1 }
}

async fn unit(
    client: &Client,
    update: &Statement,
    load: Load,
    own: &[Vec<i64>],
    pair: usize,
    amount: i64,
) -> Result<(), tokio_postgres::Error> {
    let one = pick(own, pair, 0);
    let other = pick(own, pair, 1);
    match load {
        Load::Direct | Load::OneShard => transaction(client, update, &[(one, amount)]).await,
        Load::TwoPlain => {
            transaction(client, update, &[(one, amount)]).await?;
            transaction(client, update, &[(other, -amount)]).await
        }
        Load::TwoPhase | Load::TwoPhaseBeside(_) => {
            transaction(client, update, &[(one, amount), (other, -amount)]).await
        }
    }
}

/// An account of the shard that is `beside` further than the pair's own.
fn pick(own: &[Vec<i64>], pair: usize, beside: usize) -> i64 {
    let ids = &own[(pair + beside) % own.len()];
    ids[pair / own.len() % ids.len()]
}

async fn transaction(
    client: &Client,
    update: &Statement,
    changes: &[(i64, i64)],
) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    for (id, amount) in changes {
        client.execute(update, &[id, amount]).await?;
    }
    client.batch_execute("COMMIT").await
}
