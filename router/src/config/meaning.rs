//! From the file as typed to what it means. All problems are collected, none ends the reading.

mod reader;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schema::TableRule;
use schema::rules::RulePlacement;
use topology::ShardId;

use super::error::ConfigError;
use super::file::{
    AdminFile, ClusterFile, ConfigFile, LimitsFile, ListenFile, LogFile, MovesFile, PoolFile,
    ReadsFile, ShardFile, TableFile, TlsFile, TransactionsFile,
};
use super::{
    AdminConfig, ClientAuth, ClientTls, ClientTlsMode, ClusterConfig, Config, CrossShardReads,
    Limits, ListenConfig, LogConfig, MovesConfig, PoolConfig, PoolMode, ReadFrom, ReadsConfig,
    Secret, ShardConfig, ShardTls, SslMode, TransactionsConfig,
};
use crate::patroni::Patroni;
use reader::{Reader, optional};

/// Turns the typed values into meaningful ones. `place` is what messages name: the file or the
/// environment. Reads `password_file`, and looks whether the TLS files are there.
pub fn meaning(file: &ConfigFile, place: &str) -> Result<Config, ConfigError> {
    let mut reader = Reader {
        place,
        problems: Vec::new(),
    };
    let config = Config {
        cluster: cluster(&mut reader, &file.cluster),
        listen: listen(&mut reader, &file.listen),
        client_auth: reader.choice(
            "auth.method",
            &file.auth.method,
            &[
                ("scram-sha-256", ClientAuth::ScramSha256),
                ("trust", ClientAuth::Trust),
            ],
        ),
        client_tls: client_tls(&mut reader, &file.tls),
        pool: pool(&mut reader, &file.pool),
        limits: limits(&mut reader, &file.limits),
        transactions: transactions(&mut reader, &file.transactions),
        reads: reads(&mut reader, &file.reads),
        moves: moves(&mut reader, &file.moves),
        admin: admin(&mut reader, &file.admin),
        log: log(&mut reader, &file.log),
        tables: tables(&mut reader, &file.tables),
    };
    if reader.problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError {
            problems: reader.problems,
        })
    }
}

fn cluster(reader: &mut Reader<'_>, file: &ClusterFile) -> ClusterConfig {
    let shards = shards(reader, &file.shards.0);
    let modes = [
        ("disable", SslMode::Disable),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let tls = ShardTls {
        mode: reader.choice("cluster.tls_mode", &file.tls_mode, &modes),
        root_certificate: reader.file("cluster.tls_root_certificate", &file.tls_root_certificate),
    };
    cluster_name(reader, &file.name);
    if file.user.is_empty() {
        reader.problem(
            "cluster.user",
            "is empty",
            "the name of a role with superuser rights on every shard",
        );
    }
    ClusterConfig {
        name: file.name.clone(),
        user: file.user.clone(),
        password: password(reader, file),
        home: home(reader, &file.home, &shards),
        shards: shards.into(),
        tls,
        connect_timeout: reader.positive_duration("cluster.connect_timeout", &file.connect_timeout),
        failover_timeout: reader.duration("cluster.failover_timeout", &file.failover_timeout),
    }
}

fn cluster_name(reader: &mut Reader<'_>, name: &str) {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > 16 || !name.chars().all(fits) {
        reader.problem(
            "cluster.name",
            format!("= {name:?} cannot be used"),
            "1 to 16 of a-z, 0-9 and _",
        );
    }
}

fn password(reader: &mut Reader<'_>, file: &ClusterFile) -> Option<Secret> {
    match (optional(&file.password), optional(&file.password_file)) {
        (Some(_), Some(_)) => {
            reader.problem(
                "cluster.password",
                "and cluster.password_file are both set",
                "one of the two",
            );
            None
        }
        (Some(password), None) => Some(Secret(password.to_owned())),
        (None, Some(path)) => secret_file(reader, "cluster.password_file", Path::new(path)),
        (None, None) => None,
    }
}

