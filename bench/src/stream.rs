//! `bench stream`: more rows than a router should hold, through it and back: SELECT in both protocols and COPY TO
//! with the router's memory watched, COPY FROM beside COPY into one PostgreSQL.

use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use shard_node::Owner;

use crate::endpoint::Endpoint;
use crate::oskol::Oskol;
use crate::postgres::Postgres;
use crate::procfs::{cpu_time, private_memory};
use crate::statistics::median;
use flow::Way;

mod flow;

#[derive(Args)]
pub struct Options {
    /// Rows that are read.
    #[arg(long, default_value_t = 10_000_000)]
    pub rows: u64,
    /// Rows of each COPY FROM.
    #[arg(long, default_value_t = 1_000_000)]
    pub copied: u64,
    /// Times that COPY FROM is run on each side, in turns.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
}

const SHARDS: usize = 4;
const POOL: usize = 4;
const CLIENTS: usize = 10;

/// How often the router's memory is looked at while rows flow.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One stream of rows through the router. Memory in bytes.
struct Watched {
    elapsed: Duration,
    before: u64,
    /// By time: the most in each tenth of the run.
    tenths: [u64; 10],
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("oskol-bench-").tempdir()?;
    Owner::choose()?.make_directory(directory.path(), 0o755)?;
    eprintln!("starting PostgreSQL and Oskol on {SHARDS} shards");
    let plain = Postgres::start("plain", directory.path(), &[]).await?;
    let oskol = Oskol::start(directory.path(), SHARDS, POOL, CLIENTS, &[]).await?;
    flow::make_table(&plain.endpoint, &oskol.endpoint).await?;
    write(&plain.endpoint, &oskol, &options).await?;
    read(&plain.endpoint, &oskol, &options).await
}

/// COPY FROM into one PostgreSQL and into the cluster, in turns.
async fn write(plain: &Endpoint, oskol: &Oskol, options: &Options) -> anyhow::Result<()> {
    let data = flow::data(options.copied);
    let (mut direct, mut routed, mut spent) = (Vec::new(), Vec::new(), Vec::new());
    // The first round makes the files.
    for round in 0..=options.rounds {
        let one = flow::copy_in(plain, &data).await?;
        let before = cpu_time(oskol.pid())?;
        let other = flow::copy_in(&oskol.endpoint, &data).await?;
        let cpu = cpu_time(oskol.pid())?.saturating_sub(before);
        if round > 0 {
            direct.push(one.as_secs_f64());
            routed.push(other.as_secs_f64());
            spent.push(cpu.as_secs_f64());
        }
    }
    let ratio = median(direct.iter().zip(&routed).map(|(one, other)| one / other));
    println!(
        "COPY FROM of {} rows, medians of {} rounds: one PostgreSQL {:.2} s, Oskol {:.2} s, {ratio:.2} of direct's \
         speed; router CPU {:.2} s\n",
        options.copied,
        options.rounds,
        median(direct.iter().copied()),
        median(routed.iter().copied()),
        median(spent.iter().copied()),
    );
    Ok(())
}

/// All rows through the router in every way; the memory must not follow them.
async fn read(plain: &Endpoint, oskol: &Oskol, options: &Options) -> anyhow::Result<()> {
    eprintln!("filling {} rows", options.rows);
    for endpoint in [plain, &oskol.endpoint] {
        flow::fill(endpoint, options.rows).await?;
    }
    println!(
        "| {} rows by | one PostgreSQL s | Oskol s | router MiB before | most in each tenth of the run |",
        options.rows
    );
    println!("|---|--:|--:|--:|---|");
    for way in Way::ALL {
        let (rows, direct) = way.read(plain).await?;
        ensure!(rows == options.rows, "{rows} rows came from PostgreSQL");
        let watched = watched(oskol, way, options.rows).await?;
        let tenths = watched
            .tenths
            .map(|bytes| format!("{:.1}", mebibytes(bytes)));
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {} |",
            way.name(),
            direct.as_secs_f64(),
            watched.elapsed.as_secs_f64(),
            mebibytes(watched.before),
            tenths.join(" "),
        );
    }
    Ok(())
}

async fn watched(oskol: &Oskol, way: Way, expected: u64) -> anyhow::Result<Watched> {
    let before = private_memory(oskol.pid())?;
    let mut reading = std::pin::pin!(way.read(&oskol.endpoint));
    let mut samples = Vec::new();
    let (rows, elapsed) = loop {
        tokio::select! {
            done = &mut reading => break done?,
            () = tokio::time::sleep(LOOK_EVERY) => samples.push(private_memory(oskol.pid())?),
        }
    };
    ensure!(rows == expected, "{rows} rows came from Oskol");
    let mut tenths = [0; 10];
    let count = samples.len().max(1);
    for (place, bytes) in samples.into_iter().enumerate() {
        let tenth = &mut tenths[place * 10 / count];
        *tenth = bytes.max(*tenth);
    }
    Ok(Watched {
        elapsed,
        before,
        tenths,
    })
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
