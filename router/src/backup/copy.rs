//! One shard's part: a slot that keeps its WAL meanwhile, `pg_basebackup`, and `pg_receivewal` up to the restore point.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use shard_node::Binaries;
use tokio::process::Command;

use super::manifest::ShardManifest;
use super::{SLOT, WAL_PATIENCE, told};
use crate::config::{ClusterConfig, ShardConfig, SslMode};
use crate::dial::Dialer;
use crate::management;

/// The last part of what a program has said.
const TOLD: usize = 2_000;

pub(super) struct Copying<'a> {
    dialer: &'a Dialer,
    cluster: &'a ClusterConfig,
    binaries: &'a Binaries,
    pub(super) shard: &'a ShardConfig,
    directory: PathBuf,
}

impl<'a> Copying<'a> {
    pub(super) fn new(
        dialer: &'a Dialer,
        cluster: &'a ClusterConfig,
        binaries: &'a Binaries,
        shard: &'a ShardConfig,
        directory: &Path,
    ) -> Copying<'a> {
        Copying {
            dialer,
            cluster,
            binaries,
            shard,
            directory: directory.join(format!("shard-{}", shard.id)),
        }
    }

    /// The slot holds the WAL from now on. One that a killed backup has left goes first.
    pub(super) async fn make_slot(&self) -> anyhow::Result<()> {
        self.drop_slot().await?;
        let sql = format!("SELECT pg_create_physical_replication_slot('{SLOT}', true)");
        self.run(&sql).await
    }

    pub(super) async fn drop_slot(&self) -> anyhow::Result<()> {
        let sql = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{SLOT}' AND NOT active"
        );
        self.run(&sql).await
    }

    pub(super) async fn base_backup(&self) -> anyhow::Result<()> {
        let mut command = self.program("pg_basebackup");
        command.arg("--pgdata").arg(self.directory.join("data"));
        command.args(["--wal-method=none", "--checkpoint=fast", "--no-password"]);
        self.finish(command).await
    }

    /// To be called after the restore point was made.
    pub(super) async fn receive_wal(&self) -> anyhow::Result<ShardManifest> {
        let wal = self.directory.join("wal");
        std::fs::create_dir(&wal).with_context(|| format!("cannot make {}", wal.display()))?;
        let end = self.end_of_wal().await?;
        let mut command = self.program("pg_receivewal");
        command.arg("--directory").arg(&wal);
        command.args([
            "--no-password",
            "--no-loop",
            "--slot",
            SLOT,
            "--endpos",
            &end,
        ]);
        tokio::time::timeout(WAL_PATIENCE, self.finish(command))
            .await
            .with_context(|| format!("shard {}: its WAL does not come", self.shard.id))??;
        Ok(ShardManifest {
            shard: self.shard.id.0,
            host: self.shard.host.clone(),
            port: self.shard.port,
            end_of_wal: end,
        })
    }

    /// Behind a segment that is whole, and in WAL that is written: pg_receivewal ends there by itself.
    async fn end_of_wal(&self) -> anyhow::Result<String> {
        let client = self.connect().await?;
        let switch = "SELECT pg_switch_wal()";
        client.query_one(switch, &[]).await.map_err(told)?;
        let sql = "SELECT pg_create_restore_point('oskol_backup_end')::text";
        Ok(client.query_one(sql, &[]).await.map_err(told)?.get(0))
    }

    async fn connect(&self) -> anyhow::Result<tokio_postgres::Client> {
        let database = management::DATABASE;
        Ok(management::connect(self.dialer, self.cluster, self.shard, database).await?)
    }

    async fn run(&self, sql: &str) -> anyhow::Result<()> {
        let client = self.connect().await?;
        client
            .batch_execute(sql)
            .await
            .map_err(told)
            .with_context(|| format!("shard {}", self.shard.id))
    }

    /// Where it connects, and as whom, goes by the environment: arguments are seen by everybody on the machine.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.program(name));
        let hosts = self.shard.each_host();
        let list = |of: &dyn Fn(&ShardConfig) -> String| {
            hosts.iter().map(of).collect::<Vec<_>>().join(",")
        };
        command
            .env("PGHOST", list(&|host| host.host.clone()))
            .env("PGPORT", list(&|host| host.port.to_string()))
            .env("PGUSER", &self.cluster.user)
            .env("PGSSLMODE", ssl_mode(self.cluster.tls.mode));
        if hosts.len() > 1 {
            command.env("PGTARGETSESSIONATTRS", "primary");
        }
        if let Some(password) = &self.cluster.password {
            command.env("PGPASSWORD", &password.0);
        }
        if let Some(file) = &self.cluster.tls.root_certificate {
            command.env("PGSSLROOTCERT", file);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn finish(&self, mut command: Command) -> anyhow::Result<()> {
        let output = command
            .output()
            .await
            .context("PostgreSQL's programs cannot be run")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let from = said.len().saturating_sub(TOLD);
        let from = (from..=said.len())
            .find(|at| said.is_char_boundary(*at))
            .unwrap_or(0);
        bail!("shard {}: {}", self.shard.id, said[from..].trim());
    }
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
