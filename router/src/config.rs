//! Configuration: [`Config`] is what the program means; the file as typed is [`file::ConfigFile`].
//! Every value has a unit and a default, documented in `oskol.toml`.
//!
//! Takes a file and the environment, once, at the start. Nothing below `main` reads either again.

pub mod error;
pub mod file;
mod listing;
mod meaning;
mod shards;
pub mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use schema::TableRule;
use topology::ShardId;

use crate::patroni::Patroni;
pub use error::{ConfigError, Problem};
pub use listing::listing;
pub use shards::ShardList;

#[derive(Debug, Clone)]
pub struct Config {
    pub cluster: ClusterConfig,
    pub listen: ListenConfig,
    pub client_auth: ClientAuth,
    pub client_tls: ClientTls,
    pub pool: PoolConfig,
    pub limits: Limits,
    pub transactions: TransactionsConfig,
    pub reads: ReadsConfig,
    pub moves: MovesConfig,
    pub admin: AdminConfig,
    pub log: LogConfig,
    pub tables: Vec<TableRule>,
}

impl Config {
    /// Reads the file at `path`, if any, then the environment over it (`OSKOL_POOL__SIZE=30`), and
    /// fills in the defaults. The error tells every value that cannot be used.
    ///
    /// A configuration without shards is accepted, for a cluster whose shards this program runs
    /// itself; see [`Config::require_shards`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_from(
            path,
            std::env::vars_os().filter_map(|(name, value)| {
                Some((name.into_string().ok()?, value.into_string().ok()?))
            }),
        )
    }

    /// As [`Config::load`], with an environment of the caller's.
    pub fn load_from(
        path: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let file = file::read(path, environment)?;
        let place = path.map_or(file::ENVIRONMENT.to_owned(), |path| {
            path.display().to_string()
        });
        meaning::meaning(&file, &place)
    }

    /// For a router whose shards run elsewhere: fails when none is named.
    pub fn require_shards(&self) -> Result<(), ConfigError> {
        if !self.cluster.shards.is_empty() {
            return Ok(());
        }
        Err(ConfigError::one(Problem {
            place: String::new(),
            key: "cluster.shards".into(),
            wrong: "names no shard".into(),
            allowed: "at least one [[cluster.shards]] with id, host and port".into(),
        }))
    }
}

impl Default for Config {
    /// Every value as `oskol.toml` documents it, without shards and tables.
    fn default() -> Self {
        meaning::meaning(&file::ConfigFile::default(), "defaults")
            .expect("the defaults are constants that a test in this module reads")
    }
}

/// A password or key: never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// Name of the cluster; part of every global transaction id. [a-z0-9_]{1,16}
    pub name: String,
    /// Role with superuser rights on every shard: catalog, recovery, cancel, role look-ups.
    pub user: String,
    pub password: Option<Secret>,
    /// Of the configuration, and those added since.
    pub shards: ShardList,
    pub home: ShardId,
    pub tls: ShardTls,
    pub connect_timeout: Duration,
    /// How long a statement waits for one of a shard's hosts to become the primary.
    pub failover_timeout: Duration,
}

#[derive(Debug, Clone)]
pub struct ShardConfig {
    pub id: ShardId,
    /// Host name, address, or a directory (starts with `/`) that holds the Unix socket; several parted by commas, each
    /// with a port of its own where it has one: see [`ShardConfig::each_host`].
    pub host: String,
    pub port: u16,
    pub weight: f64,
    /// Where Patroni's REST interface is asked for the primary and the other hosts.
    pub patroni: Option<Arc<Patroni>>,
}

impl ShardConfig {
    /// The shard once for each of its hosts, with one host and its port: `db1,db2:5433` has two. Those that Patroni
    /// has told of come behind those of the configuration.
    #[must_use]
    pub fn each_host(&self) -> Vec<ShardConfig> {
        let listed = self.host.split(',').map(str::trim);
        let mut hosts: Vec<ShardConfig> = listed
            .map(|text| {
                let (host, port) = host_and_port(text);
                self.at(host, port.unwrap_or(self.port))
            })
            .collect();
        let members = self.patroni.iter().flat_map(|patroni| patroni.members());
        for (host, port) in members {
            if !hosts.iter().any(|known| known.is_at(&host, port)) {
                hosts.push(self.at(&host, port));
            }
        }
        hosts
    }

    /// There may be a standby among the hosts.
    #[must_use]
    pub fn may_have_standbys(&self) -> bool {
        self.patroni.is_some() || self.host.contains(',')
    }

    /// Which of `hosts` leads, as Patroni says. `None`: it is not asked, or does not answer.
    #[must_use]
    pub fn leader_among(&self, hosts: &[ShardConfig]) -> Option<usize> {
        let (host, port) = self.patroni.as_ref()?.leader()?;
        hosts.iter().position(|known| known.is_at(&host, port))
    }

    fn at(&self, host: &str, port: u16) -> ShardConfig {
        ShardConfig {
            host: host.to_owned(),
            port,
            ..self.clone()
        }
    }

    fn is_at(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port
    }
}

