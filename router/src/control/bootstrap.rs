//! Makes schema `oskol` in a database of every shard, and checks that the shards are who the
//! configuration says. Changes nothing in a database that has all of it.

mod map;
mod renewal;
mod silence;

use std::sync::Arc;

use futures_util::future::try_join_all;
use schema::sql;
use tokio_postgres::{Client, Transaction};
use topology::ShardId;

use super::connections::{Connections, Lent};
use super::error::{ControlError, Mismatch};
use crate::config::{Config, ShardConfig};
use crate::dial::address;

/// Two routers do not do it at the same time. Apart from the lock of `oskol.ddl_lock`.
const LOCK: &str = "SELECT pg_advisory_xact_lock(8030875938574)";

/// After this, `database` can be used by routers. A shard that cannot be reached is left out where the catalog is there: it has
/// been prepared before, and is looked at again before it is used (`control/load.rs`).
pub(crate) async fn prepare(
    config: &Config,
    connections: &Arc<Connections>,
    database: &str,
) -> Result<(), ControlError> {
    // The home shard first: a database that does not exist is not there either.
    let mut home = connections.get_home(database).await?;
    renewal::make_way(config, connections, &home, database).await?;
    prepare_server(config, &mut home, config.cluster.home, database).await?;
    super::catalog::learn_shards(&home).await?;
    let known = known_shards(&home).await?;
    let shards = connections.shards();
    let others = shards
        .iter()
        .filter(|shard| shard.id != config.cluster.home);
    let others = others.map(async |shard| {
        let mut connection = match connections.get(shard.id, database).await {
            Err(error) if error.is_unreachable() && known.has(shard) => {
                tracing::warn!(shard = %shard.id, database, %error, "a shard is not there: it is used once it is");
                return Ok(());
            }
            connection => connection?,
        };
        renewal::make_way(config, connections, &connection, database).await?;
        prepare_server(config, &mut connection, shard.id, database).await
    });
    try_join_all(others).await?;
    map::prepare(config, &mut home, database).await
}

/// The shards of a catalog, where it has them.
pub(super) struct KnownShards(Vec<(i32, String, i32)>);

impl KnownShards {
    /// An address that nobody has used yet may be a mistake.
    pub(super) fn has(&self, shard: &ShardConfig) -> bool {
        let (id, port) = (i32::from(shard.id.0), i32::from(shard.port));
        let mut all = self.0.iter();
        all.any(|known| (known.0, &*known.1, known.2) == (id, &*shard.host, port))
    }
}

/// None where this database has no catalog yet. `home`: the home shard's.
pub(super) async fn known_shards(home: &Lent) -> Result<KnownShards, ControlError> {
    let exists = "SELECT to_regclass('oskol.shards') IS NOT NULL";
    let exists = home.query_one(exists, &[]).await.map_err(home.failed())?;
    if !exists.get::<_, bool>(0) {
        return Ok(KnownShards(Vec::new()));
    }
    let sql = "SELECT id, host, port FROM oskol.shards";
    let rows = home.query(sql, &[]).await.map_err(home.failed())?;
    let known = rows.iter().map(|row| (row.get(0), row.get(1), row.get(2)));
    Ok(KnownShards(known.collect()))
}

/// What a shard's own `oskol.meta` says.
struct Meta {
    cluster: String,
    shard: i32,
    home: i32,
    version: i32,
}

/// The same for one server, which is, or is to be, `shard`.
pub(crate) async fn prepare_server(
    config: &Config,
    connection: &mut Client,
    shard: ShardId,
    database: &str,
) -> Result<(), ControlError> {
    let meta = read_meta(connection, shard).await?;
    if is_current(config, meta.as_ref(), shard, database)? {
        return Ok(());
    }
    let failed = ControlError::statement(shard);
    let transaction = connection.transaction().await.map_err(&failed)?;
    transaction.batch_execute(LOCK).await.map_err(&failed)?;
    let meta = read_meta(transaction.client(), shard).await?;
    if is_current(config, meta.as_ref(), shard, database)? {
        return Ok(());
    }
    check_owner(&transaction, shard, database).await?;
    install(config, &transaction, shard)
        .await
        .map_err(&failed)?;
    transaction.commit().await.map_err(failed)
}

async fn read_meta(client: &Client, shard: ShardId) -> Result<Option<Meta>, ControlError> {
    let failed = ControlError::statement(shard);
    let exists = "SELECT to_regclass('oskol.meta') IS NOT NULL";
    if !client
        .query_one(exists, &[])
        .await
        .map_err(&failed)?
        .get::<_, bool>(0)
    {
        return Ok(None);
    }
    let meta = "SELECT cluster, shard, home, version FROM oskol.meta";
    let row = client.query_opt(meta, &[]).await.map_err(failed)?;
    Ok(row.map(|row| Meta {
        cluster: row.get(0),
        shard: row.get(1),
        home: row.get(2),
        version: row.get(3),
    }))
}

/// Whether there is nothing to do; an error where this is not the server that is meant.
fn is_current(
    config: &Config,
    meta: Option<&Meta>,
    shard: ShardId,
    database: &str,
) -> Result<bool, ControlError> {
    let Some(meta) = meta else { return Ok(false) };
    let (cluster, home) = (&config.cluster.name, config.cluster.home);
    let database = database.to_owned();
    if (&meta.cluster, meta.shard, meta.home) != (cluster, shard.0.into(), home.0.into()) {
        let at = config.cluster.shards.find(shard);
        return Err(ControlError::Mismatch(Mismatch::WrongServer {
            address: at.as_ref().map(address).unwrap_or_default(),
            configured: shard,
            found: meta.shard,
            cluster: meta.cluster.clone(),
            home: meta.home,
        }));
    }
    if meta.version > sql::VERSION {
        let (found, known) = (meta.version, sql::VERSION);
        let newer = Mismatch::NewerSchema {
            database,
            shard,
            found,
            known,
        };
        return Err(ControlError::Mismatch(newer));
    }
    Ok(meta.version == sql::VERSION)
}

/// A schema of that name that an ordinary role owns was not made by a router.
async fn check_owner(
    transaction: &Transaction<'_>,
    shard: ShardId,
    database: &str,
) -> Result<(), ControlError> {
    let sql = "SELECT count(*) FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
        WHERE n.nspname = 'oskol' AND NOT r.rolsuper";
    let row = transaction
        .query_one(sql, &[])
        .await
        .map_err(ControlError::statement(shard))?;
    match row.get::<_, i64>(0) {
        0 => Ok(()),
        _ => {
            let database = database.to_owned();
            Err(ControlError::Mismatch(Mismatch::ForeignSchema {
                database,
                shard,
            }))
        }
    }
}

async fn install(
    config: &Config,
    transaction: &Transaction<'_>,
    shard: ShardId,
) -> Result<(), tokio_postgres::Error> {
    transaction.batch_execute(sql::SHARD).await?;
    transaction.batch_execute(sql::DOCUMENTS).await?;
    let meta = "INSERT INTO oskol.meta (cluster, shard, home, version) VALUES ($1, $2, $3, $4)
        ON CONFLICT (one) DO UPDATE SET version = excluded.version";
    let (number, home) = (i32::from(shard.0), i32::from(config.cluster.home.0));
    transaction
        .execute(meta, &[&config.cluster.name, &number, &home, &sql::VERSION])
        .await?;
    let rest = if shard == config.cluster.home {
        sql::HOME
    } else {
        sql::OTHER
    };
    transaction.batch_execute(rest).await
}
