//! `shard-node`: makes, runs and asks one PostgreSQL server, and takes it into a cluster. The work is done by the library.

mod arguments;
mod setting_up;

use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use hyper::{Method, StatusCode};
use shard_node::agent::call::Call;
use shard_node::agent::{Endpoint, Membership, State, leave};
use tokio::signal::unix::{SignalKind, signal};

use arguments::{Arguments, Command, LeaveArguments, StartArguments};
use setting_up::Prepared;

const HEALTH_LIMIT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    match run(Arguments::parse().command) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("shard-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(arguments) => Prepared::new(&arguments, None)?.init()?,
        Command::Start(arguments) => start(&arguments)?,
        Command::Health { url } => return runtime()?.block_on(health(&url)),
        Command::Leave(arguments) => runtime()?.block_on(leave_cluster(&arguments))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn start(arguments: &StartArguments) -> anyhow::Result<()> {
    // Gives up root's rights, so nothing that has threads may come before it.
    let prepared = Prepared::new(&arguments.server, Some(arguments))?;
    let runtime = runtime()?;
    let url = prepared.node().url();
    let (agent, _place) = prepared.agent(arguments)?;
    let ended = runtime.block_on(async {
        let stop = told_to_stop()?;
        let ready = || println!("ready: {url}");
        agent.run(stop, ready).await.context("the server ends")
    });
    // Where it was told to stop while it starts, a thread still waits for the server.
    runtime.shutdown_background();
    ended
}

/// Listens from now on; ends at the first SIGINT or SIGTERM.
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Prints the page; the exit status is 0 where the server answers.
async fn health(url: &Endpoint) -> anyhow::Result<ExitCode> {
    let (status, page) = ask_health(url).await?;
    print!("{page}");
    Ok(match status {
        StatusCode::OK => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

async fn ask_health(url: &Endpoint) -> anyhow::Result<(StatusCode, String)> {
    let call = Call {
        method: Method::GET,
        path: "/health",
        token: None,
        body: None,
        limit: HEALTH_LIMIT,
    };
    let (status, page) = url.call(&call).await?;
    Ok((status, String::from_utf8_lossy(&page).into_owned()))
}

async fn leave_cluster(arguments: &LeaveArguments) -> anyhow::Result<()> {
    let access = arguments.cluster.access()?;
    let Some(access) = access else {
        bail!("--router and --token-file say whom to ask");
    };
    let membership = membership(&arguments.url).await?;
    let record = membership.read()?.context("this server has not joined")?;
    if record.state == State::Left {
        println!("shard {} has left before", record.shard);
        return Ok(());
    }
    let patience = Duration::from_secs(arguments.timeout);
    leave(&access, &record, &membership, patience, |said| {
        println!("{said}")
    })
    .await?;
    println!(
        "shard {} has left the cluster; its server still runs",
        record.shard
    );
    Ok(())
}

/// Of the agent that runs here: it knows which directory it has.
async fn membership(url: &Endpoint) -> anyhow::Result<Membership> {
    let (_, page) = ask_health(url)
        .await
        .context("the agent of this server is asked where it keeps its data")?;
    let page: serde_json::Value = serde_json::from_str(&page).context("that is no shard-node")?;
    let path = page["membership"]
        .as_str()
        .context("that is no shard-node")?;
    Ok(Membership { path: path.into() })
}
