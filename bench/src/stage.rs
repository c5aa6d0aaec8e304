//! All servers of one measurement, filled with the same data.

use std::path::Path;

use anyhow::{Context, ensure};
use shard_node::Owner;
use tempfile::TempDir;

use crate::endpoint::Endpoint;
use crate::leg::Leg;
use crate::load::Protocol;
use crate::oskol::Oskol;
use crate::pgbench;
use crate::pgbouncer::PgBouncer;
use crate::postgres::Postgres;

/// How the servers are set up.
pub struct Setup {
    /// pgbench's scale: 100,000 accounts per unit.
    pub scale: u32,
    /// Server connections per proxy and PostgreSQL server.
    pub pool: usize,
    /// Clients that a proxy must admit.
    pub clients: usize,
}

pub struct Stage {
    // Dropped in this order: proxies, their servers, the files.
    pgbouncer: Option<PgBouncer>,
    oskols: Vec<Oskol>,
    plain: Option<Postgres>,
    directory: TempDir,
}

impl Stage {
    /// Starts what `legs` need and fills it.
    pub async fn start(legs: &[Leg], setup: &Setup) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("oskol-bench-").tempdir()?;
        Owner::choose()?.make_directory(directory.path(), 0o755)?;
        let mut stage = Self {
            pgbouncer: None,
            oskols: Vec::new(),
            plain: None,
            directory,
        };
        for leg in legs {
            match leg.shards() {
                None => stage.add_plain(*leg, setup).await?,
                Some(shards) => stage.add_oskol(shards, setup).await?,
            }
        }
        Ok(stage)
    }

    async fn add_plain(&mut self, leg: Leg, setup: &Setup) -> anyhow::Result<()> {
        let directory = self.directory.path();
        if self.plain.is_none() {
            eprintln!("starting and filling PostgreSQL");
            let server = Postgres::start("plain", directory, &[]).await?;
            fill(&server.endpoint, setup.scale).await?;
            self.plain = Some(server);
        }
        if leg == Leg::Pgbouncer {
            let backend = &self.plain.as_ref().context("started above")?.endpoint;
            self.pgbouncer =
                Some(PgBouncer::start(directory, backend, setup.pool, setup.clients).await?);
        }
        Ok(())
    }

    async fn add_oskol(&mut self, shards: usize, setup: &Setup) -> anyhow::Result<()> {
        eprintln!("starting and filling Oskol on {shards} shard(s)");
        let oskol = Oskol::start(
            self.directory.path(),
            shards,
            setup.pool,
            setup.clients,
            &[],
        )
        .await?;
        fill(&oskol.endpoint, setup.scale).await?;
        ensure_divided(&oskol).await?;
        self.oskols.push(oskol);
        Ok(())
    }

    /// Where `leg` is reached with `protocol`.
    pub fn endpoint(&self, leg: Leg, protocol: Protocol) -> anyhow::Result<Endpoint> {
        Ok(match leg {
            Leg::Direct => self.plain()?.endpoint.clone(),
            Leg::Pgbouncer => self.pgbouncer()?.endpoint(protocol),
            Leg::Oskol1 | Leg::Oskol4 => self.oskol(leg)?.endpoint.clone(),
        })
    }

    /// The process between client and PostgreSQL, if there is one.
    pub fn proxy(&self, leg: Leg) -> anyhow::Result<Option<u32>> {
        Ok(match leg {
            Leg::Direct => None,
            Leg::Pgbouncer => Some(self.pgbouncer()?.pid()),
            Leg::Oskol1 | Leg::Oskol4 => Some(self.oskol(leg)?.pid()),
        })
    }

    /// Clears away what earlier runs left in the servers of `leg`, so that no run pays for another.
    pub async fn tidy(&self, leg: Leg) -> anyhow::Result<()> {
        let servers = match leg {
            Leg::Direct | Leg::Pgbouncer => std::slice::from_ref(self.plain()?),
            Leg::Oskol1 | Leg::Oskol4 => &self.oskol(leg)?.shards,
        };
        for server in servers {
            server
                .endpoint
                .execute(&["VACUUM pgbench_accounts", "CHECKPOINT"])
                .await?;
        }
        Ok(())
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn plain(&self) -> anyhow::Result<&Postgres> {
        self.plain.as_ref().context("PostgreSQL was not started")
    }

    fn pgbouncer(&self) -> anyhow::Result<&PgBouncer> {
        self.pgbouncer.as_ref().context("PgBouncer was not started")
    }

    fn oskol(&self, leg: Leg) -> anyhow::Result<&Oskol> {
        self.oskols
            .iter()
            .find(|oskol| Some(oskol.shards.len()) == leg.shards())
            .context("Oskol was not started")
    }
}

async fn fill(endpoint: &Endpoint, scale: u32) -> anyhow::Result<()> {
    pgbench::initialise(endpoint, scale).await?;
    let count = endpoint
        .value("SELECT count(*) FROM pgbench_accounts")
        .await?
        .unwrap_or_default();
    let expected = u64::from(scale) * 100_000;
    ensure!(
        count == expected.to_string(),
        "{count} accounts were loaded instead of {expected}"
    );
    Ok(())
}

/// A leg whose rows all ended on one shard would measure something else.
async fn ensure_divided(oskol: &Oskol) -> anyhow::Result<()> {
    for shard in &oskol.shards {
        let some = shard
            .endpoint
            .value("SELECT 1 FROM pgbench_accounts LIMIT 1")
            .await?;
        ensure!(
            some.is_some(),
            "a shard holds no accounts: the rule for pgbench_accounts was not followed"
        );
    }
    Ok(())
}
