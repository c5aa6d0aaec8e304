//! Which server asks: whether it may be a shard, and which one.

use tokio_postgres::Client;
use topology::ShardId;

use super::super::databases;
use super::super::error::MoveError;
use super::{Joining, Newcomer};
use crate::check::{self, Verdict};
use crate::control::CLUSTER_DATABASE;
use crate::control::catalog::{StoredShard, stored_shards};
use crate::control::inner::Inner;

/// The newcomer's row in the catalog of the cluster's database, made where there is none.
pub(super) async fn reserve(
    inner: &Inner,
    newcomer: &Newcomer,
    lock: &Client,
) -> Result<StoredShard, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let stored = stored_shards(&home).await?;
    let mut present = stored.iter().filter(|shard| shard.state != "removed");
    let same_address =
        |shard: &&StoredShard| (&shard.host, shard.port) == (&newcomer.host, newcomer.port);
    let refused = |text: String| Err(MoveError::Refused(text));
    if let Some(shard) = present.clone().find(|shard| shard.name == newcomer.name) {
        return match same_address(&shard) {
            true => Ok(shard.clone()),
            false => readdress(inner, shard, newcomer, lock).await,
        };
    }
    if let Some(shard) = present.find(same_address) {
        return refused(format!(
            "shard {} ({}) is at that address",
            shard.id, shard.name
        ));
    }
    let last = stored.iter().map(|shard| shard.id.0).max().unwrap_or(0);
    let id = last
        .checked_add(1)
        .ok_or_else(|| MoveError::Refused("no number is left".into()))?;
    let sql = "INSERT INTO oskol.shards (id, name, host, port, weight, state) VALUES ($1, $2, $3, $4, $5, 'joining')";
    let (number, port) = (i32::from(id), i32::from(newcomer.port));
    home.execute(
        sql,
        &[
            &number,
            &newcomer.name,
            &newcomer.host,
            &port,
            &newcomer.weight,
        ],
    )
    .await
    .map_err(home.failed())?;
    Ok(StoredShard {
        id: ShardId(id),
        name: newcomer.name.clone(),
        host: newcomer.host.clone(),
        port: newcomer.port,
        weight: newcomer.weight,
        state: "joining".into(),
    })
}

/// A shard that is at another address now; it must be itself that is there.
async fn readdress(
    inner: &Inner,
    shard: &StoredShard,
    newcomer: &Newcomer,
    lock: &Client,
) -> Result<StoredShard, MoveError> {
    let moved = StoredShard {
        host: newcomer.host.clone(),
        port: newcomer.port,
        ..shard.clone()
    };
    let server = moved.config();
    if shard.state != "joining" {
        let joining = Joining {
            inner,
            server: &server,
            name: &newcomer.name,
            lock,
        };
        let client = joining.connect(CLUSTER_DATABASE).await?;
        let sql = "SELECT to_regclass('oskol.meta') IS NOT NULL";
        let found = client.query_one(sql, &[]).await.map_err(joining.failed())?;
        if !found.get::<_, bool>(0) {
            return Err(MoveError::Refused(format!(
                "shard {} has that name, at {}:{}, and another server asks for it",
                shard.id, shard.host, shard.port
            )));
        }
        joining.check_identity(&client).await?;
    }
    let (id, port) = (i32::from(shard.id.0), i32::from(newcomer.port));
    for database in databases(inner).await? {
        if inner.open(&database).await.is_err() {
            continue;
        }
        let home = inner.connections.get_home(&database).await?;
        let sql = "UPDATE oskol.shards SET host = $1, port = $2 WHERE id = $3";
        home.execute(sql, &[&newcomer.host, &port, &id])
            .await
            .map_err(home.failed())?;
        // Routers look at the shards when the map has changed.
        let sql = "UPDATE oskol.meta SET map_epoch = map_epoch + 1";
        home.execute(sql, &[]).await.map_err(home.failed())?;
    }
    Ok(moved)
}

impl Joining<'_> {
    /// It has the settings of a shard, and holds nothing of anybody's.
    pub(super) async fn check(&self) -> Result<(), MoveError> {
        let client = self.connect(CLUSTER_DATABASE).await?;
        let config = &self.inner.config;
        let (_, findings) = check::shard_findings(&client, config, self.server)
            .await
            .map_err(self.failed())?;
        let wrong: Vec<String> = findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Wrong)
            .map(ToString::to_string)
            .collect();
        if !wrong.is_empty() {
            return Err(MoveError::Refused(wrong.join("; ")));
        }
        let sql = "SELECT to_regclass('oskol.meta') IS NOT NULL, system_identifier,
            (SELECT count(*) FROM pg_database WHERE NOT datistemplate AND datname <> $1)
            + (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') FROM pg_control_system()";
        let row = client.query_one(sql, &[&CLUSTER_DATABASE]).await;
        let row = row.map_err(self.failed())?;
        let (has_schema, server, things): (bool, i64, i64) = (row.get(0), row.get(1), row.get(2));
        if has_schema {
            self.check_identity(&client).await?;
        }
        if self.has_begun_with(server).await? {
            return Ok(());
        }
        if has_schema {
            let name = &config.cluster.name;
            let id = self.server.id;
            return Err(MoveError::Refused(format!(
                "the server is shard {id} of another cluster of the name \"{name}\""
            )));
        }
        match things {
            0 => self.begin_with(server).await,
            _ => Err(MoveError::Refused(
                "the server is not empty: it has databases or tables, and a shard begins without"
                    .into(),
            )),
        }
    }

    /// Whether an attempt of before has found this server empty: what it has is of that. Its own word is not enough, as
    /// another cluster may have the same name.
    async fn has_begun_with(&self, server: i64) -> Result<bool, MoveError> {
        let home = self.inner.connections.get_home(CLUSTER_DATABASE).await?;
        let sql = "SELECT server IS NOT DISTINCT FROM $1 FROM oskol.shards WHERE id = $2";
        let id = i32::from(self.server.id.0);
        let row = home.query_one(sql, &[&Some(server), &id]).await;
        Ok(row.map_err(home.failed())?.get(0))
    }

    async fn begin_with(&self, server: i64) -> Result<(), MoveError> {
        let home = self.inner.connections.get_home(CLUSTER_DATABASE).await?;
        let sql = "UPDATE oskol.shards SET server = $1 WHERE id = $2";
        let id = i32::from(self.server.id.0);
        let noted = home.execute(sql, &[&server, &id]).await;
        noted.map_err(home.failed())?;
        Ok(())
    }

    /// It is this shard of this cluster, as far as it says so itself.
    async fn check_identity(&self, client: &Client) -> Result<(), MoveError> {
        let row = client
            .query_opt("SELECT cluster, shard FROM oskol.meta", &[])
            .await;
        let Some(row) = row.map_err(self.failed())? else {
            return Ok(());
        };
        let (cluster, shard): (String, i32) = (row.get(0), row.get(1));
        let ours = (&self.inner.config.cluster.name, i32::from(self.server.id.0));
        match (&cluster, shard) == ours {
            true => Ok(()),
            false => Err(MoveError::Refused(format!(
                "the server is shard {shard} of cluster \"{cluster}\""
            ))),
        }
    }
}