/// The file's text without the line end that editors add.
fn secret_file(reader: &mut Reader<'_>, key: &str, path: &Path) -> Option<Secret> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(Secret(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => {
            let wrong = format!("= {path:?} cannot be read: {error}");
            reader.problem(key, wrong, "a readable file that holds the secret");
            None
        }
    }
}

fn shards(reader: &mut Reader<'_>, files: &[ShardFile]) -> Vec<ShardConfig> {
    let mut ids = BTreeSet::new();
    let mut shards: Vec<ShardConfig> = files
        .iter()
        .map(|file| shard(reader, &mut ids, file))
        .collect();
    shards.sort_by_key(|shard| shard.id);
    shards
}

fn shard(reader: &mut Reader<'_>, ids: &mut BTreeSet<u16>, file: &ShardFile) -> ShardConfig {
    let key = format!("cluster.shards (id {})", file.id);
    if !ids.insert(file.id) {
        reader.problem(&key, "is there twice", "each id once");
    }
    if file.host.split(',').any(|host| host.trim().is_empty()) {
        reader.problem(
            &key,
            "has no host, or an empty one in its list",
            "a host name, an address, or the directory of a Unix socket; several parted by commas",
        );
    }
    if !(file.weight.is_finite() && file.weight > 0.0) {
        reader.problem(
            &key,
            format!("has weight {}", file.weight),
            "a number above zero",
        );
    }
    ShardConfig {
        id: ShardId(file.id),
        host: file.host.clone(),
        port: file.port,
        weight: file.weight,
        patroni: patroni(reader, &key, &file.patroni),
    }
}

/// Empty: the shard with the lowest id.
fn home(reader: &mut Reader<'_>, text: &str, shards: &[ShardConfig]) -> ShardId {
    let lowest = shards.first().map_or(ShardId(0), |shard| shard.id);
    let Some(text) = optional(text) else {
        return lowest;
    };
    let known = text
        .parse()
        .ok()
        .map(ShardId)
        .filter(|id| shards.iter().any(|shard| shard.id == *id));
    known.unwrap_or_else(|| {
        let ids: Vec<String> = shards.iter().map(|shard| shard.id.to_string()).collect();
        reader.problem(
            "cluster.home",
            format!("= {text:?} is no shard's id"),
            ids.join(", "),
        );
        lowest
    })
}

fn listen(reader: &mut Reader<'_>, file: &ListenFile) -> ListenConfig {
    let addresses: Vec<SocketAddr> = file
        .addresses
        .0
        .iter()
        .filter_map(|text| reader.address("listen.addresses", text))
        .collect();
    if file.addresses.0.is_empty() && file.unix_socket_directory.is_empty() {
        reader.problem(
            "listen.addresses",
            "is empty",
            "at least one address, or listen.unix_socket_directory",
        );
    }
    ListenConfig {
        addresses,
        unix_socket_directory: optional(&file.unix_socket_directory).map(PathBuf::from),
        workers: match reader.count("listen.workers", file.workers, 0, 1_024) {
            0 => default_workers(),
            workers => workers,
        },
        max_clients: reader.count("listen.max_clients", file.max_clients, 1, 1_000_000),
        handshake_timeout: reader
            .positive_duration("listen.handshake_timeout", &file.handshake_timeout),
        max_message_bytes: reader.size("listen.max_message", &file.max_message, 64 << 10, 1 << 30),
    }
}

/// Half of the cores: the shards or the application want the others.
fn default_workers() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / 2).max(1)
}

