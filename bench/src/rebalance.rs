//! `bench rebalance`: a third shard takes its part of the rows while clients read and write, beside COPY of as many rows from one
//! PostgreSQL to another that nobody else uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use shard_node::Owner;
use tokio::task::JoinSet;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::endpoint::Endpoint;
use crate::oskol::Oskol;
use crate::postgres::Postgres;

#[derive(Args)]
pub struct Options {
    /// Size of the rows on both shards, in MiB of COPY's text.
    #[arg(long, default_value_t = 1024)]
    pub mebibytes: u64,
    /// Clients that read and write single rows meanwhile, without a pause.
    #[arg(long, default_value_t = 4)]
    pub clients: usize,
}

const TABLE: &str =
    "CREATE TABLE moved_rows (owner bigint, id bigint, created timestamptz NOT NULL DEFAULT now(),
    changes int NOT NULL DEFAULT 0, body text NOT NULL, PRIMARY KEY (owner, id))";
const INDEX: &str = "CREATE INDEX ON moved_rows (created)";
/// Of COPY's text, roughly.
const ROW: u64 = 512;
const PER_OWNER: u64 = 10;
/// Rows that one statement fills in.
const STEP: u64 = 100_000;
const LOOK: Duration = Duration::from_millis(200);
const POOL: usize = 8;

pub async fn run(options: Options) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("oskol-bench-").tempdir()?;
    Owner::choose()?.make_directory(directory.path(), 0o755)?;
    let rows = (options.mebibytes << 20) / ROW;
    eprintln!("starting Oskol on two shards, and filling {rows} rows");
    let third = Postgres::start("third", directory.path(), &[]).await?;
    let oskol = Oskol::start(directory.path(), 2, POOL, options.clients + POOL, &[]).await?;
    fill(&oskol.endpoint, rows).await?;

    eprintln!("the third shard takes its part");
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for number in 0..options.clients {
        let (endpoint, stop) = (oskol.endpoint.clone(), Arc::clone(&stop));
        load.spawn(async move { client(&endpoint, number as u64, rows, &stop).await });
    }
    let (joined, moved) = rebalance(&oskol, &third).await?;
    stop.store(true, Ordering::Relaxed);
    let (mut statements, mut errors, mut longest) = (0, 0, Duration::ZERO);
    while let Some(ended) = load.join_next().await {
        let (did, failed, slowest) = ended??;
        statements += did;
        errors += failed;
        longest = longest.max(slowest);
    }
    let shown = shown(&oskol).await?;
    ensure!(
        shown.states.iter().all(|state| state == "finished"),
        "not all groups have moved: {:?}",
        shown.states
    );

    eprintln!("COPY of as many rows, by itself");
    let plain = by_copy(&oskol.shards[0].endpoint, directory.path(), shown.rows).await?;
    let gibibytes = shown.bytes as f64 / f64::from(1 << 30);
    println!(
        "rebalance 2 -> 3 shards: {} groups, {} rows, {gibibytes:.3} GiB of COPY's text in {:.1} s: {:.0} s/GiB; joining took \
         {:.1} s before\nmeanwhile {statements} statements, {errors} errors, the longest {} ms; clients were held {} ms at most\n\
         COPY of as many rows from one PostgreSQL to another and DELETE of them: {:.1} s; the rebalance took {:.2} times that",
        shown.states.len(),
        shown.rows,
        moved.as_secs_f64(),
        moved.as_secs_f64() / gibibytes,
        joined.as_secs_f64(),
        longest.as_millis(),
        shown.held,
        plain.as_secs_f64(),
        moved.as_secs_f64() / plain.as_secs_f64(),
    );
    Ok(())
}

async fn fill(endpoint: &Endpoint, rows: u64) -> anyhow::Result<()> {
    let client = endpoint.connect().await?;
    client.batch_execute(TABLE).await?;
    client
        .batch_execute("SELECT oskol.shard_table('moved_rows', 'owner')")
        .await?;
    client.batch_execute(INDEX).await?;
    let mut first = 0;
    while first < rows {
        let last = (first + STEP).min(rows) - 1;
        let sql = format!(
            "INSERT INTO moved_rows (owner, id, body)
            SELECT n / {PER_OWNER}, n, repeat(md5(n::text), 14) FROM generate_series({first}, {last}) n"
        );
        client.batch_execute(&sql).await?;
        first = last + 1;
    }
    Ok(())
}

