//! Side-by-side measurements of direct PostgreSQL, PgBouncer and Oskol on one machine.
//! Owns the command line; every command starts its own servers and stops them when it ends.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod commit;
mod compare;
mod endpoint;
mod idle;
mod leg;
mod load;
mod machine;
mod oskol;
mod pgbench;
mod pgbouncer;
mod postgres;
mod procfs;
mod profile;
mod programs;
mod rebalance;
mod report;
mod scatter;
mod server;
mod social;
mod stage;
mod statistics;
mod stream;

#[derive(Parser)]
#[command(about = "Compares direct PostgreSQL, PgBouncer and Oskol on this machine")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Throughput, latency and CPU per query, all legs interleaved in one run.
    Compare(compare::Options),
    /// What a commit costs on one shard and in two phases, and consistent reads cost writers.
    Commit(commit::Options),
    /// Memory per idle client, and whether idle clients disturb active ones.
    Idle(idle::Options),
    /// How fast a new shard takes its part of the rows, under load, beside COPY.
    Rebalance(rebalance::Options),
    /// Statements over all rows: four shards beside one PostgreSQL that has all of them.
    Scatter(scatter::Options),
    /// The social network's pages under load: four shards beside one PostgreSQL.
    Social(social::Options),
    /// Millions of rows through the router and back, with its memory watched.
    Stream(stream::Options),
    /// Samples the proxy's stacks under load (needs `perf`).
    Profile(profile::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // On Ctrl-C the command's future is dropped, and with it every server that it started.
    let result = tokio::select! {
        result = run(arguments.command) => result,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Compare(options) => compare::run(options).await,
        Command::Commit(options) => commit::run(options).await,
        Command::Idle(options) => idle::run(options).await,
        Command::Rebalance(options) => rebalance::run(options).await,
        Command::Scatter(options) => scatter::run(options).await,
        Command::Social(options) => social::run(options).await,
        Command::Stream(options) => stream::run(options).await,
        Command::Profile(options) => profile::run(options).await,
    }
}
