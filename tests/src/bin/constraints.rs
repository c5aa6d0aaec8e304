//! Long runs of the oracle of constraints over shards; see `tests::constraints` and CONTRIBUTING.md.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::constraints::{self, Options};

/// Runs random statements on random schemas with constraints over shards, on four shards and on one PostgreSQL.
#[derive(Parser)]
struct Arguments {
    /// Of the first schema; the others take the numbers that follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 50)]
    schemas: usize,
    /// On each schema.
    #[arg(long, default_value_t = 400)]
    statements: usize,
    /// Schemas at the same time.
    #[arg(long, default_value_t = 4)]
    sessions: usize,
    /// Differences are appended to this file, each with all statements that led to it.
    #[arg(long, default_value = "target/constraints-failures.txt")]
    failures: PathBuf,
    /// Begins no schema after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cluster = constraints::cluster();
    let options = Options {
        seed: arguments.seed,
        statements: arguments.statements,
        schemas: arguments.schemas,
        sessions: arguments.sessions.max(1),
        failures: arguments.failures,
        time: arguments.seconds.map(Duration::from_secs),
        progress: true,
    };
    let summary = constraints::run(&cluster, &options);
    println!("{summary}");
    ExitCode::from(u8::from(!summary.differences.is_empty()))
}
