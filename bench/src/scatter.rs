//! `bench scatter`: statements over all rows, on four shards and on one PostgreSQL that has all rows.
//!
//! Both are filled with the same rows and asked the same, in turns. What counts is the ratio of the times, the
//! router's own time on the CPU, and its memory while rows flow through it.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use shard_node::Owner;

use crate::endpoint::Endpoint;
use crate::oskol::Oskol;
use crate::postgres::Postgres;
use crate::procfs::{cpu_time, private_memory};
use crate::statistics::median;

mod tables;

#[derive(Args)]
pub struct Options {
    /// Rows of the big table; the others have a quarter and a fortieth of it.
    #[arg(long, default_value_t = 4_000_000)]
    pub rows: u64,
    /// Times that every statement is run on each side.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
}

const SHARDS: usize = 4;
const POOL: usize = 4;
const CLIENTS: usize = 10;

/// How often the router's memory is looked at while a statement runs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What is asked, and what it is called.
const STATEMENTS: [(&str, &str); 6] = [
    ("count(*)", "SELECT count(*) FROM events"),
    (
        "GROUP BY, 1,000 groups",
        "SELECT kind, count(*), sum(amount), avg(amount) FROM events GROUP BY kind ORDER BY kind",
    ),
    (
        "ORDER BY ... LIMIT 20",
        "SELECT * FROM events ORDER BY amount DESC, id LIMIT 20",
    ),
    (
        "colocated join, aggregate",
        "SELECT u.country, count(*), sum(e.amount) FROM users u JOIN events e ON e.user_id = u.id \
         GROUP BY u.country ORDER BY u.country",
    ),
    (
        "join off the key",
        "SELECT count(*), sum(i.weight) FROM items i JOIN users u ON u.id = i.owner_id WHERE u.country < 50",
    ),
    (
        "join off the key, whole",
        "SELECT u.country, count(*), max(i.weight) FROM items i JOIN users u ON u.id = i.owner_id \
         GROUP BY u.country ORDER BY u.country",
    ),
];

/// One run of one statement.
struct Run {
    elapsed: Duration,
    answer: Vec<String>,
}

/// All runs of one statement. Times in milliseconds.
#[derive(Default)]
struct Figures {
    plain: Vec<f64>,
    cluster: Vec<f64>,
    router_cpu: Vec<f64>,
    /// Bytes, the most that was seen.
    memory: u64,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix("oskol-bench-").tempdir()?;
    Owner::choose()?.make_directory(directory.path(), 0o755)?;
    eprintln!("starting PostgreSQL and Oskol on {SHARDS} shards");
    let plain = Postgres::start("plain", directory.path(), &[]).await?;
    let oskol = Oskol::start(directory.path(), SHARDS, POOL, CLIENTS, &[]).await?;
    tables::fill(&plain.endpoint, &oskol.endpoint, options.rows).await?;
    let idle = private_memory(oskol.pid())?;
    println!(
        "{} rows; router before: {:.1} MiB\n",
        options.rows,
        mebibytes(idle)
    );
    println!(
        "| statement | one PostgreSQL ms | Oskol, 4 shards ms | ratio | router CPU ms | of the whole | router MiB |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for (name, statement) in STATEMENTS {
        let figures = measure(&plain.endpoint, &oskol, statement, options.rounds)
            .await
            .with_context(|| name.to_owned())?;
        print(name, &figures);
    }
    Ok(())
}

async fn measure(
    plain: &Endpoint,
    oskol: &Oskol,
    statement: &str,
    rounds: usize,
) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    // The first round fills caches.
    for round in 0..=rounds {
        let one = ask(plain, statement).await?;
        let before = cpu_time(oskol.pid())?;
        let (other, memory) = watched(oskol, statement).await?;
        let spent = cpu_time(oskol.pid())?.saturating_sub(before);
        ensure!(one.answer == other.answer, "the answers differ");
        if round > 0 {
            figures.plain.push(milliseconds(one.elapsed));
            figures.cluster.push(milliseconds(other.elapsed));
            figures.router_cpu.push(milliseconds(spent));
            figures.memory = figures.memory.max(memory);
        }
    }
    Ok(figures)
}

/// Runs a statement and looks at the router's memory meanwhile.
async fn watched(oskol: &Oskol, statement: &str) -> anyhow::Result<(Run, u64)> {
    let mut asking = std::pin::pin!(ask(&oskol.endpoint, statement));
    let mut most = 0;
    loop {
        tokio::select! {
            run = &mut asking => return Ok((run?, most)),
            () = tokio::time::sleep(LOOK_EVERY) => most = most.max(private_memory(oskol.pid())?),
        }
    }
}

async fn ask(endpoint: &Endpoint, statement: &str) -> anyhow::Result<Run> {
    let client = endpoint.connect().await?;
    let start = Instant::now();
    let messages = client.simple_query(statement).await?;
    let elapsed = start.elapsed();
    let answer = messages.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|column| row.get(column).unwrap_or("NULL"));
            Some(values.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    });
    Ok(Run {
        elapsed,
        answer: answer.collect(),
    })
}

fn print(name: &str, figures: &Figures) {
    let ratios = figures.cluster.iter().zip(&figures.plain);
    let ratio = median(ratios.map(|(cluster, plain)| cluster / plain));
    let shares = figures.router_cpu.iter().zip(&figures.cluster);
    let share = median(shares.map(|(cpu, cluster)| cpu / cluster));
    println!(
        "| {name} | {:.1} | {:.1} | {ratio:.2} | {:.2} | {:.1}% | {:.1} |",
        median(figures.plain.iter().copied()),
        median(figures.cluster.iter().copied()),
        median(figures.router_cpu.iter().copied()),
        share * 100.0,
        mebibytes(figures.memory),
    );
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
