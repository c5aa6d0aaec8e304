//! Long runs of the oracle; see `tests::differential` and CONTRIBUTING.md.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::differential::{self, Options};

/// Runs random statements on a cluster of four shards and on one PostgreSQL, and compares.
#[derive(Parser)]
struct Arguments {
    /// Of the first session; the others take the numbers that follow.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// In all sessions together.
    #[arg(long, default_value_t = 10_000)]
    statements: usize,
    /// At the same time.
    #[arg(long, default_value_t = 2)]
    sessions: usize,
    /// Rows of the tables: 100 is a few hundred in all.
    #[arg(long, default_value_t = 100)]
    rows: usize,
    /// Differences are appended to this file.
    #[arg(long, default_value = "target/differential-failures.txt")]
    failures: PathBuf,
    /// Ends each session after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Runs these statements only, and shows what both say.
    #[arg(long)]
    show: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let cluster = differential::cluster();
    let options = Options {
        seed: arguments.seed,
        statements: arguments.statements,
        sessions: arguments.sessions.max(1),
        scale: arguments.rows,
        failures: arguments.failures,
        time: arguments.seconds.map(Duration::from_secs),
        progress: true,
    };
    if !arguments.show.is_empty() {
        println!(
            "{}",
            differential::show(&cluster, &options, &arguments.show)
        );
        return ExitCode::SUCCESS;
    }
    let summary = differential::run(&cluster, &options);
    println!("{summary}");
    ExitCode::from(u8::from(!summary.is_clean()))
}
