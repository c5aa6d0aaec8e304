//! The program `oskol`: its arguments, its log, its signals, its exit status. Everything else is below.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::log;
use crate::signals;
use crate::up::{self, UpOptions};

#[derive(Parser)]
#[command(
    name = "oskol",
    version,
    about = "One PostgreSQL address in front of N shards"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run PostgreSQL shards on this machine and a router in front of them, until Ctrl-C
    Up {
        /// Number of shards of a new cluster [default: 4]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
        shards: Option<u16>,
        /// Directory that keeps the cluster [default: ./data, or one in /var/lib/oskol where PostgreSQL may not enter that]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Port of 127.0.0.1 for clients [default: as configured, 6432]
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
        /// Configuration, as in oskol.toml; without [[cluster.shards]]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Run a router in front of shards that run elsewhere
    Router {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say what is wrong with a configuration, or with a shard's settings
    Check {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

/// The whole program. The exit status is 0 for an orderly end, 1 for an error, 2 for wrong arguments.
pub fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("oskol: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up {
            shards,
            data,
            port,
            config,
        } => {
            let options = UpOptions {
                shards: shards.map(usize::from),
                data,
                port,
            };
            let config = load(config.as_deref())?;
            up::up(&options, config)?;
        }
        Command::Router { config } => router(&config)?,
        Command::Check { config } => return check(&config),
    }
    Ok(ExitCode::SUCCESS)
}

fn router(path: &Path) -> anyhow::Result<()> {
    let config = load(Some(path))?;
    config.require_shards()?;
    let stop = signals::on_signal()?;
    crate::run(Arc::new(config), stop)
}

/// Prints every finding on a line of its own; fails when one of them is `wrong`.
fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let fine = runtime.block_on(crate::check::run(Some(path), &mut std::io::stdout().lock()))?;
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    let config = Config::load(path)?;
    log::init(&config.log)?;
    Ok(config)
}