/// `db1`, `db1:5433`, `::1`, `[::1]:5433`, `/run/postgresql`.
fn host_and_port(text: &str) -> (&str, Option<u16>) {
    let split = text.rsplit_once(':').filter(|(host, _)| {
        let is_address = host.starts_with('[') && host.ends_with(']');
        is_address || !host.contains([':', '/'])
    });
    match split.map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host.trim_matches(['[', ']']), Some(port)),
        _ => (text.trim_matches(['[', ']']), None),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SslMode {
    #[default]
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, Clone, Default)]
pub struct ShardTls {
    pub mode: SslMode,
    pub root_certificate: Option<PathBuf>,
}

#[derive(Debug, Clone)]
pub struct ListenConfig {
    pub addresses: Vec<SocketAddr>,
    /// Directory for a Unix socket `.s.PGSQL.<port>`; none by default.
    pub unix_socket_directory: Option<PathBuf>,
    /// Worker threads, each with its own current-thread runtime.
    pub workers: usize,
    pub max_clients: usize,
    /// From accept to the end of authentication.
    pub handshake_timeout: Duration,
    /// Bytes of one client message; larger is a protocol error.
    pub max_message_bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    ScramSha256,
    Trust,
}

#[derive(Debug, Clone, Default)]
pub struct ClientTls {
    pub mode: ClientTlsMode,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// With it, clients must present a certificate signed by this authority.
    pub client_authority: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientTlsMode {
    #[default]
    Disable,
    Allow,
    Require,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    Transaction,
    Session,
}

#[derive(Debug, Clone)]
pub struct PoolConfig {
    pub mode: PoolMode,
    /// Server connections per shard, for all databases and users together.
    pub size: usize,
    /// Clients that may wait for a server connection of one shard.
    pub queue: usize,
    pub checkout_timeout: Duration,
    pub idle_timeout: Duration,
    pub lifetime: Duration,
    /// Prepared statements kept on one server connection.
    pub prepared_statements: usize,
}

#[derive(Debug, Clone)]
pub struct TransactionsConfig {
    /// Of sessions that do not set `oskol.cross_shard_reads`.
    pub cross_shard_reads: CrossShardReads,
    /// Longest wait for the barrier around snapshots, of readers and of writers.
    pub barrier_timeout: Duration,
}

/// What a READ COMMITTED statement sees that reads on several shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrossShardReads {
    /// Each shard as it was when the statement came there.
    Plain,
    /// All shards as they were at one moment.
    Consistent,
}

/// Where statements read that only read.
#[derive(Debug, Clone)]
pub struct ReadsConfig {
    /// Of sessions that do not set `oskol.read_from`.
    pub from: ReadFrom,
    /// How far a standby that is read from may be behind.
    pub max_lag: Duration,
    /// The same in bytes of WAL; zero: no limit.
    pub max_lag_bytes: u64,
    /// Between two measurements of a standby.
    pub check_interval: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    Primary,
    /// A standby, or the primary where none is fresh enough.
    PreferStandby,
    Standby,
}

impl ReadFrom {
    /// As it is typed.
    pub const NAMES: [(&'static str, ReadFrom); 3] = [
        ("primary", ReadFrom::Primary),
        ("prefer_standby", ReadFrom::PreferStandby),
        ("standby", ReadFrom::Standby),
    ];
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest run of one statement; zero: none.
    pub statement_timeout: Duration,
    /// Longest stay of a client in an open transaction without a statement; zero: none.
    pub idle_in_transaction_timeout: Duration,
    /// Longest stay of a client without a transaction; zero: none.
    pub idle_client_timeout: Duration,
    /// Bytes of rows the router may hold for one merge.
    pub merge_bytes: usize,
    /// Bytes of rows that all cursors and portals may keep in temporary files, together.
    pub cursor_bytes: usize,
    /// Bytes of rows that one statement may pull from shards to be finished on another.
    pub gather_bytes: usize,
    /// Plans cached per worker.
    pub plan_cache: usize,
    /// Prepared statements of one client.
    pub client_prepared_statements: usize,
    /// Wait for the other routers to learn of a catalog change.
    pub catalog_timeout: Duration,
    /// Ids taken from a sequence at once.
    pub id_block: u32,
}

/// How buckets move between shards.
#[derive(Debug, Clone)]
pub struct MovesConfig {
    /// Groups of one database that move at the same time, each from another shard.
    pub concurrency: usize,
    /// Bytes a second that are copied; zero: no limit.
    pub bandwidth: u64,
    /// Rows, as estimated, that move in one transaction; one bucket moves whole, whatever it holds.
    pub group_rows: u64,
    /// The same in bytes.
    pub group_bytes: u64,
}

#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// `/metrics` and `/health`; none: not served.
    pub address: Option<SocketAddr>,
    /// Roles that may connect to the admin database `oskol`; the cluster user always may.
    pub users: Vec<String>,
    /// What a shard shows that joins by `POST /shards`; none: none can.
    pub join_token: Option<Secret>,
}

#[derive(Debug, Clone)]
pub struct LogConfig {
    /// tracing-subscriber filter.
    pub level: String,
    pub json: bool,
    /// Statements that run longer are logged (text cut, literals and parameters left out).
    pub slow_statement: Duration,
}

#[cfg(test)]
mod tests;
