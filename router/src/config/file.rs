//! The configuration as typed: one struct per section of `oskol.toml`, with its defaults.
//!
//! Takes a TOML file and the environment; gives a [`ConfigFile`]. What the values mean is decided in
//! [`super::meaning`], so that one reading tells all that is wrong and not the first thing only.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::error::{ConfigError, Problem};

/// The whole file. An empty text means "none" throughout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConfigFile {
    pub cluster: ClusterFile,
    pub listen: ListenFile,
    pub auth: AuthFile,
    pub tls: TlsFile,
    pub pool: PoolFile,
    pub limits: LimitsFile,
    pub transactions: TransactionsFile,
    pub reads: ReadsFile,
    pub moves: MovesFile,
    pub admin: AdminFile,
    pub log: LogFile,
    pub tables: Vec<TableFile>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterFile {
    pub name: String,
    pub user: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub password: String,
    pub password_file: String,
    pub home: String,
    pub connect_timeout: String,
    pub failover_timeout: String,
    pub tls_mode: String,
    pub tls_root_certificate: String,
    pub shards: ShardsFile,
}

impl Default for ClusterFile {
    fn default() -> Self {
        Self {
            name: "main".into(),
            user: "postgres".into(),
            password: String::new(),
            password_file: String::new(),
            home: String::new(),
            connect_timeout: "5s".into(),
            failover_timeout: "15s".into(),
            tls_mode: "disable".into(),
            tls_root_certificate: String::new(),
            shards: ShardsFile::default(),
        }
    }
}

/// `[[cluster.shards]]` tables, or in the environment `host:port,host:port` with ids from 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct ShardsFile(pub Vec<ShardFile>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardFile {
    pub id: u16,
    pub host: String,
    #[serde(default = "postgresql_port")]
    pub port: u16,
    #[serde(default = "one")]
    pub weight: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patroni: Vec<String>,
}

fn postgresql_port() -> u16 {
    5432
}

