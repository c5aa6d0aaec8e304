//! Shards, a router and an oracle that belong to one test, or to all tests of a binary.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use shard_node::{LocalCluster, LocalClusterOptions, Server, ShardNode, Source, Stop};
use tokio_postgres::Client;

use crate::directory::Directory;
use crate::proxy::Proxy;
use crate::router::{Place, Router};
use crate::standby::Standby;
use crate::{Database, PATIENCE, connect, template};

/// Settings of every test server: nothing survives a crash of the machine, and nothing has to.
const SETTINGS: [(&str, &str); 8] = [
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("shared_buffers", "32MB"),
    ("max_connections", "300"),
    ("max_prepared_transactions", "300"),
    ("logging_collector", "off"),
    ("log_statement", "none"),
    // Compiling a plan takes longer than any test's statement.
    ("jit", "off"),
];

#[derive(Debug, Clone, Default)]
pub struct ClusterOptions {
    /// None is four.
    pub shards: Option<usize>,
    /// Sections added to the router's configuration, other than [cluster], [listen], [admin] and [log].
    pub config: String,
    /// Set for the router process, such as ("OSKOL_LISTEN__WORKERS", "1").
    pub environment: Vec<(String, String)>,
    /// Set on every shard and the oracle, beyond ours.
    pub settings: Vec<(String, String)>,
    /// Routers reach the shards through proxies that can lose what is sent.
    pub proxied: bool,
    /// The number of a shard that has a standby; the router is told of both hosts.
    pub standby_of: Option<usize>,
}

pub struct Cluster {
    // Dropped in this order: the router first, the directory last.
    router: Router,
    /// One for each shard, or none.
    proxies: Vec<Proxy>,
    servers: Vec<Mutex<Option<Server>>>,
    standby: Option<(usize, Standby)>,
    oracle: OnceLock<(Vec<Server>, LocalCluster)>,
    shards: LocalCluster,
    options: ClusterOptions,
    databases: AtomicUsize,
    directory: Directory,
}

impl Cluster {
    /// A cluster of this test's own, with as many shards.
    pub fn start(shards: usize) -> Cluster {
        Cluster::start_with(ClusterOptions {
            shards: Some(shards),
            ..ClusterOptions::default()
        })
    }

    pub fn start_with(options: ClusterOptions) -> Cluster {
        let cluster = Cluster::without_router(options);
        cluster.start_router();
        cluster
    }

    /// Shards only; [`Cluster::start_router`] when the test is ready for it.
    pub fn without_router(options: ClusterOptions) -> Cluster {
        let directory = Directory::new();
        let count = options.shards.unwrap_or(4);
        let shards = postgres(&directory.path().join("shards"), count, &options.settings);
        let servers = shards
            .start(PATIENCE)
            .unwrap_or_else(|error| panic!("{error}"));
        let proxies: Vec<Proxy> = if options.proxied {
            let ports = shards.shards.iter().map(|shard| shard.port);
            ports.map(Proxy::start).collect()
        } else {
            Vec::new()
        };
        let standby = options
            .standby_of
            .map(|number| (number, Standby::of(&shards.shards[number])));
        let router = Router::new(&Place {
            directory: directory.path(),
            name: "router",
            shards: &shards,
            proxies: &proxies,
            standby: standby.as_ref(),
            config: &options.config,
            environment: &options.environment,
        });
        Cluster {
            router,
            proxies,
            servers: servers
                .into_iter()
                .map(|server| Mutex::new(Some(server)))
                .collect(),
            standby,
            oracle: OnceLock::new(),
            shards,
            options,
            databases: AtomicUsize::new(0),
            directory,
        }
    }

