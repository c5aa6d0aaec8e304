//! Moving buckets between shards while clients work, adding shards, and taking them away.
//!
//! Owns `oskol.rebalances` and `oskol.moves`, which any router takes up where another one has left them. A group of buckets
//! goes through these steps:
//! follow (a trigger notes what changes) -> copy into an open transaction of the target -> catch up and compare ->
//! hold in all routers -> the last changes -> one global transaction: rows, map, epoch + 1 -> let go.
//! Must never know statements of clients; what it needs of sessions it asks through `control/holds`.

mod as_owner;
mod create_database;
mod dump;
mod end;
mod error;
mod group;
mod join;
mod leave;
mod mover;
mod operations;
mod pace;
mod planning;
mod switch;
mod tables;
mod transfer;
mod verify;

pub(crate) use error::MoveError;
pub(in crate::control) use mover::watch;
pub(in crate::control) use operations::operate;

use super::CLUSTER_DATABASE;
use super::inner::Inner;

/// All databases that routers serve, that of the cluster last.
async fn databases(inner: &Inner) -> Result<Vec<String>, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate
        ORDER BY datname = $1, datname";
    let rows = home.query(sql, &[&CLUSTER_DATABASE]).await;
    let rows = rows.map_err(home.failed())?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
