//! The settings that a shard needs, in a file of ours that `postgresql.conf` includes at its end. It is written anew
//! before each start; ALTER SYSTEM (postgresql.auto.conf) still wins, so operators keep the last word.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::error::AtPath;
use crate::{Result, ShardNode};

const FILE: &str = "oskol.conf";

/// Name and value; a later pair of the same name wins, as in PostgreSQL.
fn settings(node: &ShardNode) -> Vec<(String, String)> {
    let fixed = [
        ("listen_addresses", "127.0.0.1"),
        ("password_encryption", "scram-sha-256"),
        // Moving buckets uses logical replication.
        ("wal_level", "logical"),
        ("max_wal_senders", "20"),
        ("max_replication_slots", "20"),
        ("max_connections", "200"),
        // Transactions over several shards; as many as there can be connections.
        ("max_prepared_transactions", "200"),
        // Seven files, one a weekday; a week later each is begun anew.
        ("logging_collector", "on"),
        ("log_rotation_age", "1d"),
        ("log_rotation_size", "0"),
        ("log_truncate_on_rotation", "on"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
        ("cluster_name", &node.name),
    ];
    let mut all: Vec<(String, String)> = fixed
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    all.push(("port".to_owned(), node.port.to_string()));
    all.push((
        "unix_socket_directories".to_owned(),
        node.socket_directory.display().to_string(),
    ));
    all.push((
        "log_directory".to_owned(),
        node.log_directory.display().to_string(),
    ));
    all.push(("log_filename".to_owned(), format!("{}-%a.log", node.name)));
    all.extend(node.settings.iter().cloned());
    all
}

/// Writes the file of settings, owned by the server's user.
pub(crate) fn write(node: &ShardNode) -> Result<()> {
    let mut text =
        "# Written by oskol before each start: changes here are lost. Use ALTER SYSTEM.\n"
            .to_owned();
    for (name, value) in settings(node) {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
    }
    let path = node.data_directory.join(FILE);
    fs::write(&path, text).at("cannot write", &path)?;
    node.owner.give(&path)
}

/// Makes `postgresql.conf` include our file. Does nothing the second time.
pub(crate) fn include(data_directory: &Path) -> Result<()> {
    let path = data_directory.join("postgresql.conf");
    let text = fs::read_to_string(&path).at("cannot read", &path)?;
    let line = format!("include_if_exists = '{FILE}'");
    if text.lines().any(|present| present.trim() == line) {
        return Ok(());
    }
    fs::write(&path, format!("{text}\n{line}\n")).at("cannot write", &path)
}