fn client_tls(reader: &mut Reader<'_>, file: &TlsFile) -> ClientTls {
    let modes = [
        ("disable", ClientTlsMode::Disable),
        ("allow", ClientTlsMode::Allow),
        ("require", ClientTlsMode::Require),
    ];
    let tls = ClientTls {
        mode: reader.choice("tls.mode", &file.mode, &modes),
        certificate: reader.file("tls.certificate", &file.certificate),
        key: reader.file("tls.key", &file.key),
        client_authority: reader.file("tls.client_authority", &file.client_authority),
    };
    if tls.mode != ClientTlsMode::Disable {
        for (key, path) in [("tls.certificate", &tls.certificate), ("tls.key", &tls.key)] {
            if path.is_none() {
                reader.problem(
                    key,
                    format!("is empty with tls.mode = {:?}", file.mode),
                    "a PEM file",
                );
            }
        }
    }
    tls
}

fn pool(reader: &mut Reader<'_>, file: &PoolFile) -> PoolConfig {
    let modes = [
        ("transaction", PoolMode::Transaction),
        ("session", PoolMode::Session),
    ];
    PoolConfig {
        mode: reader.choice("pool.mode", &file.mode, &modes),
        size: reader.count("pool.size", file.size, 1, 10_000),
        queue: reader.count("pool.queue", file.queue, 0, 1_000_000),
        checkout_timeout: reader.positive_duration("pool.checkout_timeout", &file.checkout_timeout),
        idle_timeout: reader.duration("pool.idle_timeout", &file.idle_timeout),
        lifetime: reader.duration("pool.lifetime", &file.lifetime),
        prepared_statements: reader.count(
            "pool.prepared_statements",
            file.prepared_statements,
            1,
            100_000,
        ),
    }
}

fn limits(reader: &mut Reader<'_>, file: &LimitsFile) -> Limits {
    let idle_in_transaction = &file.idle_in_transaction_timeout;
    Limits {
        statement_timeout: reader.duration("limits.statement_timeout", &file.statement_timeout),
        idle_in_transaction_timeout: reader
            .duration("limits.idle_in_transaction_timeout", idle_in_transaction),
        idle_client_timeout: reader
            .duration("limits.idle_client_timeout", &file.idle_client_timeout),
        merge_bytes: reader.size("limits.merge", &file.merge, 64 << 10, 1 << 40),
        cursor_bytes: reader.size("limits.cursor", &file.cursor, 64 << 10, 1 << 50),
        gather_bytes: reader.size("limits.gather", &file.gather, 64 << 10, 1 << 40),
        plan_cache: reader.count("limits.plan_cache", file.plan_cache, 1, 10_000_000),
        client_prepared_statements: reader.count(
            "limits.client_prepared_statements",
            file.client_prepared_statements,
            1,
            1_000_000,
        ),
        catalog_timeout: reader.positive_duration("limits.catalog_timeout", &file.catalog_timeout),
        id_block: id_block(reader, file.id_block),
    }
}

fn transactions(reader: &mut Reader<'_>, file: &TransactionsFile) -> TransactionsConfig {
    let reads = [
        ("plain", CrossShardReads::Plain),
        ("consistent", CrossShardReads::Consistent),
    ];
    TransactionsConfig {
        cross_shard_reads: reader.choice(
            "transactions.cross_shard_reads",
            &file.cross_shard_reads,
            &reads,
        ),
        barrier_timeout: reader
            .positive_duration("transactions.barrier_timeout", &file.barrier_timeout),
    }
}

fn reads(reader: &mut Reader<'_>, file: &ReadsFile) -> ReadsConfig {
    let most = 1 << 50;
    ReadsConfig {
        from: reader.choice("reads.from", &file.from, &ReadFrom::NAMES),
        max_lag: reader.positive_duration("reads.max_lag", &file.max_lag),
        max_lag_bytes: reader.size("reads.max_lag_bytes", &file.max_lag_bytes, 0, most) as u64,
        check_interval: reader.positive_duration("reads.check_interval", &file.check_interval),
    }
}

