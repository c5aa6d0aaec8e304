//! `bench idle`: thousands of idle clients held while others work.
//!
//! Each cycle opens the idle clients, runs the active ones beside them, and lets all go. The first cycle shows the
//! memory per client, the later ones whether anything stays behind.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::endpoint::Endpoint;
use crate::leg::Leg;
use crate::load::Protocol;
use crate::procfs::private_memory;
use crate::stage::{Setup, Stage};

mod active;
mod client;

#[derive(Args)]
pub struct Options {
    #[arg(long, value_enum, default_value = "oskol4")]
    pub leg: Leg,
    /// Clients that connect, run one statement and then stay idle.
    #[arg(long, default_value_t = 5000)]
    pub idle: usize,
    /// Clients that select by key without a pause.
    #[arg(long, default_value_t = 200)]
    pub active: usize,
    /// Server connections of the proxy.
    #[arg(long, default_value_t = 20)]
    pub pool: usize,
    /// How long the active clients work, in seconds.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Times that the clients come and leave.
    #[arg(long, default_value_t = 3)]
    pub cycles: usize,
}

const SCALE: u32 = 1;

/// Longest wait for the proxy's memory to stop falling.
const SETTLE_DEADLINE: Duration = Duration::from_secs(20);
const SETTLE_STEP: Duration = Duration::from_secs(2);

/// Memory of the proxy at the points of one cycle, in bytes, and what the clients saw.
struct Cycle {
    before: u64,
    with_idle: u64,
    under_load: u64,
    after: u64,
    idle_errors: usize,
    outcome: active::Outcome,
}

pub async fn run(options: Options) -> anyhow::Result<()> {
    raise_file_limit(2 * (options.idle + options.active) + 500)?;
    let setup = Setup {
        scale: SCALE,
        pool: options.pool,
        clients: options.idle + options.active + options.pool,
    };
    let stage = Stage::start(&[options.leg], &setup).await?;
    let Some(proxy) = stage.proxy(options.leg)? else {
        bail!("the direct leg has no proxy whose memory could be measured");
    };
    let endpoint = stage.endpoint(options.leg, Protocol::Extended)?;
    // Pools and caches are filled first: they are not what an idle client costs.
    active::run(&endpoint, options.active, Duration::from_secs(2)).await?;
    print_heading(&options);
    let mut failures = 0;
    for number in 1..=options.cycles {
        let cycle = run_cycle(&endpoint, proxy, &options).await?;
        failures += cycle.idle_errors + cycle.outcome.errors.len();
        print_cycle(number, &cycle, options.idle);
    }
    if failures > 0 {
        bail!("{failures} errors");
    }
    Ok(())
}

async fn run_cycle(endpoint: &Endpoint, proxy: u32, options: &Options) -> anyhow::Result<Cycle> {
    let before = settled_memory(proxy).await?;
    let mut clients = Vec::with_capacity(options.idle);
    for number in 0..options.idle {
        let mut client = client::Client::connect(endpoint)
            .await
            .with_context(|| format!("idle client {number}"))?;
        client
            .query("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
            .await?;
        clients.push(client);
    }
    let with_idle = settled_memory(proxy).await?;
    let outcome = active::run(
        endpoint,
        options.active,
        Duration::from_secs(options.seconds),
    )
    .await?;
    let under_load = private_memory(proxy)?;
    let idle_errors = count_broken(&mut clients).await;
    drop(clients);
    let after = settled_memory(proxy).await?;
    Ok(Cycle {
        before,
        with_idle,
        under_load,
        after,
        idle_errors,
        outcome,
    })
}

/// Idle clients that no longer answer.
async fn count_broken(clients: &mut [client::Client]) -> usize {
    let mut broken = 0;
    for client in clients {
        broken += usize::from(
            client
                .query("SELECT abalance FROM pgbench_accounts WHERE aid = 2")
                .await
                .is_err(),
        );
    }
    broken
}

/// Allocators give memory back some seconds late: waits until it no longer falls.
async fn settled_memory(proxy: u32) -> anyhow::Result<u64> {
    let deadline = Instant::now() + SETTLE_DEADLINE;
    let mut last = private_memory(proxy)?;
    loop {
        tokio::time::sleep(SETTLE_STEP).await;
        let now = private_memory(proxy)?;
        if now >= last || Instant::now() > deadline {
            return Ok(now.min(last));
        }
        last = now;
    }
}

/// For this process and those it starts: sockets of all clients, and twice that in the proxy.
fn raise_file_limit(wanted: usize) -> anyhow::Result<()> {
    let wanted = wanted as u64;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).with_context(|| {
        format!("{wanted} open files are needed and {hard} are allowed: run `ulimit -n {wanted}` as root first")
    })
}

fn print_heading(options: &Options) {
    println!(
        "{}: {} idle clients, {} active ones for {} s, {} server connections. Memory is the proxy's private resident \
         memory; the kernel's socket buffers are not in it.\n",
        options.leg.title(),
        options.idle,
        options.active,
        options.seconds,
        options.pool,
    );
    println!(
        "| cycle | before | with idle | per idle client | under load | after all left | active statements | tps | \
         p50 ms | p99 ms | errors |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    );
}

fn print_cycle(number: usize, cycle: &Cycle, idle: usize) {
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let per_client = cycle.with_idle.saturating_sub(cycle.before) as f64 / idle as f64 / 1024.0;
    println!(
        "| {number} | {} | {} | {per_client:.2} KiB | {} | {} | {} | {:.0} | {:.2} | {:.2} | {} |",
        mebibytes(cycle.before),
        mebibytes(cycle.with_idle),
        mebibytes(cycle.under_load),
        mebibytes(cycle.after),
        cycle.outcome.statements,
        cycle.outcome.throughput,
        cycle.outcome.p50 as f64 / 1e3,
        cycle.outcome.p99 as f64 / 1e3,
        cycle.idle_errors + cycle.outcome.errors.len(),
    );
    for error in cycle.outcome.errors.iter().take(5) {
        eprintln!("active client: {error}");
    }
}