/// Changes a row and reads it, until it is told to stop: statements, errors, and the longest of them.
async fn client(
    endpoint: &Endpoint,
    number: u64,
    rows: u64,
    stop: &AtomicBool,
) -> anyhow::Result<(u64, u64, Duration)> {
    let client = endpoint.connect().await?;
    let change = client
        .prepare("UPDATE moved_rows SET changes = changes + 1 WHERE owner = $1 AND id = $2")
        .await?;
    let read = client
        .prepare("SELECT changes FROM moved_rows WHERE owner = $1")
        .await?;
    let (mut done, mut errors, mut longest, mut at) = (0, 0, Duration::ZERO, number);
    while !stop.load(Ordering::Relaxed) {
        // Steps over all owners, each client at its own pace.
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let id = (at >> 16) % rows;
        let (owner, id) = ((id / PER_OWNER) as i64, id as i64);
        for (statement, parameters) in [(&change, 2), (&read, 1)] {
            let all: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&owner, &id];
            let began = Instant::now();
            let outcome = client.query(statement, &all[..parameters]).await;
            longest = longest.max(began.elapsed());
            done += 1;
            if let Err(error) = outcome {
                errors += 1;
                eprintln!("a client's statement failed: {error:?}");
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok((done, errors, longest))
}

/// How long the server took to join, and its part of the rows to move.
async fn rebalance(oskol: &Oskol, third: &Postgres) -> anyhow::Result<(Duration, Duration)> {
    let admin = admin(oskol).await?;
    let began = Instant::now();
    let port = third.endpoint.port;
    admin
        .simple_query(&format!("ADD SHARD third HOST '127.0.0.1' PORT {port}"))
        .await?;
    let joined = began.elapsed();
    let began = Instant::now();
    admin.simple_query("REBALANCE").await?;
    loop {
        let groups = moves(&admin).await?;
        let ended = |state: &String| !matches!(state.as_str(), "running" | "paused");
        if !groups.states.is_empty() && groups.states.iter().all(ended) {
            return Ok((joined, began.elapsed()));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn admin(oskol: &Oskol) -> anyhow::Result<Client> {
    let mut endpoint = oskol.endpoint.clone();
    endpoint.database = "oskol".to_owned();
    Ok(endpoint.connect().await?)
}

/// `SHOW MOVES`, in sums.
#[derive(Default)]
struct Moves {
    states: Vec<String>,
    rows: u64,
    bytes: u64,
    /// The longest, in milliseconds.
    held: u64,
}

async fn shown(oskol: &Oskol) -> anyhow::Result<Moves> {
    moves(&admin(oskol).await?).await
}

async fn moves(admin: &Client) -> anyhow::Result<Moves> {
    let mut sums = Moves::default();
    for message in admin.simple_query("SHOW MOVES").await? {
        let SimpleQueryMessage::Row(row) = message else {
            continue;
        };
        let number = |column: &str| -> anyhow::Result<u64> {
            Ok(row.get(column).unwrap_or("0").parse().unwrap_or(0))
        };
        let state = row.get("rebalance_state").context("no state")?;
        sums.states.push(state.to_owned());
        sums.rows += number("rows")?;
        sums.bytes += number("bytes")?;
        sums.held = sums.held.max(number("held_ms")?);
    }
    Ok(sums)
}

/// The same number of rows of `source`, with no clients and no router: COPY to a new server with the same indexes, then DELETE.
async fn by_copy(
    source: &Endpoint,
    directory: &std::path::Path,
    rows: u64,
) -> anyhow::Result<Duration> {
    let plain = Postgres::start("plain", directory, &[]).await?;
    plain.endpoint.execute(&[TABLE, INDEX]).await?;
    let (from, to) = (source.connect().await?, plain.endpoint.connect().await?);
    let some = format!("SELECT * FROM moved_rows ORDER BY ctid LIMIT {rows}");
    let began = Instant::now();
    let out = from.copy_out(&format!("COPY ({some}) TO STDOUT")).await?;
    let into = to.copy_in::<_, Bytes>("COPY moved_rows FROM STDIN").await?;
    let (mut out, mut into) = (std::pin::pin!(out), std::pin::pin!(into));
    while let Some(row) = out.next().await {
        into.feed(row?).await?;
    }
    let copied = into.finish().await?;
    from.batch_execute("SET session_replication_role TO replica")
        .await?;
    let gone = from
        .execute(
            &format!("DELETE FROM moved_rows WHERE ctid IN (SELECT ctid FROM ({some}) s)")
                .replace("SELECT *", "SELECT ctid"),
            &[],
        )
        .await?;
    ensure!(
        copied == gone,
        "{copied} rows were copied and {gone} removed"
    );
    Ok(began.elapsed())
}
