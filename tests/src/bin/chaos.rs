//! Long runs with kills; see `tests::chaos` and CONTRIBUTING.md.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use tests::chaos::Options;
use tests::chaos::appends;
use tests::chaos::bank::{self, Reads};
use tests::chaos::constraints;
use tests::history::Level;

/// Kills routers and shards at random while clients work, and checks what they saw and what is left.
#[derive(Parser)]
struct Arguments {
    work: Work,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Nothing is killed.
    #[arg(long)]
    calm: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// Money moves; sums are read in REPEATABLE READ.
    Bank,
    /// Money moves; sums are read in plain READ COMMITTED, where they may be torn.
    BankPlain,
    /// Lists are appended to and read in READ COMMITTED.
    ReadCommitted,
    /// Lists are appended to and read in REPEATABLE READ.
    RepeatableRead,
    /// Rows with unique and foreign keys over shards.
    Constraints,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options {
        seed: arguments.seed,
        time: Duration::from_secs(arguments.seconds),
        clients: arguments.clients,
        kills: !arguments.calm,
        progress: true,
    };
    let holds = match arguments.work {
        Work::Bank => bank(&options, Reads::RepeatableRead),
        Work::BankPlain => bank(&options, Reads::Plain),
        Work::ReadCommitted => appends(&options, Level::ReadCommitted),
        Work::RepeatableRead => appends(&options, Level::RepeatableRead),
        Work::Constraints => constrained(&options),
    };
    ExitCode::from(u8::from(!holds))
}

fn bank(options: &Options, reads: Reads) -> bool {
    let report = bank::run(options, reads);
    println!("{report}");
    report.is_sound() && (report.wrong_sums == 0 || reads == Reads::Plain)
}

fn constrained(options: &Options) -> bool {
    let report = constraints::run(options);
    println!("{report}");
    report.is_sound()
}

fn appends(options: &Options, level: Level) -> bool {
    let report = appends::run(options, level);
    println!("{}\n{}", report.kills, report.findings);
    report.findings.anomalies.is_empty()
}
