//! A shard gives its buckets away, and leaves the cluster.

use super::error::MoveError;
use super::{databases, planning};
use crate::control::CLUSTER_DATABASE;
use crate::control::catalog::{StoredShard, learn_shards};
use crate::control::changes;
use crate::control::inner::Inner;

/// From now on no placement gives it a bucket; those that it has are moved.
pub(super) async fn drain(inner: &Inner, shard: &StoredShard) -> Result<(), MoveError> {
    if shard.id == inner.connections.home() {
        return Err(MoveError::Refused(
            "the home shard holds the catalog and local tables, and cannot be drained".into(),
        ));
    }
    let no_mover = planning::begin(inner).await?;
    set_draining(inner, shard, true).await?;
    let planned = planning::plan(inner).await?;
    if !planned.is_empty() {
        planning::start(inner, no_mover, "rebalance", &planned).await?;
    }
    Ok(())
}

/// One that was to be drained stays, with the buckets that it has, and gets its part of the next rebalance.
pub(super) async fn keep(inner: &Inner, shard: &StoredShard) -> Result<(), MoveError> {
    let _no_mover = planning::begin(inner).await?;
    set_draining(inner, shard, false).await
}

async fn set_draining(
    inner: &Inner,
    shard: &StoredShard,
    is_draining: bool,
) -> Result<(), MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql =
        "UPDATE oskol.shards SET state = $1 WHERE id = $2 AND state IN ('active', 'draining')";
    let state = if is_draining { "draining" } else { "active" };
    let set = home.execute(sql, &[&state, &i32::from(shard.id.0)]).await;
    match set.map_err(home.failed())? {
        0 => Err(MoveError::Refused(format!(
            "shard {} is {}",
            shard.id, shard.state
        ))),
        _ => Ok(()),
    }
}

/// Whatever comes next on its way out; gives the state that it is in. Behind a rebalance that is not over it waits for its turn.
pub(super) async fn retire(inner: &Inner, shard: &StoredShard) -> Result<String, MoveError> {
    if shard.state == "removed" {
        return Ok(shard.state.clone());
    }
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = "SELECT EXISTS (SELECT FROM oskol.rebalances WHERE state IN ('running', 'paused'))";
    let is_busy = home.query_one(sql, &[]).await.map_err(home.failed())?;
    drop(home);
    if is_busy.get(0) {
        return Ok(shard.state.clone());
    }
    // Where the last one has failed, it may work with a new plan.
    if shard.state == "active" || !planning::plan(inner).await?.is_empty() {
        drain(inner, shard).await?;
        return Ok("draining".to_owned());
    }
    remove(inner, shard).await?;
    Ok("removed".to_owned())
}

/// Takes a shard without buckets out of all catalogs; the server stays as it is.
pub(super) async fn remove(inner: &Inner, shard: &StoredShard) -> Result<(), MoveError> {
    let id = i32::from(shard.id.0);
    if shard.state == "joining" {
        return set_removed(inner, CLUSTER_DATABASE, id).await;
    }
    // Buckets might be on their way to it.
    let _no_mover = planning::begin(inner).await?;
    let databases = databases(inner).await?;
    for database in &databases {
        let home = inner.connections.get_home(database).await?;
        let sql = "SELECT count(*) FROM oskol.buckets WHERE shard = $1";
        let left: i64 = home
            .query_one(sql, &[&id])
            .await
            .map_err(home.failed())?
            .get(0);
        if left > 0 {
            return Err(MoveError::Refused(format!(
                "shard {} still has {left} buckets of database {database}: drain it first",
                shard.id
            )));
        }
    }
    // The cluster's own database is the last.
    for database in &databases {
        set_removed(inner, database, id).await?;
        let watched = inner.open(database).await?;
        let limit = inner.config.limits.catalog_timeout;
        changes::announce_catalog(&inner.connections, &watched, limit).await?;
    }
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    learn_shards(&home).await?;
    tracing::info!(shard = %shard.id, name = shard.name, "a shard was removed");
    Ok(())
}

/// Its address is free for another one; its number is not given again.
async fn set_removed(inner: &Inner, database: &str, id: i32) -> Result<(), MoveError> {
    let home = inner.connections.get_home(database).await?;
    let sql = "UPDATE oskol.shards SET state = 'removed', host = 'removed:' || id WHERE id = $1";
    home.execute(sql, &[&id]).await.map_err(home.failed())?;
    let sql = "UPDATE oskol.meta SET map_epoch = map_epoch + 1";
    home.execute(sql, &[]).await.map_err(home.failed())?;
    Ok(())
}