fn one() -> f64 {
    1.0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListenFile {
    pub addresses: List,
    pub unix_socket_directory: String,
    pub workers: usize,
    pub max_clients: usize,
    pub handshake_timeout: String,
    pub max_message: String,
}

impl Default for ListenFile {
    fn default() -> Self {
        Self {
            addresses: List(vec!["127.0.0.1:6432".into()]),
            unix_socket_directory: String::new(),
            workers: 0,
            max_clients: 10_000,
            handshake_timeout: "15s".into(),
            max_message: "256MiB".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthFile {
    pub method: String,
}

impl Default for AuthFile {
    fn default() -> Self {
        Self {
            method: "scram-sha-256".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFile {
    pub mode: String,
    pub certificate: String,
    pub key: String,
    pub client_authority: String,
}

impl Default for TlsFile {
    fn default() -> Self {
        Self {
            mode: "disable".into(),
            certificate: String::new(),
            key: String::new(),
            client_authority: String::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoolFile {
    pub mode: String,
    pub size: usize,
    pub queue: usize,
    pub checkout_timeout: String,
    pub idle_timeout: String,
    pub lifetime: String,
    pub prepared_statements: usize,
}

impl Default for PoolFile {
    fn default() -> Self {
        Self {
            mode: "transaction".into(),
            size: 20,
            queue: 1_000,
            checkout_timeout: "15s".into(),
            idle_timeout: "10min".into(),
            lifetime: "1h".into(),
            prepared_statements: 500,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsFile {
    pub statement_timeout: String,
    pub idle_in_transaction_timeout: String,
    pub idle_client_timeout: String,
    pub merge: String,
    pub cursor: String,
    pub gather: String,
    pub plan_cache: usize,
    pub client_prepared_statements: usize,
    pub catalog_timeout: String,
    pub id_block: u32,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            statement_timeout: "0".into(),
            idle_in_transaction_timeout: "0".into(),
            idle_client_timeout: "0".into(),
            merge: "64MiB".into(),
            cursor: "10GiB".into(),
            gather: "1GiB".into(),
            plan_cache: 10_000,
            client_prepared_statements: 10_000,
            catalog_timeout: "20s".into(),
            id_block: 32,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransactionsFile {
    pub cross_shard_reads: String,
    pub barrier_timeout: String,
}

impl Default for TransactionsFile {
    fn default() -> Self {
        Self {
            cross_shard_reads: "plain".into(),
            barrier_timeout: "3s".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadsFile {
    pub from: String,
    pub max_lag: String,
    pub max_lag_bytes: String,
    pub check_interval: String,
}

impl Default for ReadsFile {
    fn default() -> Self {
        Self {
            from: "primary".into(),
            max_lag: "10s".into(),
            max_lag_bytes: "0B".into(),
            check_interval: "500ms".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MovesFile {
    pub concurrency: usize,
    pub bandwidth: String,
    pub group_rows: u64,
    pub group: String,
}

impl Default for MovesFile {
    fn default() -> Self {
        Self {
            concurrency: 1,
            bandwidth: "0B".into(),
            group_rows: 50_000,
            group: "32MiB".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminFile {
    pub address: String,
    pub users: List,
    pub join_token_file: String,
}

impl Default for AdminFile {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:6433".into(),
            users: List::default(),
            join_token_file: String::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogFile {
    pub level: String,
    pub format: String,
    pub slow_statement: String,
}

impl Default for LogFile {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: "text".into(),
            slow_statement: "1s".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFile {
    pub name: String,
    #[serde(default)]
    pub schema: String,
    #[serde(default)]
    pub database: String,
    pub placement: String,
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub accept_unenforced: bool,
}

/// A list of texts; in the environment, parted by commas.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct List(pub Vec<String>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let items = from.deserialize_any(ListVisitor::<String>::new("a list of texts"))?;
        Ok(Self(items.into_iter().flat_map(Item::text).collect()))
    }
}

impl<'de> Deserialize<'de> for ShardsFile {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = "a list of shards, or \"host:port,host:port\"";
        let items = from.deserialize_any(ListVisitor::<ShardFile>::new(expected))?;
        let mut shards = Vec::new();
        for item in items {
            match item {
                Item::Typed(shard) => shards.push(shard),
                Item::Text(text) => {
                    shards.push(shard(&text, shards.len()).map_err(serde::de::Error::custom)?)
                }
            }
        }
        Ok(Self(shards))
    }
}

/// `host:port` with its place in the list as id.
fn shard(text: &str, position: usize) -> Result<ShardFile, String> {
    let wrong = || format!("{text:?} is not host:port");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = port.parse().map_err(|_| wrong())?;
    let id = u16::try_from(position).map_err(|_| "more than 65535 shards".to_owned())?;
    Ok(ShardFile {
        id,
        host,
        port,
        weight: 1.0,
        patroni: Vec::new(),
    })
}

enum Item<T> {
    Typed(T),
    Text(String),
}

impl Item<String> {
    fn text(self) -> Option<String> {
        match self {
            Item::Typed(text) | Item::Text(text) => Some(text),
        }
    }
}

struct ListVisitor<T> {
    expected: &'static str,
    of: std::marker::PhantomData<T>,
}

impl<T> ListVisitor<T> {
    fn new(expected: &'static str) -> Self {
        Self {
            expected,
            of: std::marker::PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<Item<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        Ok(parts.map(|part| Item::Text(part.to_owned())).collect())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(Item::Typed(item));
        }
        Ok(items)
    }
}

/// Name of the place that a value from the environment came from, for messages.
pub const ENVIRONMENT: &str = "the environment";

/// Reads the file, if any, and lays the environment over it: `OSKOL_POOL__SIZE=30` is `size` in
/// section `pool`. Variables without `__` are not configuration and are left alone.
pub fn read(
    path: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<ConfigFile, ConfigError> {
    let variables: HashMap<String, String> = environment
        .filter(|(name, _)| name.starts_with("OSKOL_") && name.contains("__"))
        .collect();
    if let Some(path) = path {
        check_readable(path)?;
    }
    let with_environment = !variables.is_empty();
    laid_over(path, variables).map_err(|error| {
        // The crate names the key, not where it stands.
        let is_of_environment = with_environment && laid_over(path, HashMap::new()).is_ok();
        unreadable(path.filter(|_| !is_of_environment), &error)
    })
}

fn laid_over(
    path: Option<&Path>,
    variables: HashMap<String, String>,
) -> Result<ConfigFile, config::ConfigError> {
    let mut builder = config::Config::builder();
    if let Some(path) = path {
        builder = builder.add_source(config::File::from(path).format(config::FileFormat::Toml));
    }
    let overlay = config::Environment::with_prefix("OSKOL")
        .prefix_separator("_")
        .separator("__")
        .source(Some(variables));
    builder.add_source(overlay).build()?.try_deserialize()
}

/// The crate's own message for a missing file does not say why.
fn check_readable(path: &Path) -> Result<(), ConfigError> {
    std::fs::read_to_string(path).map(drop).map_err(|error| {
        ConfigError::one(Problem {
            place: path.display().to_string(),
            key: String::new(),
            wrong: format!("cannot be read: {error}"),
            allowed: "a readable TOML file".into(),
        })
    })
}

fn unreadable(path: Option<&Path>, error: &config::ConfigError) -> ConfigError {
    let place = path.map_or(ENVIRONMENT.to_owned(), |path| path.display().to_string());
    ConfigError::one(Problem {
        place,
        key: String::new(),
        wrong: error.to_string(),
        allowed: String::new(),
    })
}
