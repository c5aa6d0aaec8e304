//! The command line. Every option can come from the environment, for containers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use shard_node::agent::{ClusterAccess, Endpoint};

#[derive(Parser)]
#[command(version, about = "Runs and looks after one PostgreSQL server")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Make the data directory
    Init(ServerArguments),
    /// Make or adopt the data directory and run the server in the foreground, starting it again when it dies, until Ctrl-C or SIGTERM
    Start(Box<StartArguments>),
    /// Ask a running agent how its server is; fails where that does not answer
    Health {
        /// Address of the agent's health page
        #[arg(
            long,
            env = "OSKOL_NODE_HEALTH_URL",
            default_value = "http://127.0.0.1:6434"
        )]
        url: Endpoint,
    },
    /// Move this shard's rows to the others and take it out of the cluster; the server goes on running
    Leave(LeaveArguments),
}

#[derive(Args)]
pub struct ServerArguments {
    /// The server's directory: its data, log and socket are kept inside
    #[arg(long, env = "OSKOL_NODE_DIR")]
    pub dir: PathBuf,
    /// DIR is shared: use the first of DIR/1, DIR/2, ... that no other server uses
    #[arg(long, env = "OSKOL_NODE_CLAIM")]
    pub claim: bool,
    /// An existing data directory to adopt [default: data in the server's directory, made where there is none]
    #[arg(long, env = "OSKOL_NODE_DATA", conflicts_with = "claim")]
    pub data: Option<PathBuf>,
    /// Name for logs and for the cluster [default: shard, with the number of a shared DIR]
    #[arg(long, env = "OSKOL_NODE_NAME")]
    pub name: Option<String>,
    /// TCP port of PostgreSQL
    #[arg(long, env = "OSKOL_NODE_PORT", default_value_t = 5433)]
    pub port: u16,
    /// File that holds the superuser's password
    #[arg(long, env = "OSKOL_NODE_PASSWORD_FILE")]
    pub password_file: PathBuf,
    /// Directory of PostgreSQL's programs [default: the newest installed]
    #[arg(long, env = "OSKOL_NODE_BINARIES")]
    pub binaries: Option<PathBuf>,
    /// A setting of PostgreSQL's, NAME=VALUE, beyond ours or instead of them; may be given several times
    #[arg(long = "setting", env = "OSKOL_NODE_SETTINGS", value_delimiter = ';', value_parser = setting)]
    pub settings: Vec<(String, String)>,
}

#[derive(Args)]
pub struct StartArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Addresses PostgreSQL listens on, as its listen_addresses
    #[arg(long, env = "OSKOL_NODE_LISTEN", default_value = "127.0.0.1")]
    pub listen: String,
    /// Networks whose clients may log in: samenet, all, or ADDRESS/BITS, parted by commas [default: this machine only]
    #[arg(long, env = "OSKOL_NODE_ALLOW", value_delimiter = ',')]
    pub allow: Vec<String>,
    /// Address of /health and /metrics; "none": not served
    #[arg(long, env = "OSKOL_NODE_HEALTH_ADDRESS", default_value = "127.0.0.1:6434", value_parser = health_address)]
    pub health_address: HealthAddress,
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// This server's address as routers reach it [default: the host's name]
    #[arg(long, env = "OSKOL_NODE_HOST")]
    pub host: Option<String>,
    /// Database that the cluster divides
    #[arg(long, env = "OSKOL_NODE_DATABASE", default_value = "postgres")]
    pub database: String,
    /// Share of the buckets relative to the other shards
    #[arg(long, env = "OSKOL_NODE_WEIGHT", default_value_t = 1.0, value_parser = weight)]
    pub weight: f64,
    /// Join again after having left
    #[arg(long)]
    pub rejoin: bool,
}

#[derive(Args)]
pub struct LeaveArguments {
    #[command(flatten)]
    pub cluster: ClusterArguments,
    /// Address of the health page of this server's agent
    #[arg(
        long,
        env = "OSKOL_NODE_HEALTH_URL",
        default_value = "http://127.0.0.1:6434"
    )]
    pub url: Endpoint,
    /// Longest wait for the rows to move, in seconds; the move goes on by itself afterwards
    #[arg(long, default_value_t = 3600)]
    pub timeout: u64,
}

#[derive(Args)]
pub struct ClusterArguments {
    /// Admin addresses of routers, such as http://router:6433, parted by commas; without one the server stays by itself
    #[arg(
        long = "router",
        env = "OSKOL_NODE_ROUTER",
        value_delimiter = ',',
        requires = "token_file"
    )]
    pub routers: Vec<Endpoint>,
    /// File that holds the cluster's join token
    #[arg(long, env = "OSKOL_NODE_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

impl ClusterArguments {
    /// Reads the token; none where no router is named.
    pub fn access(&self) -> anyhow::Result<Option<ClusterAccess>> {
        if self.routers.is_empty() {
            return Ok(None);
        }
        let file = self
            .token_file
            .as_deref()
            .context("--token-file is needed")?;
        Ok(Some(ClusterAccess {
            routers: self.routers.clone(),
            token: secret(file)?,
        }))
    }
}

/// The content of a file of one secret, without its line end.
pub fn secret(file: &Path) -> anyhow::Result<String> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("{} is empty", file.display());
    }
    Ok(text.to_owned())
}

/// None: not served. A type of its own, because clap takes an `Option` for an argument that may be left out.
#[derive(Clone, Copy)]
pub struct HealthAddress(pub Option<SocketAddr>);

fn health_address(text: &str) -> Result<HealthAddress, String> {
    match text {
        "none" => Ok(HealthAddress(None)),
        _ => text
            .parse()
            .map(|address| HealthAddress(Some(address)))
            .map_err(|_| "not IP:port, nor none".to_owned()),
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("not NAME=VALUE")?;
    let fits = |character: char| character.is_ascii_alphanumeric() || "_.".contains(character);
    if name.is_empty() || !name.chars().all(fits) || value.contains(['\n', '\r']) {
        return Err("not NAME=VALUE".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn weight(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
        _ => Err("not a number of 0 or more".to_owned()),
    }
}
