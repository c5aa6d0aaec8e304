//! Whether each shard serves: looked at every few seconds over a connection of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use topology::ShardId;

use super::Board;
use crate::config::{ClusterConfig, ShardConfig};
use crate::dial::Dialer;
use crate::management::{self, reason};
use crate::shutdown::Shutdown;

/// Between two looks at a shard.
const PERIOD: Duration = Duration::from_secs(2);

/// A standby answers too, but writes would fail there.
const LOOK: &str = "SELECT pg_is_in_recovery(), current_setting('server_version')";

/// Looks at all shards until `shutdown`, and writes what it finds to `board`. To be run on the control
/// thread's runtime.
pub async fn watch(cluster: ClusterConfig, dialer: Dialer, board: Arc<Board>, shutdown: Shutdown) {
    let cluster = Arc::new(cluster);
    // Dropped at the end, and all watches with it.
    let mut watches = tokio::task::JoinSet::new();
    let mut watched = BTreeSet::new();
    let mut shutdown = shutdown;
    loop {
        for shard in cluster.shards.all().iter() {
            if watched.insert(shard.id) {
                let (cluster, dialer, board) =
                    (Arc::clone(&cluster), dialer.clone(), Arc::clone(&board));
                let id = shard.id;
                watches.spawn(async move {
                    watch_shard(&cluster, &dialer, id, &board).await;
                    id
                });
            }
        }
        tokio::select! {
            () = shutdown.requested() => return,
            Some(Ok(removed)) = watches.join_next() => {
                watched.remove(&removed);
            }
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

/// Until the shard is removed.
async fn watch_shard(cluster: &ClusterConfig, dialer: &Dialer, shard: ShardId, board: &Board) {
    let mut kept = None;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while let Some(shard) = cluster.shards.find(shard) {
        ticks.tick().await;
        let started = Instant::now();
        let found = look(cluster, dialer, &shard, &mut kept).await;
        board.set_shard(shard.id, found, started.elapsed());
    }
}

/// The server's version, or why it does not serve. A connection that failed is not kept.
async fn look(
    cluster: &ClusterConfig,
    dialer: &Dialer,
    shard: &ShardConfig,
    kept: &mut Option<Client>,
) -> Result<String, String> {
    let client = match kept.take() {
        Some(client) => client,
        None => management::connect(dialer, cluster, shard, management::DATABASE)
            .await
            .map_err(|error| error.to_string())?,
    };
    let limit = cluster.connect_timeout;
    let row = match tokio::time::timeout(limit, client.query_one(LOOK, &[])).await {
        Ok(row) => row.map_err(|error| reason(&error))?,
        Err(_) => return Err(format!("no answer within {} ms", limit.as_millis())),
    };
    let in_recovery: bool = row.try_get(0).map_err(|error| reason(&error))?;
    let version: String = row.try_get(1).map_err(|error| reason(&error))?;
    *kept = Some(client);
    if in_recovery {
        return Err("is a standby in recovery".to_owned());
    }
    // "15.4 (Debian 15.4-1)"
    Ok(version.split(' ').next().unwrap_or_default().to_owned())
}
