//! The definitions of one database, from the home shard to a server that joins: PostgreSQL's own pg_dump and pg_restore.
//!
//! Takes two addresses; needs the programs on this machine. Passwords go by the environment, not by arguments.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use shard_node::Binaries;
use tokio::process::Command;

use super::error::MoveError;
use crate::config::{Config, ShardConfig, SslMode};

/// A schema of thousands of tables takes seconds.
const LIMIT: Duration = Duration::from_secs(300);
/// The last part of what a program has said.
const TOLD: usize = 2_000;

/// Copies all definitions of `database` but those of schema `oskol`, in one transaction.
///
/// # Errors
/// The programs are not here, or say no; then nothing was made.
pub(super) async fn copy_schema(
    config: &Config,
    database: &str,
    from: &ShardConfig,
    to: &ShardConfig,
) -> Result<(), MoveError> {
    let binaries = Binaries::find(None).map_err(|error| {
        MoveError::Refused(format!("pg_dump and pg_restore are needed here: {error}"))
    })?;
    let directory = tempfile::tempdir().map_err(refused)?;
    let dump = directory.path().join("schema");
    let mut command = program(&binaries, "pg_dump", config, from, database);
    command.args(["--format=custom", "--schema-only", "--no-subscriptions"]);
    command
        .args(["--exclude-schema=oskol", "--file"])
        .arg(&dump);
    run(command).await?;
    let list = directory.path().join("list");
    let mut command = Command::new(binaries.program("pg_restore"));
    command.arg("--list").arg(&dump);
    std::fs::write(&list, without_ours(&run(command).await?)).map_err(refused)?;
    restore(&binaries, config, to, database, &list, &dump).await
}

async fn restore(
    binaries: &Binaries,
    config: &Config,
    to: &ShardConfig,
    database: &str,
    list: &Path,
    dump: &Path,
) -> Result<(), MoveError> {
    let mut command = program(binaries, "pg_restore", config, to, database);
    command.args(["--single-transaction", "--exit-on-error", "--use-list"]);
    command.arg(list).arg(dump);
    run(command).await.map(drop)
}

/// Event triggers are in no schema: ours are there already.
fn without_ours(list: &str) -> String {
    let is_theirs = |line: &&str| !line.contains(" EVENT TRIGGER - oskol_");
    let lines: Vec<&str> = list.lines().filter(is_theirs).collect();
    lines.join("\n")
}

fn program(
    binaries: &Binaries,
    name: &str,
    config: &Config,
    server: &ShardConfig,
    database: &str,
) -> Command {
    let cluster = &config.cluster;
    let mut command = Command::new(binaries.program(name));
    command.arg("--no-password").env("PGUSER", &cluster.user);
    command.envs(address(server));
    let mode = match cluster.tls.mode {
        SslMode::Disable => "disable",
        SslMode::Prefer => "prefer",
        SslMode::Require => "require",
        SslMode::VerifyCa => "verify-ca",
        SslMode::VerifyFull => "verify-full",
    };
    command.env("PGSSLMODE", mode).env("PGAPPNAME", "oskol");
    command.env(
        "PGCONNECT_TIMEOUT",
        cluster.connect_timeout.as_secs().max(2).to_string(),
    );
    if let Some(certificate) = &cluster.tls.root_certificate {
        command.env("PGSSLROOTCERT", certificate);
    }
    if let Some(password) = &cluster.password {
        command.env("PGPASSWORD", &password.0);
    }
    command.arg(format!("--dbname={}", connection_string(database)));
    command
}

/// Of several hosts the one that is the primary now.
fn address(server: &ShardConfig) -> [(&'static str, String); 3] {
    let each = server.each_host();
    let list =
        |part: fn(&ShardConfig) -> String| each.iter().map(part).collect::<Vec<_>>().join(",");
    let kind = if each.len() > 1 { "primary" } else { "any" };
    [
        ("PGHOST", list(|host| host.host.clone())),
        ("PGPORT", list(|host| host.port.to_string())),
        ("PGTARGETSESSIONATTRS", kind.to_owned()),
    ]
}

/// A name is taken for a connection string where it looks like one.
fn connection_string(database: &str) -> String {
    let quoted = database.replace('\\', "\\\\").replace('\'', "\\'");
    format!("dbname='{quoted}'")
}

/// Gives what the program has printed.
async fn run(mut command: Command) -> Result<String, MoveError> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let output = match tokio::time::timeout(LIMIT, command.output()).await {
        Ok(output) => output.map_err(|error| MoveError::Refused(format!("{name}: {error}")))?,
        Err(_) => {
            let limit = LIMIT.as_secs();
            return Err(MoveError::Later(format!(
                "{name} takes longer than {limit} s"
            )));
        }
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(TOLD).collect();
    Err(MoveError::Refused(format!("{name}: {said}")))
}

fn refused(error: std::io::Error) -> MoveError {
    MoveError::Refused(format!("no temporary file for the schema: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_triggers_of_ours_are_left_out() {
        let list = "1; 0 0 TABLE public a me\n2; 0 0 EVENT TRIGGER - oskol_guard me\n3; 0 0 EVENT TRIGGER - own me";
        let kept = without_ours(list);
        assert!(kept.contains("public a") && kept.contains("own") && !kept.contains("guard"));
    }

    #[test]
    fn of_several_hosts_the_primary_is_dumped() {
        let shard = |host: &str| ShardConfig {
            id: topology::ShardId(1),
            host: host.to_owned(),
            port: 5432,
            weight: 1.0,
            patroni: None,
        };
        let told = address(&shard("db1, db2:5433")).map(|(_, value)| value);
        assert_eq!(told, ["db1,db2", "5432,5433", "primary"]);
        let told = address(&shard("/run/pg")).map(|(_, value)| value);
        assert_eq!(told, ["/run/pg", "5432", "any"]);
    }

    #[test]
    fn names_that_look_like_connection_strings_are_names() {
        assert_eq!(connection_string("a='b'"), "dbname='a=\\'b\\''");
    }
}
