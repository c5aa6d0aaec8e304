//! The shards that the catalog knows, beyond those of the configuration.

use topology::ShardId;

use super::CLUSTER_DATABASE;
use super::connections::Lent;
use super::error::ControlError;
use crate::config::ShardConfig;

/// A row of `oskol.shards`.
#[derive(Debug, Clone)]
pub(crate) struct StoredShard {
    pub(crate) id: ShardId,
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) weight: f64,
    /// `joining`, `active`, `draining` or `removed`.
    pub(crate) state: String,
}

impl StoredShard {
    pub(crate) fn config(&self) -> ShardConfig {
        ShardConfig {
            id: self.id,
            host: self.host.clone(),
            port: self.port,
            weight: self.weight,
            patroni: None,
        }
    }
}

/// Ascending; those removed, too.
pub(crate) async fn stored_shards(home: &Lent) -> Result<Vec<StoredShard>, ControlError> {
    let sql = "SELECT id, coalesce(name, 'shard-' || id), host, port, weight, state FROM oskol.shards ORDER BY id";
    let rows = home.query(sql, &[]).await.map_err(home.failed())?;
    // Checks on the table keep the numbers within 16 bits.
    let stored = rows.iter().map(|row| StoredShard {
        id: ShardId(row.get::<_, i32>(0) as u16),
        name: row.get(1),
        host: row.get(2),
        port: row.get::<_, i32>(3) as u16,
        weight: row.get(4),
        state: row.get(5),
    });
    Ok(stored.collect())
}

/// Takes over shards that were added since the configuration was written, and leaves those that were removed. The
/// configuration's own word counts for the address of a shard that it names.
pub(crate) async fn learn_shards(home: &Lent) -> Result<(), ControlError> {
    let list = &home.config().cluster.shards;
    for stored in stored_shards(home).await? {
        let known = list.find(stored.id);
        if stored.state == "removed" {
            // Other databases are left before this one.
            if known.is_some() && home.database() == CLUSTER_DATABASE {
                tracing::info!(shard = %stored.id, "a shard has left the cluster");
                list.remove(stored.id);
            }
        } else if stored.state != "joining" && !list.is_configured(stored.id) {
            let config = stored.config();
            let same =
                |known: &ShardConfig| (&known.host, known.port) == (&config.host, config.port);
            if !known.as_ref().is_some_and(same) {
                tracing::info!(shard = %stored.id, name = stored.name, "learned of a shard");
                list.put(config);
            }
        }
    }
    Ok(())
}