    /// One cluster of four shards for all tests of this binary. Tests take databases of their own in it.
    pub fn shared() -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| Cluster::start(4))
    }

    /// A database of its own for one test: fresh and empty on every shard. The name gets a number.
    pub fn database(&self, name: &str) -> Database<'_> {
        self.database_with(name, "")
    }

    /// As [`Cluster::database`], made with these options of CREATE DATABASE.
    pub fn database_with(&self, name: &str, options: &str) -> Database<'_> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        Database::create(self, format!("{name}_{number}"), options)
    }

    pub fn shard_count(&self) -> usize {
        self.servers.len()
    }

    /// A connection string, with the superuser's password, to database `postgres` through the router.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    pub fn url_of(&self, database: &str) -> String {
        self.router.url_of(database)
    }

    /// The router's port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.router.port()
    }

    /// Port of `/metrics` and `/health`.
    pub fn admin_port(&self) -> u16 {
        self.router.admin_port()
    }

    /// The superuser's.
    pub fn password(&self) -> &str {
        template::PASSWORD
    }

    /// A connection through the router to database `postgres`.
    pub async fn client(&self) -> Client {
        connected(&self.url()).await
    }

    /// A connection straight to a shard's database `postgres`.
    pub async fn shard(&self, number: usize) -> Client {
        connected(&self.shard_url(number, "postgres")).await
    }

    pub fn shard_url(&self, number: usize, database: &str) -> String {
        url(self.shards.shards[number].port, database)
    }

    pub fn shard_node(&self, number: usize) -> &ShardNode {
        &self.shards.shards[number]
    }

    /// A connection to one plain PostgreSQL with nothing sharded, started when first asked for.
    pub async fn oracle(&self) -> Client {
        connected(&self.oracle_url("postgres")).await
    }

    pub fn oracle_url(&self, database: &str) -> String {
        let (_, oracle) = self.oracle.get_or_init(|| {
            let oracle = postgres(
                &self.directory.path().join("oracle"),
                1,
                &self.options.settings,
            );
            (
                oracle
                    .start(PATIENCE)
                    .unwrap_or_else(|error| panic!("{error}")),
                oracle,
            )
        });
        url(oracle.shards[0].port, database)
    }

    /// The router that the tests use unless they say otherwise.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Starts the router where it does not run; waits until it serves.
    pub fn start_router(&self) {
        self.router.start();
    }

    /// Starts the router anew where it has ended by itself.
    pub fn revive_router(&self) {
        self.router.revive();
    }

    /// Kills the router without a goodbye.
    pub fn kill_router(&self) {
        self.router.kill();
    }

    /// Stops the router as an operator does, with SIGTERM.
    pub fn stop_router(&self) {
        self.router.stop();
    }

    /// The router's process id; none while it does not run.
    pub fn router_pid(&self) -> Option<u32> {
        self.router.pid()
    }

    /// What the router has logged.
    pub fn router_log(&self) -> String {
        self.router.log()
    }

    /// One more router of the same cluster, running.
    pub fn another_router(&self) -> Router {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let router = Router::new(&Place {
            directory: self.directory.path(),
            name: &format!("router-{number}"),
            shards: &self.shards,
            proxies: &self.proxies,
            standby: self.standby.as_ref(),
            config: &self.options.config,
            environment: &self.options.environment,
        });
        router.start();
        router
    }

    /// One more PostgreSQL server, which is no shard yet.
    pub fn spare_server(&self) -> SpareServer {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.path().join(format!("spare-{number}"));
        let node = postgres(&directory, 1, &self.options.settings);
        let servers = node.start(PATIENCE);
        SpareServer {
            server: Mutex::new(servers.unwrap_or_else(|error| panic!("{error}")).pop()),
            node,
        }
    }

    /// A router for other servers, such as restored ones; running.
    pub fn router_for(&self, shards: &LocalCluster) -> Router {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let router = Router::new(&Place {
            directory: self.directory.path(),
            name: &format!("router-{number}"),
            shards,
            proxies: &[],
            standby: None,
            config: &self.options.config,
            environment: &self.options.environment,
        });
        router.start();
        router
    }

    /// Between the routers and a shard; only with [`ClusterOptions::proxied`].
    pub fn proxy(&self, number: usize) -> &Proxy {
        &self.proxies[number]
    }

    /// Only with [`ClusterOptions::standby_of`].
    pub fn standby(&self) -> &Standby {
        let (_, standby) = self.standby.as_ref().expect("a shard has a standby");
        standby
    }

    /// Kills a shard's postmaster; it is started again at once. Returns when it is back.
    pub fn kill_shard(&self, number: usize) {
        let server = lock(&self.servers[number]);
        let server = server.as_ref().expect("the shard runs");
        kill_and_wait(server, &format!("shard {number}"));
    }

    /// Stops a shard until [`Cluster::start_shard`].
    pub fn stop_shard(&self, number: usize, how: Stop) {
        lock(&self.servers[number])
            .take()
            .into_iter()
            .for_each(|server| server.stop(how));
    }

    pub fn start_shard(&self, number: usize) {
        let mut server = lock(&self.servers[number]);
        if server.is_none() {
            let started = self.shards.shards[number].start(PATIENCE);
            *server = Some(started.unwrap_or_else(|error| panic!("{error}")));
        }
    }

    pub(crate) fn report_failure(&self) {
        self.directory.report_failure();
    }
}

/// A server that may become a shard; stopped when dropped.
pub struct SpareServer {
    server: Mutex<Option<Server>>,
    node: LocalCluster,
}

impl SpareServer {
    /// The directory of its Unix socket.
    pub fn host(&self) -> String {
        self.node.shards[0].socket_directory.display().to_string()
    }

    pub fn port(&self) -> u16 {
        self.node.shards[0].port
    }

    /// A connection straight to it.
    pub async fn client(&self, database: &str) -> Client {
        connected(&url(self.port(), database)).await
    }

    /// Kills its postmaster; it is started again at once. Returns when it is back.
    pub fn kill(&self) {
        let server = lock(&self.server);
        kill_and_wait(server.as_ref().expect("it runs"), "the spare server");
    }
}

/// Returns when the server is back.
fn kill_and_wait(server: &Server, name: &str) {
    let restarts = server.restarts();
    server.kill();
    let deadline = std::time::Instant::now() + PATIENCE;
    while server.restarts() == restarts || !server.is_ready() {
        let in_time = std::time::Instant::now() < deadline;
        assert!(in_time, "{name} does not come back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.report_failure();
        }
    }
}

fn postgres(directory: &Path, count: usize, settings: &[(String, String)]) -> LocalCluster {
    let mut options = LocalClusterOptions::new(directory);
    options.shards = Some(count);
    options.signal_at_our_death = "KILL";
    options.source = Source::Copy {
        template: template::data_directory(),
        password: template::PASSWORD.to_owned(),
    };
    options.settings = SETTINGS
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    options.settings.extend(settings.iter().cloned());
    LocalCluster::open(&options, |_| {}).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn url(port: u16, database: &str) -> String {
    format!(
        "postgres://postgres:{}@127.0.0.1:{port}/{database}",
        template::PASSWORD
    )
}

async fn connected(url: &str) -> Client {
    connect(url)
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// What is locked is whole between two statements, also after another test's panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
