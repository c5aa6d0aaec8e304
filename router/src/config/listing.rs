//! The configuration in force, key by key, for SHOW CONFIG. Secrets are told as set or not.

use std::path::PathBuf;

use super::units::{print_duration, print_size};
use super::{ClientAuth, ClientTlsMode, Config, CrossShardReads, PoolMode, ReadFrom, SslMode};

/// Keys as in `oskol.toml`, with their values as typed there. The same keys in the same order
/// whatever the configuration.
pub fn listing(config: &Config) -> Vec<(&'static str, String)> {
    [
        cluster(config),
        listen(config),
        pool(config),
        limits(config),
        transactions(config),
        reads(config),
        rest(config),
    ]
    .concat()
}

type Entries = Vec<(&'static str, String)>;

fn cluster(config: &Config) -> Entries {
    let cluster = &config.cluster;
    let password = if cluster.password.is_some() {
        "(set)"
    } else {
        ""
    };
    vec![
        ("cluster.name", cluster.name.clone()),
        ("cluster.user", cluster.user.clone()),
        ("cluster.password", password.to_owned()),
        ("cluster.home", cluster.home.to_string()),
        (
            "cluster.connect_timeout",
            print_duration(cluster.connect_timeout),
        ),
        ("cluster.tls_mode", ssl_mode(cluster.tls.mode).to_owned()),
        (
            "cluster.tls_root_certificate",
            path(cluster.tls.root_certificate.as_ref()),
        ),
    ]
}

fn listen(config: &Config) -> Entries {
    let listen = &config.listen;
    let addresses: Vec<String> = listen.addresses.iter().map(ToString::to_string).collect();
    vec![
        ("listen.addresses", addresses.join(",")),
        (
            "listen.unix_socket_directory",
            path(listen.unix_socket_directory.as_ref()),
        ),
        ("listen.workers", listen.workers.to_string()),
        ("listen.max_clients", listen.max_clients.to_string()),
        (
            "listen.handshake_timeout",
            print_duration(listen.handshake_timeout),
        ),
        ("listen.max_message", print_size(listen.max_message_bytes)),
        ("auth.method", auth_method(config.client_auth).to_owned()),
        ("tls.mode", tls_mode(config.client_tls.mode).to_owned()),
        (
            "tls.certificate",
            path(config.client_tls.certificate.as_ref()),
        ),
        ("tls.key", path(config.client_tls.key.as_ref())),
        (
            "tls.client_authority",
            path(config.client_tls.client_authority.as_ref()),
        ),
    ]
}

fn pool(config: &Config) -> Entries {
    let pool = &config.pool;
    let mode = match pool.mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
    };
    vec![
        ("pool.mode", mode.to_owned()),
        ("pool.size", pool.size.to_string()),
        ("pool.queue", pool.queue.to_string()),
        (
            "pool.checkout_timeout",
            print_duration(pool.checkout_timeout),
        ),
        ("pool.idle_timeout", print_duration(pool.idle_timeout)),
        ("pool.lifetime", print_duration(pool.lifetime)),
        (
            "pool.prepared_statements",
            pool.prepared_statements.to_string(),
        ),
    ]
}

fn limits(config: &Config) -> Entries {
    let limits = &config.limits;
    let in_transaction = print_duration(limits.idle_in_transaction_timeout);
    vec![
        (
            "limits.statement_timeout",
            print_duration(limits.statement_timeout),
        ),
        ("limits.idle_in_transaction_timeout", in_transaction),
        (
            "limits.idle_client_timeout",
            print_duration(limits.idle_client_timeout),
        ),
        ("limits.merge", print_size(limits.merge_bytes)),
        ("limits.cursor", print_size(limits.cursor_bytes)),
        ("limits.gather", print_size(limits.gather_bytes)),
        ("limits.plan_cache", limits.plan_cache.to_string()),
        (
            "limits.client_prepared_statements",
            limits.client_prepared_statements.to_string(),
        ),
        (
            "limits.catalog_timeout",
            print_duration(limits.catalog_timeout),
        ),
        ("limits.id_block", limits.id_block.to_string()),
    ]
}

fn transactions(config: &Config) -> Entries {
    let transactions = &config.transactions;
    let reads = match transactions.cross_shard_reads {
        CrossShardReads::Plain => "plain",
        CrossShardReads::Consistent => "consistent",
    };
    vec![
        ("transactions.cross_shard_reads", reads.to_owned()),
        (
            "transactions.barrier_timeout",
            print_duration(transactions.barrier_timeout),
        ),
    ]
}

fn reads(config: &Config) -> Entries {
    let reads = &config.reads;
    let mut names = ReadFrom::NAMES.iter();
    let from = names
        .find(|(_, from)| *from == reads.from)
        .map_or("", |(name, _)| name);
    vec![
        ("reads.from", from.to_owned()),
        ("reads.max_lag", print_duration(reads.max_lag)),
        (
            "reads.max_lag_bytes",
            print_size(reads.max_lag_bytes as usize),
        ),
        ("reads.check_interval", print_duration(reads.check_interval)),
    ]
}

fn rest(config: &Config) -> Entries {
    let address = config
        .admin
        .address
        .map(|address| address.to_string())
        .unwrap_or_default();
    let token = match config.admin.join_token {
        Some(_) => "(set)",
        None => "",
    };
    let format = if config.log.json { "json" } else { "text" };
    vec![
        ("moves.concurrency", config.moves.concurrency.to_string()),
        (
            "moves.bandwidth",
            print_size(config.moves.bandwidth as usize),
        ),
        ("moves.group_rows", config.moves.group_rows.to_string()),
        ("moves.group", print_size(config.moves.group_bytes as usize)),
        ("admin.address", address),
        ("admin.users", config.admin.users.join(",")),
        ("admin.join_token_file", token.to_owned()),
        ("log.level", config.log.level.clone()),
        ("log.format", format.to_owned()),
        (
            "log.slow_statement",
            print_duration(config.log.slow_statement),
        ),
    ]
}

fn path(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}

fn ssl_mode(mode: SslMode) -> &'static str {
    match mode {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    }
}

fn auth_method(method: ClientAuth) -> &'static str {
    match method {
        ClientAuth::ScramSha256 => "scram-sha-256",
        ClientAuth::Trust => "trust",
    }
}

fn tls_mode(mode: ClientTlsMode) -> &'static str {
    match mode {
        ClientTlsMode::Disable => "disable",
        ClientTlsMode::Allow => "allow",
        ClientTlsMode::Require => "require",
    }
}
