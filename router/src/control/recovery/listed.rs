//! The prepared transactions of the cluster, as all its shards list them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use topology::ShardId;

use crate::admin::board;
use crate::control::CLUSTER_DATABASE;
use crate::control::connections::Connections;
use crate::control::error::ControlError;
use crate::control::gid::GlobalId;

/// One global transaction as the shards list it.
#[derive(Debug, PartialEq)]
pub(super) struct InDoubt {
    pub(super) gid: String,
    pub(super) id: GlobalId,
    pub(super) database: String,
    pub(super) shards: BTreeSet<ShardId>,
    /// Of the youngest branch, in seconds.
    pub(super) age: f64,
}

/// What one look at all shards found.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) transactions: BTreeMap<(String, String), InDoubt>,
    /// Every shard was asked and answered.
    pub(super) complete: bool,
}

impl InDoubt {
    pub(super) fn shown(&self) -> board::InDoubt {
        board::InDoubt {
            gid: self.gid.clone(),
            database: self.database.clone(),
            shards: self.shards.iter().copied().collect(),
            // The server's clock may be set back.
            age: Duration::from_secs_f64(self.age.max(0.0)),
        }
    }
}

struct Branch {
    gid: String,
    id: GlobalId,
    database: String,
    age: f64,
}

impl Listed {
    fn add(&mut self, shard: ShardId, branch: Branch) {
        let Branch {
            gid,
            id,
            database,
            age,
        } = branch;
        let key = (database.clone(), gid.clone());
        let new = || InDoubt {
            gid,
            id,
            database,
            shards: BTreeSet::new(),
            age,
        };
        let transaction = self.transactions.entry(key).or_insert_with(new);
        transaction.shards.insert(shard);
        transaction.age = transaction.age.min(age);
    }
}

/// The prepared transactions of this cluster on one shard, in all its databases.
async fn prepared(
    connections: &Arc<Connections>,
    shard: ShardId,
    cluster: &str,
) -> Result<Vec<Branch>, ControlError> {
    let connection = connections.get(shard, CLUSTER_DATABASE).await?;
    let sql = "SELECT gid, database::text, extract(epoch FROM clock_timestamp() - prepared)::float8
        FROM pg_prepared_xacts WHERE starts_with(gid, $1)";
    let prefix = format!("oskol:{cluster}:");
    let rows = connection
        .query(sql, &[&prefix])
        .await
        .map_err(connection.failed())?;
    let branches = rows.iter().filter_map(|row| {
        let gid: String = row.get(0);
        let Ok(id) = gid.parse() else {
            tracing::error!(%gid, "a prepared transaction that no router has made is left alone");
            return None;
        };
        Some(Branch {
            gid,
            id,
            database: row.get(1),
            age: row.get(2),
        })
    });
    Ok(branches.collect())
}

/// A shard that hangs does not keep the others' transactions in doubt.
async fn in_time(
    connections: &Arc<Connections>,
    shard: ShardId,
    cluster: &str,
) -> Result<Vec<Branch>, ControlError> {
    const LIMIT: Duration = Duration::from_secs(3);
    let listed = tokio::time::timeout(LIMIT, prepared(connections, shard, cluster)).await;
    listed.unwrap_or(Err(ControlError::Timeout {
        what: "a list of prepared transactions",
        limit: LIMIT,
    }))
}

/// Asks every shard for the prepared transactions of `cluster`.
pub(super) async fn list(connections: &Arc<Connections>, cluster: &str) -> Listed {
    let shards = connections.shards();
    let lists = join_all(
        shards
            .iter()
            .map(async |shard| (shard.id, in_time(connections, shard.id, cluster).await)),
    );
    let mut listed = Listed {
        complete: true,
        ..Listed::default()
    };
    for (shard, list) in lists.await {
        match list {
            Ok(list) => list
                .into_iter()
                .for_each(|branch| listed.add(shard, branch)),
            Err(error) => {
                listed.complete = false;
                tracing::debug!(%shard, %error, "prepared transactions cannot be listed");
            }
        }
    }
    listed
}
