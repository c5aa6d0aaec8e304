//! The stored shard map of a database: written at first, compared with the configuration ever after.
//!
//! A shard whose address differs is the same shard (its own `oskol.meta` was asked): it has moved, or its
//! standby took over. That is taken over from the configuration, unless another router lives, which
//! would go on writing to the old address.

use tokio_postgres::{Client, Transaction};
use topology::{ShardMap, WeightedShard};

use super::{LOCK, silence};
use crate::config::{Config, ShardConfig};
use crate::control::connections::Lent;
use crate::control::error::{ControlError, Mismatch};

struct StoredShard {
    id: i32,
    host: String,
    port: i32,
}

impl StoredShard {
    fn is(&self, shard: &ShardConfig) -> bool {
        self.id == i32::from(shard.id.0)
    }

    fn is_at_address_of(&self, shard: &ShardConfig) -> bool {
        (&self.host, self.port) == (&shard.host, i32::from(shard.port))
    }
}

pub(super) async fn prepare(
    config: &Config,
    home: &mut Lent,
    database: &str,
) -> Result<(), ControlError> {
    let failed = home.failed();
    let stored = read_shards(home).await.map_err(&failed)?;
    if let Some(mismatch) = moved(config, &stored, database) {
        silence::wait(config, home, mismatch).await?;
    } else if !stored.is_empty() {
        tell_strangers(config, &stored, database);
        return Ok(());
    }
    let transaction = home.transaction().await.map_err(&failed)?;
    transaction.batch_execute(LOCK).await.map_err(&failed)?;
    let stored = read_shards(transaction.client()).await.map_err(&failed)?;
    write_shards(&config.cluster.shards.all(), &stored, &transaction)
        .await
        .map_err(&failed)?;
    if stored.is_empty() {
        let map = ShardMap::place(config.cluster.home, &weighted(config))?;
        write_buckets(&map, &transaction).await.map_err(&failed)?;
    }
    transaction.commit().await.map_err(failed)
}

async fn read_shards(client: &Client) -> Result<Vec<StoredShard>, tokio_postgres::Error> {
    let sql =
        "SELECT id, host, port FROM oskol.shards WHERE state IN ('active', 'draining') ORDER BY id";
    let rows = client.query(sql, &[]).await?;
    let stored = |row: &tokio_postgres::Row| StoredShard {
        id: row.get(0),
        host: row.get(1),
        port: row.get(2),
    };
    Ok(rows.iter().map(stored).collect())
}

/// A shard of the configuration that is none of the cluster's has none of its tables.
fn tell_strangers(config: &Config, stored: &[StoredShard], database: &str) {
    for shard in config.cluster.shards.all().iter() {
        if !stored.iter().any(|stored| stored.is(shard)) {
            tracing::warn!(shard = %shard.id, database, "a shard of the configuration is not in the cluster: add it with oskol shard add");
        }
    }
}

/// The first shard that is configured at another address than the stored one.
fn moved(config: &Config, stored: &[StoredShard], database: &str) -> Option<Mismatch> {
    let find = |stored: &StoredShard| {
        let shards = config.cluster.shards.all();
        let shard = shards
            .iter()
            .find(|shard| stored.is(shard) && !stored.is_at_address_of(shard))?;
        Some(Mismatch::OtherAddress {
            database: database.to_owned(),
            shard: shard.id,
            stored: format!("{}:{}", stored.host, stored.port),
            configured: format!("{}:{}", shard.host, shard.port),
        })
    };
    stored.iter().find_map(find)
}

/// All of them at first; later the addresses and weights of those that are known.
async fn write_shards(
    shards: &[ShardConfig],
    stored: &[StoredShard],
    transaction: &Transaction<'_>,
) -> Result<(), tokio_postgres::Error> {
    let sql = "INSERT INTO oskol.shards (id, host, port, weight) VALUES ($1, $2, $3, $4)
        ON CONFLICT (id) DO UPDATE SET host = excluded.host, port = excluded.port,
        weight = excluded.weight";
    let is_known = |shard: &&ShardConfig| stored.is_empty() || stored.iter().any(|s| s.is(shard));
    for shard in shards.iter().filter(is_known) {
        let (id, port) = (i32::from(shard.id.0), i32::from(shard.port));
        transaction
            .execute(sql, &[&id, &shard.host, &port, &shard.weight])
            .await?;
    }
    Ok(())
}

async fn write_buckets(
    map: &ShardMap,
    transaction: &Transaction<'_>,
) -> Result<(), tokio_postgres::Error> {
    let owners: Vec<i32> = map
        .shards_by_bucket()
        .iter()
        .map(|shard| i32::from(shard.0))
        .collect();
    let sql = "INSERT INTO oskol.buckets (bucket, shard)
        SELECT place - 1, shard FROM unnest($1::int4[]) WITH ORDINALITY AS owner (shard, place)";
    transaction.execute(sql, &[&owners]).await?;
    Ok(())
}

fn weighted(config: &Config) -> Vec<WeightedShard> {
    let shards = config.cluster.shards.all();
    let weighted = |shard: &ShardConfig| WeightedShard {
        id: shard.id,
        weight: shard.weight,
    };
    shards.iter().map(weighted).collect()
}