/// `http://host:port` of Patroni's REST interfaces.
fn patroni(reader: &mut Reader<'_>, key: &str, urls: &[String]) -> Option<Arc<Patroni>> {
    let mut endpoints = Vec::new();
    for url in urls {
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        let fits = |text: &&str| {
            let parts = text.rsplit_once(':');
            parts.is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
            })
        };
        match authority.filter(fits) {
            Some(authority) => endpoints.push(authority.to_owned()),
            None => reader.problem(
                format!("{key} patroni"),
                format!("= {url:?} cannot be asked"),
                "addresses of Patroni's REST interface, such as \"http://10.0.0.1:8008\" (TLS is not spoken there)",
            ),
        }
    }
    (!endpoints.is_empty()).then(|| Arc::new(Patroni::new(endpoints)))
}

fn id_block(reader: &mut Reader<'_>, value: u32) -> u32 {
    reader.count("limits.id_block", value as usize, 1, 1_000_000);
    value
}

fn moves(reader: &mut Reader<'_>, file: &MovesFile) -> MovesConfig {
    let most = 1 << 40;
    if file.group_rows == 0 {
        reader.problem("moves.group_rows", "is zero", "at least 1");
    }
    reader.count("moves.concurrency", file.concurrency, 1, 64);
    MovesConfig {
        concurrency: file.concurrency,
        bandwidth: reader.size("moves.bandwidth", &file.bandwidth, 0, most) as u64,
        group_rows: file.group_rows,
        group_bytes: reader.size("moves.group", &file.group, 1, most) as u64,
    }
}

fn admin(reader: &mut Reader<'_>, file: &AdminFile) -> AdminConfig {
    AdminConfig {
        address: optional(&file.address).and_then(|text| reader.address("admin.address", text)),
        users: file.users.0.clone(),
        join_token: optional(&file.join_token_file)
            .and_then(|path| secret_file(reader, "admin.join_token_file", Path::new(path))),
    }
}

fn log(reader: &mut Reader<'_>, file: &LogFile) -> LogConfig {
    if let Err(error) = tracing_subscriber::EnvFilter::try_new(&file.level) {
        let allowed =
            "error, warn, info, debug, trace, or a filter such as \"info,router::pool=debug\"";
        reader.problem("log.level", format!("= {:?}: {error}", file.level), allowed);
    }
    LogConfig {
        level: file.level.clone(),
        json: reader.choice(
            "log.format",
            &file.format,
            &[("text", false), ("json", true)],
        ),
        slow_statement: reader.duration("log.slow_statement", &file.slow_statement),
    }
}

fn tables(reader: &mut Reader<'_>, files: &[TableFile]) -> Vec<TableRule> {
    let mut seen = BTreeSet::new();
    for file in files {
        if !seen.insert((&file.database, &file.schema, &file.name)) {
            reader.problem(
                format!("tables ({})", file.name),
                "is there twice",
                "each table once",
            );
        }
    }
    files.iter().map(|file| table(reader, file)).collect()
}

fn table(reader: &mut Reader<'_>, file: &TableFile) -> TableRule {
    let key = format!("tables ({})", file.name);
    let placements = [
        ("sharded", RulePlacement::Sharded),
        ("reference", RulePlacement::Reference),
        ("local", RulePlacement::Local),
    ];
    let placement = reader.choice(format!("{key} placement"), &file.placement, &placements);
    if file.name.is_empty() {
        reader.problem(
            &key,
            "has no name",
            "the table's name as PostgreSQL stores it",
        );
    }
    match (placement, optional(&file.key)) {
        (RulePlacement::Sharded, None) => {
            reader.problem(&key, "is sharded without key", "key = \"a column\"")
        }
        (RulePlacement::Reference | RulePlacement::Local, Some(_)) => {
            reader.problem(
                &key,
                "has a key but is not sharded",
                "key with placement = \"sharded\" only",
            );
        }
        _ => {}
    }
    TableRule {
        schema: optional(&file.schema).map(str::to_owned),
        name: file.name.clone(),
        placement,
        key: optional(&file.key).map(str::to_owned),
        accept_unenforced: file.accept_unenforced,
        database: optional(&file.database).map(str::to_owned),
    }
}
