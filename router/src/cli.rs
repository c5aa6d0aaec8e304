//! The program `oskol`: its arguments, its log, its signals, its exit status. Everything else is below.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::backup::{self, RestoreOptions};
use crate::config::Config;
use crate::log;
use crate::operate;
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
        /// Port of 127.0.0.1 for clients; the next one is for operators [default: as configured, 6432]
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
    /// Add shards to a running cluster, and take them away
    Shard {
        #[command(subcommand)]
        command: ShardCommand,
    },
    /// Place buckets by the shards' weights, while clients work
    Rebalance {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        #[command(flatten)]
        how: Rebalance,
    },
    /// Look for misplaced rows, and whatever else is not as it must be; the status is 1 where something is found
    Verify {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Mend what can be mended without a choice
        #[arg(long)]
        repair: bool,
    },
    /// Copy all shards as they are at one moment, while clients go on
    Backup {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// A directory that is new or empty
        #[arg(long, value_name = "DIR", required_unless_present = "points_only")]
        to: Option<PathBuf>,
        /// Copy nothing: make a restore point on every shard, for archives made by other programs, and print its name
        #[arg(long, conflicts_with = "to")]
        points_only: bool,
    },
    /// Make data directories of a backup, for servers to start from
    Restore {
        /// A directory that `oskol backup` has written
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// A directory that is new or empty; `oskol up --data` takes it
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// File with the superuser's password of the cluster that was backed up
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Say what is wrong with a configuration, or with a shard's settings
    Check {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Subcommand)]
enum ShardCommand {
    /// Make an empty PostgreSQL server a shard; it gets buckets by `oskol rebalance`
    Add {
        name: String,
        /// As the routers reach it
        #[arg(long)]
        host: String,
        #[arg(long, default_value_t = 5432)]
        port: u16,
        /// Its share of the buckets: 2 is twice that of 1
        #[arg(long, default_value_t = 1.0)]
        weight: f64,
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Shards, their health and their share
    List {
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Move all buckets of a shard to the others
    Drain {
        /// Name or number
        shard: String,
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Have a shard stay that was to be drained
    Keep {
        /// Name or number
        shard: String,
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Make the changes of the schema that a shard lacks, and that is kept out for it
    CatchUp {
        /// Name or number
        shard: String,
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Take a shard without buckets out of the cluster
    Remove {
        /// Name or number
        shard: String,
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(clap::Args)]
// Clap names the group of the variant after it, and this one after the type: a name is had once.
#[group(id = "how", multiple = false)]
struct Rebalance {
    /// Say what would move, and how long it may take; move nothing
    #[arg(long)]
    plan: bool,
    /// Show the moves until they are done
    #[arg(long)]
    watch: bool,
    /// Stop after the move under way
    #[arg(long)]
    pause: bool,
    /// Go on
    #[arg(long)]
    resume: bool,
    /// Give it up after the move under way; what has moved stays
    #[arg(long)]
    cancel: bool,
    /// Take back what the last rebalance has moved
    #[arg(long)]
    undo: bool,
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
        Command::Backup { config, to, .. } => backup(&config, to.as_deref())?,
        Command::Restore {
            from,
            to,
            password_file,
        } => {
            let options = RestoreOptions {
                from,
                to,
                password_file,
            };
            backup::restore(&options, |line| println!("{line}"))?;
        }
        Command::Check { config } => return check(&config),
        Command::Shard { command } => shard(&command)?,
        Command::Rebalance { config, how } => return rebalance(&load(Some(&config))?, &how),
        Command::Verify { config, repair } => {
            let text = if repair { "VERIFY REPAIR" } else { "VERIFY" };
            let found = operate::statement(&load(Some(&config))?, text)?;
            return Ok(status(!found));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn router(path: &Path) -> anyhow::Result<()> {
    let config = load(Some(path))?;
    config.require_shards()?;
    let stop = signals::on_signal()?;
    crate::run(Arc::new(config), stop)
}

/// `to`: none makes restore points only.
fn backup(path: &Path, to: Option<&Path>) -> anyhow::Result<()> {
    let config = load(Some(path))?;
    config.require_shards()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match to {
        Some(to) => runtime.block_on(backup::backup(&config, to, |line| println!("{line}"))),
        None => {
            println!("{}", runtime.block_on(backup::points(&config))?);
            Ok(())
        }
    }
}

/// Prints every finding on a line of its own; fails when one of them is `wrong`.
fn check(path: &Path) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let fine = runtime.block_on(crate::check::run(Some(path), &mut std::io::stdout().lock()))?;
    Ok(status(fine))
}

fn status(fine: bool) -> ExitCode {
    if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn shard(command: &ShardCommand) -> anyhow::Result<()> {
    let (config, text) = match command {
        ShardCommand::Add {
            name,
            host,
            port,
            weight,
            config,
        } => {
            let text = format!("ADD SHARD {name} HOST '{host}' PORT {port} WEIGHT {weight}");
            (config, text)
        }
        ShardCommand::List { config } => (config, "SHOW SHARDS".to_owned()),
        ShardCommand::Drain { shard, config } => (config, format!("DRAIN SHARD {shard}")),
        ShardCommand::Keep { shard, config } => (config, format!("KEEP SHARD {shard}")),
        ShardCommand::CatchUp { shard, config } => (config, format!("CATCH UP SHARD {shard}")),
        ShardCommand::Remove { shard, config } => (config, format!("REMOVE SHARD {shard}")),
    };
    operate::statement(&load(Some(config))?, &text).map(drop)
}

fn rebalance(config: &Config, how: &Rebalance) -> anyhow::Result<ExitCode> {
    let text = match how {
        Rebalance { watch: true, .. } => return Ok(status(operate::watch(config)?)),
        Rebalance { plan: true, .. } => "REBALANCE PLAN",
        Rebalance { pause: true, .. } => "REBALANCE PAUSE",
        Rebalance { resume: true, .. } => "REBALANCE RESUME",
        Rebalance { cancel: true, .. } => "REBALANCE CANCEL",
        Rebalance { undo: true, .. } => "REBALANCE UNDO",
        _ => "REBALANCE",
    };
    if !operate::statement(config, text)? {
        println!("every bucket is where it should be");
    }
    Ok(ExitCode::SUCCESS)
}

fn load(path: Option<&Path>) -> anyhow::Result<Config> {
    let config = Config::load(path)?;
    log::init(&config.log)?;
    Ok(config)
}
