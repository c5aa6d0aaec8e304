//! `oskol up`: shards on this machine, a router in front, until told to stop.
//!
//! Takes the command's options and a configuration; the shards are shard-node's. Prints what a person at a terminal
//! wants to know, to standard output; `ready:` is the last of it and true.

mod probe;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use shard_node::{Error, LocalCluster, LocalClusterOptions, SUPERUSER, Server, ShardNode, Stop};
use topology::ShardId;

use crate::config::{Config, Secret, ShardConfig, SslMode};
use crate::shutdown::{Shutdown, Stopper, shutdown};
use crate::signals;

/// Recovery after a crash reads up to max_wal_size and more.
const SHARDS_PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    /// None: as many as there are, or four.
    pub shards: Option<usize>,
    pub data: Option<PathBuf>,
    pub port: Option<u16>,
}

/// Runs the cluster until Ctrl-C or SIGTERM.
pub fn up(options: &UpOptions, mut config: Config) -> anyhow::Result<()> {
    if !config.cluster.shards.is_empty() {
        bail!(
            "oskol up runs its own shards: remove [[cluster.shards]], or use oskol router with this configuration"
        );
    }
    if let Some(port) = options.port {
        config.listen.addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
        // So that a second cluster on this machine needs no more than another port.
        if config.admin.address == Config::default().admin.address {
            let next = port.checked_add(1);
            config.admin.address = next.map(|port| (Ipv4Addr::LOCALHOST, port).into());
        }
    }
    let address = free_address(&config)?;
    let wish = signals::on_signal()?;
    let cluster = open(options, address.port())?;
    println!(
        "starting {} shards; their logs are in {}",
        cluster.shards.len(),
        cluster.log_directory().display()
    );
    let servers = cluster.start(SHARDS_PATIENCE)?;
    point_at(&mut config, &cluster);
    let served = serve_until(wish, Arc::new(config), &cluster, address);
    println!("stopping the shards");
    Server::stop_all(servers, Stop::Fast);
    served
}

/// The first address for clients. What is in use is said now rather than after the shards have started.
fn free_address(config: &Config) -> anyhow::Result<SocketAddr> {
    let address = *config
        .listen
        .addresses
        .first()
        .context("listen.addresses is empty")?;
    // Both are held here until both are found free.
    let client = TcpListener::bind(address);
    let _client = client
        .with_context(|| format!("cannot listen on {address}; choose another port with --port"))?;
    if let Some(admin) = config.admin.address {
        TcpListener::bind(admin).with_context(|| {
            format!("cannot listen on {admin} (admin.address); choose another port with --port")
        })?;
    }
    Ok(address)
}

fn open(options: &UpOptions, port: u16) -> anyhow::Result<LocalCluster> {
    let default = Path::new("data");
    let place = options.data.as_deref().unwrap_or(default);
    match try_open(options, place, port) {
        Err(Error::Unreachable { path, user }) if options.data.is_none() => {
            let elsewhere = elsewhere()?;
            println!(
                "user {user}, who runs PostgreSQL, may not enter {}",
                path.display()
            );
            println!(
                "the data is kept in {} (choose with --data)",
                elsewhere.display()
            );
            Ok(try_open(options, &elsewhere, port)?)
        }
        opened => Ok(opened?),
    }
}

fn try_open(options: &UpOptions, place: &Path, port: u16) -> shard_node::Result<LocalCluster> {
    let mut local = LocalClusterOptions::new(place);
    local.shards = options.shards;
    // The next one is the admin port.
    local.first_port = port.checked_add(2);
    LocalCluster::open(&local, |line| println!("{line}"))
}

/// For root in a home directory that nobody else may enter: one place for each such working directory.
fn elsewhere() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let name = here.to_string_lossy().trim_matches('/').replace('/', "-");
    Ok(Path::new("/var/lib/oskol").join(name))
}

fn point_at(config: &mut Config, cluster: &LocalCluster) {
    config.cluster.user = SUPERUSER.to_owned();
    config.cluster.password = Some(Secret(cluster.password.clone()));
    config.cluster.tls.mode = SslMode::Disable;
    config.cluster.shards = (0..)
        .map(ShardId)
        .zip(&cluster.shards)
        .map(|(id, node)| shard(id, node))
        .collect();
    config.cluster.home = ShardId(0);
}

/// By Unix socket, which costs less than TCP.
fn shard(id: ShardId, node: &ShardNode) -> ShardConfig {
    ShardConfig {
        id,
        host: node.socket_directory.display().to_string(),
        port: node.port,
        weight: 1.0,
        patroni: None,
    }
}

/// Runs the router until the wish to stop or until it ends by itself.
fn serve_until(
    mut wish: Shutdown,
    config: Arc<Config>,
    cluster: &LocalCluster,
    address: SocketAddr,
) -> anyhow::Result<()> {
    let (router_stopper, for_router) = shutdown();
    let (ended, router_ended) = shutdown();
    let router = start_router(config.clone(), for_router, ended)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut over = router_ended.clone();
        tokio::select! {
            () = wish.requested() => return,
            () = over.requested() => return,
            () = probe::until_it_serves(&config, address) => announce(cluster, address),
        }
        tokio::select! {
            () = wish.requested() => println!("stopping the router"),
            () = over.requested() => {}
        }
    });
    router_stopper.stop();
    match router.join() {
        Ok(result) => result,
        Err(_) => bail!("the router panicked; see the lines above"),
    }
}

/// The router blocks, so it has a thread; `ended` is dropped, and thus heard, when it ends.
fn start_router(
    config: Arc<Config>,
    wish: Shutdown,
    ended: Stopper,
) -> std::io::Result<JoinHandle<anyhow::Result<()>>> {
    std::thread::Builder::new()
        .name("router".into())
        .spawn(move || {
            let _ended = ended;
            crate::run(config, wish)
        })
}

fn announce(cluster: &LocalCluster, address: SocketAddr) {
    println!(
        "stop with Ctrl-C; data and logs stay in {}",
        cluster.directory.display()
    );
    let file = cluster.password_file();
    println!(
        "ready: postgres://{SUPERUSER}@{}/postgres?passfile={}",
        reachable(address),
        file.display()
    );
}

/// Where to connect to when listening on `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    address
}
