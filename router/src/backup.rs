//! `oskol backup`, `oskol restore`: all shards as they were at one moment, made by PostgreSQL's own programs.
//!
//! Each shard gets a base backup and the WAL up to a *restore point* that has the same name everywhere. The points are made
//! while no transaction of several shards can be decided ([`barrier`]), so whatever was decided before is before its lead's point: a
//! participant's part is committed before its own point, or is prepared there and finished by the first router after the
//! restore, which finds the decision. Whatever was decided later is decided nowhere.
//!
//! Takes a configuration and directories; gives directories that servers start from. Must never know tables.

mod barrier;
mod copy;
mod manifest;
mod restore;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::future::try_join_all;
use shard_node::Binaries;
use tokio_postgres::Client;

use crate::config::{ClusterConfig, Config, ShardConfig};
use crate::dial::Dialer;
use crate::management::{self, reason};
use copy::Copying;
use manifest::{Manifest, ShardManifest};
pub use restore::{RestoreOptions, restore};

/// One backup of a cluster at a time.
const LOCK: &str = "SELECT pg_try_advisory_lock(8030875938590)";
/// Slots of ours begin so; one without a backup was left by one that was killed.
const SLOT: &str = "oskol_backup";

/// Backs all shards up into `directory`, which must not exist or be empty. `progress` gets a line for each step.
///
/// # Errors
/// A shard cannot be reached or read, the shards change meanwhile, or the disk is full. What was made on shards is taken
/// away; what is in the directory stays, and is no backup without its `backup.json`.
pub async fn backup(
    config: &Config,
    directory: &Path,
    mut progress: impl FnMut(&str),
) -> anyhow::Result<()> {
    let binaries = Binaries::find(None)?;
    manifest::prepare(directory)?;
    let cluster = &config.cluster;
    let dialer = Dialer::new(cluster)?;
    let home = home(&dialer, cluster).await?;
    let _alone = alone(&dialer, cluster).await?;
    let shards = shards(&home, cluster).await?;
    let name = point_name(cluster);
    let copies: Vec<Copying<'_>> = shards
        .iter()
        .map(|shard| Copying::new(&dialer, cluster, &binaries, shard, directory))
        .collect();
    let made = run(&dialer, cluster, &home, &copies, &name, &mut progress).await;
    let cleaned = try_join_all(copies.iter().map(Copying::drop_slot)).await;
    let points = made?;
    cleaned?;
    let manifest = Manifest {
        cluster: cluster.name.clone(),
        restore_point: name,
        postgresql: binaries.major_version,
        shards: points,
    };
    manifest.write(directory)?;
    progress(&format!("whole: {}", directory.display()));
    Ok(())
}

/// Makes a restore point of one moment on every shard and gives its name; for archives that other programs make.
///
/// # Errors
/// A shard cannot be reached, or another backup runs.
pub async fn points(config: &Config) -> anyhow::Result<String> {
    let cluster = &config.cluster;
    let dialer = Dialer::new(cluster)?;
    let home = home(&dialer, cluster).await?;
    let _alone = alone(&dialer, cluster).await?;
    let shards = shards(&home, cluster).await?;
    let name = point_name(cluster);
    let known: Vec<&ShardConfig> = shards.iter().collect();
    barrier::restore_points(&dialer, cluster, &home, &known, &name).await?;
    Ok(name)
}

/// With the seconds since 1970.
fn point_name(cluster: &ClusterConfig) -> String {
    format!("oskol_{}_{}", cluster.name, manifest::seconds_now())
}

async fn run(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    home: &Client,
    copies: &[Copying<'_>],
    name: &str,
    progress: &mut impl FnMut(&str),
) -> anyhow::Result<Vec<ShardManifest>> {
    try_join_all(copies.iter().map(Copying::make_slot)).await?;
    let started = Instant::now();
    progress(&format!("copying {} shards", copies.len()));
    try_join_all(copies.iter().map(Copying::base_backup)).await?;
    progress(&format!("copied in {} s", started.elapsed().as_secs()));
    let known: Vec<&ShardConfig> = copies.iter().map(|copy| copy.shard).collect();
    let held = barrier::restore_points(dialer, cluster, home, &known, name).await?;
    progress(&format!(
        "restore point {name}; no transaction of several shards was decided for {} ms",
        held.as_millis()
    ));
    if shards(home, cluster)
        .await?
        .iter()
        .map(|shard| shard.id)
        .ne(known.iter().map(|shard| shard.id))
    {
        bail!("the cluster's shards have changed during the backup; make another one");
    }
    try_join_all(copies.iter().map(Copying::receive_wal)).await
}

async fn home(dialer: &Dialer, cluster: &ClusterConfig) -> anyhow::Result<Client> {
    let shard = cluster.shards.find(cluster.home);
    let shard = shard.context("the home shard is not in the configuration")?;
    Ok(management::connect(dialer, cluster, &shard, management::DATABASE).await?)
}

/// The lock goes with the connection.
async fn alone(dialer: &Dialer, cluster: &ClusterConfig) -> anyhow::Result<Client> {
    let client = home(dialer, cluster).await?;
    let row = client.query_one(LOCK, &[]).await.map_err(told)?;
    if !row.get::<_, bool>(0) {
        bail!("another backup of this cluster is being made");
    }
    Ok(client)
}

/// As the catalog has them: more may have joined than the configuration names.
async fn shards(home: &Client, cluster: &ClusterConfig) -> anyhow::Result<Vec<ShardConfig>> {
    let sql = "SELECT id, host, port, weight FROM oskol.shards s
        WHERE s.state NOT IN ('removed', 'joining') ORDER BY id";
    let rows = home.query(sql, &[]).await.map_err(told)?;
    let shards: Result<Vec<_>, std::num::TryFromIntError> = rows
        .iter()
        .map(|row| {
            let id = topology::ShardId(u16::try_from(row.get::<_, i32>(0))?);
            Ok(cluster.shards.find(id).unwrap_or(ShardConfig {
                id,
                host: row.get(1),
                port: u16::try_from(row.get::<_, i32>(2))?,
                weight: row.get(3),
                patroni: None,
            }))
        })
        .collect();
    let shards = shards.context("the catalog has numbers that no shard can have")?;
    if shards.is_empty() {
        bail!("the catalog names no shard: start a router first");
    }
    Ok(shards)
}

fn told(error: tokio_postgres::Error) -> anyhow::Error {
    anyhow::anyhow!(reason(&error))
}

/// Longest wait for WAL that the shard has written already.
const WAL_PATIENCE: Duration = Duration::from_secs(3600);
