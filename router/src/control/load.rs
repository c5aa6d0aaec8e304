//! Reads what a database is planned with: catalog, shard map, OIDs of every shard.

use std::sync::Arc;

use futures_util::future::join_all;
use schema::oids::{OidDocument, OidMap};
use schema::{Snapshot, sql};
use topology::{ShardId, ShardMap};

use super::connections::{Connections, Lent};
use super::database::DatabaseState;
use super::error::ControlError;

/// A state, and what could not be read for it.
pub(crate) struct Loaded {
    pub(crate) state: DatabaseState,
    /// Every shard's OIDs are known. If not, those of before are used, and it should be read again.
    pub(crate) complete: bool,
}

/// Reads `database` anew; `previous` stands in for a shard that does not answer, and no client's
/// statement gets an answer from that one either.
pub(crate) async fn load(
    connections: &Arc<Connections>,
    database: &str,
    previous: Option<&DatabaseState>,
) -> Result<Loaded, ControlError> {
    let home = connections.get_home(database).await?;
    // OIDs of all shards are read while the catalog is.
    let (snapshot, documents) = tokio::join!(read_home(&home), read_oids(connections, database));
    let (snapshot, map) = snapshot?;
    let shards: Vec<ShardId> = connections.shards().iter().map(|shard| shard.id).collect();
    let complete = documents.iter().all(Result::is_ok);
    let oids = oid_maps(&shards, connections.home(), documents, previous)?;
    let (snapshot, map) = (Arc::new(snapshot), Arc::new(map));
    Ok(Loaded {
        state: DatabaseState {
            version: 1,
            snapshot,
            map,
            oids,
            shards,
        },
        complete,
    })
}

async fn read_home(home: &Lent) -> Result<(Snapshot, ShardMap), ControlError> {
    let failed = home.failed();
    let row = home.query_one(sql::SNAPSHOT, &[]).await.map_err(&failed)?;
    let snapshot = Snapshot::from_json(row.get(0))?;
    let map = "SELECT (SELECT map_epoch FROM oskol.meta),
        (SELECT array_agg(id) FROM oskol.shards),
        (SELECT array_agg(shard ORDER BY bucket) FROM oskol.buckets)";
    let row = home.query_one(map, &[]).await.map_err(failed)?;
    let ids = |column| -> Vec<ShardId> {
        let ids: Option<Vec<i32>> = row.get(column);
        // Checks on the tables keep them within 16 bits.
        ids.into_iter()
            .flatten()
            .map(|id| ShardId(id as u16))
            .collect()
    };
    let map = ShardMap::new(row.get::<_, i64>(0) as u64, home.shard(), ids(1), ids(2))?;
    Ok((snapshot, map))
}

async fn read_oids(
    connections: &Arc<Connections>,
    database: &str,
) -> Vec<Result<OidDocument, ControlError>> {
    let documents = connections.shards().iter().map(async |shard| {
        let connection = connections.get(shard.id, database).await?;
        let row = connection
            .query_one(sql::OIDS, &[])
            .await
            .map_err(connection.failed())?;
        Ok(OidDocument::from_json(row.get(0))?)
    });
    join_all(documents).await
}

/// By shard; `None` where nothing differs from the home shard.
fn oid_maps(
    shards: &[ShardId],
    home: ShardId,
    mut documents: Vec<Result<OidDocument, ControlError>>,
    previous: Option<&DatabaseState>,
) -> Result<Vec<Option<OidMap>>, ControlError> {
    let position = shards.iter().position(|shard| *shard == home);
    let home_document = match position {
        Some(position) => std::mem::replace(&mut documents[position], Ok(OidDocument::default()))?,
        None => OidDocument::default(),
    };
    let maps = shards
        .iter()
        .zip(documents)
        .map(|(shard, document)| match document {
            _ if *shard == home => None,
            Ok(document) => {
                Some(OidMap::new(&home_document, &document)).filter(|map| !map.is_identity())
            }
            Err(error) => {
                tracing::warn!(%shard, %error, "the OIDs of a shard cannot be read");
                previous
                    .and_then(|previous| previous.oids_of(*shard))
                    .cloned()
            }
        });
    Ok(maps.collect())
}
