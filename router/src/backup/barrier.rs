//! Restore points of one moment: made while no transaction of several shards can be decided.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures_util::future::try_join_all;
use tokio_postgres::Client;

use super::told;
use crate::config::{ClusterConfig, ShardConfig};
use crate::dial::Dialer;
use crate::management;

/// For decisions that are being made, of each shard and database.
const PATIENCE_MS: i32 = 5_000;

/// Makes a restore point `name` on every shard. Returns how long decisions waited.
///
/// # Errors
/// A shard does not answer, or a transaction is being decided for too long. The locks go with the connections.
pub(super) async fn restore_points(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    home: &Client,
    shards: &[&ShardConfig],
    name: &str,
) -> anyhow::Result<Duration> {
    let databases = databases(dialer, cluster, home).await?;
    // Connected before the first lock is taken, so that the wait is short.
    let mut holders = Vec::new();
    for shard in shards {
        for database in &databases {
            holders.push(management::connect(dialer, cluster, shard, database).await?);
        }
    }
    let points: Vec<Client> = try_join_all(
        shards
            .iter()
            .map(|shard| management::connect(dialer, cluster, shard, management::DATABASE)),
    )
    .await?;
    let started = Instant::now();
    // One after the other, the lowest shard first, as readers do: two that hold do not wait in a circle.
    for holder in &holders {
        let held = holder
            .execute("SELECT oskol.hold_decisions($1)", &[&PATIENCE_MS])
            .await;
        held.map_err(told)
            .context("the commit barrier cannot be had")?;
    }
    try_join_all(points.iter().map(async |client| {
        let made = client
            .query_one("SELECT pg_create_restore_point($1)", &[&name])
            .await;
        made.map(drop).map_err(told)
    }))
    .await?;
    drop(holders);
    Ok(started.elapsed())
}

/// Those with a catalog: advisory locks are a database's own.
async fn databases(
    dialer: &Dialer,
    cluster: &ClusterConfig,
    home: &Client,
) -> anyhow::Result<Vec<String>> {
    let shard = cluster.shards.find(cluster.home);
    let shard = shard.context("the home shard is not in the configuration")?;
    let sql = "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname";
    let mut with_catalog = Vec::new();
    for row in home.query(sql, &[]).await.map_err(told)? {
        let name: String = row.get(0);
        let client = management::connect(dialer, cluster, &shard, &name).await?;
        let sql = "SELECT to_regclass('oskol.decision') IS NOT NULL";
        if client.query_one(sql, &[]).await.map_err(told)?.get(0) {
            with_catalog.push(name);
        }
    }
    Ok(with_catalog)
}
