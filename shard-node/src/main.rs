//! `shard-node`: makes, runs and asks one PostgreSQL server. The work is done by the library.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use shard_node::{Binaries, InitOptions, Owner, ShardNode, Stop};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(version, about = "Runs and looks after one PostgreSQL server")]
struct Arguments {
    /// The server's directory: its data, log and socket are kept inside
    #[arg(long)]
    dir: PathBuf,
    /// TCP port on 127.0.0.1
    #[arg(long, default_value_t = 5433)]
    port: u16,
    /// File that holds the superuser's password
    #[arg(long)]
    password_file: PathBuf,
    /// Directory of PostgreSQL's programs [default: the newest installed]
    #[arg(long)]
    binaries: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the data directory
    Init,
    /// Run the server in the foreground, starting it again when it dies, until Ctrl-C or SIGTERM
    Start,
    /// Ask a running server for its version and state
    Health,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shard-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let node = node(arguments)?;
    match arguments.command {
        Command::Init => node.init(&InitOptions::default())?,
        Command::Start => {
            let server = node.start(Duration::from_secs(600))?;
            println!("ready: {}", node.url());
            runtime.block_on(until_told_to_stop())?;
            server.stop(Stop::Fast);
        }
        Command::Health => {
            let health = runtime.block_on(node.health(Duration::from_secs(5)))?;
            println!("{health:#?}");
        }
    }
    Ok(())
}

async fn until_told_to_stop() -> std::io::Result<()> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

fn node(arguments: &Arguments) -> anyhow::Result<ShardNode> {
    let file = &arguments.password_file;
    let password =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    std::fs::create_dir_all(&arguments.dir)?;
    let directory = arguments.dir.canonicalize()?;
    Ok(ShardNode {
        name: "shard".to_owned(),
        data_directory: directory.join("data"),
        port: arguments.port,
        socket_directory: directory.join("run"),
        log_directory: directory.join("log"),
        password: password.trim().to_owned(),
        owner: Owner::choose()?,
        binaries: Binaries::find(arguments.binaries.as_deref())?,
        settings: Vec::new(),
        signal_at_our_death: "INT",
    })
}
