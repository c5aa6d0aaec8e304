//! Reads what a database is planned with: catalog, shard map, OIDs of every shard.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use schema::oids::{OidDocument, OidMap};
use schema::{Snapshot, sql};
use topology::{ShardId, ShardMap};

use super::catalog;
use super::connections::{Connections, Lent};
use super::database::{DatabaseState, Tokens};
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
    let known: Vec<ShardId> = connections.shards().iter().map(|shard| shard.id).collect();
    // OIDs of the shards that are known are read while the catalog is.
    let (read, mut documents) =
        tokio::join!(read_home(&home), read_oids(connections, database, known));
    let (snapshot, map) = read?;
    let new = map.shards().iter().copied();
    let new = new.filter(|shard| !documents.contains_key(shard)).collect();
    documents.extend(read_oids(connections, database, new).await);
    let shards = map.shards().to_vec();
    let documents: Vec<_> = shards
        .iter()
        .filter_map(|shard| documents.remove(shard))
        .collect();
    let complete = documents.iter().all(Result::is_ok);
    let tokens = documents.iter().zip(&shards);
    let tokens = tokens.map(|(read, shard)| match read {
        Ok(read) => Arc::clone(&read.token),
        Err(_) => previous.map_or_else(|| Arc::from(""), |known| known.token_of(*shard)),
    });
    let tokens = Tokens::new(tokens.collect());
    let documents = documents.into_iter();
    let documents = documents.map(|read| read.map(|read| read.oids)).collect();
    let oids = oid_maps(&shards, connections.home(), documents, previous)?;
    let (snapshot, map) = (Arc::new(snapshot), Arc::new(map));
    Ok(Loaded {
        state: DatabaseState {
            version: 1,
            snapshot,
            map,
            oids,
            shards,
            tokens,
        },
        complete,
    })
}

/// The state with the shard map of now; the catalog is that of before.
///
/// # Errors
/// As [`load`]; and `None` where shards have come or gone, so that all must be read.
pub(crate) async fn load_map(
    connections: &Arc<Connections>,
    database: &str,
    previous: &DatabaseState,
) -> Result<Option<DatabaseState>, ControlError> {
    let home = connections.get_home(database).await?;
    let map = read_map(&home).await?;
    let same = map.shards() == previous.map.shards();
    Ok(same.then(|| DatabaseState {
        map: Arc::new(map),
        ..previous.clone()
    }))
}

async fn read_home(home: &Lent) -> Result<(Snapshot, ShardMap), ControlError> {
    let failed = home.failed();
    let row = home.query_one(sql::SNAPSHOT, &[]).await.map_err(&failed)?;
    let snapshot = Snapshot::from_json(row.get(0))?;
    // After the catalog, as its epoch stands for both.
    Ok((snapshot, read_map(home).await?))
}

async fn read_map(home: &Lent) -> Result<ShardMap, ControlError> {
    catalog::learn_shards(home).await?;
    let map = "SELECT (SELECT map_epoch FROM oskol.meta),
        (SELECT array_agg(id) FROM oskol.shards WHERE state IN ('active', 'draining')),
        (SELECT array_agg(shard ORDER BY bucket) FROM oskol.buckets)";
    let row = home.query_one(map, &[]).await.map_err(home.failed())?;
    let ids = |column| -> Vec<ShardId> {
        let ids: Option<Vec<i32>> = row.get(column);
        // Checks on the tables keep them within 16 bits.
        ids.into_iter()
            .flatten()
            .map(|id| ShardId(id as u16))
            .collect()
    };
    let epoch = row.get::<_, i64>(0) as u64;
    Ok(ShardMap::new(epoch, home.shard(), ids(1), ids(2))?)
}

/// What every shard has of its own.
struct OfShard {
    oids: OidDocument,
    token: Arc<str>,
}

type Documents = BTreeMap<ShardId, Result<OfShard, ControlError>>;

async fn read_oids(
    connections: &Arc<Connections>,
    database: &str,
    shards: Vec<ShardId>,
) -> Documents {
    let documents = shards.into_iter().map(async |shard| {
        let read = async {
            let connection = connections.get(shard, database).await?;
            let row = connection.query_one(sql::OIDS, &[]).await;
            let row = row.map_err(connection.failed())?;
            let oids = OidDocument::from_json(row.get(0))?;
            let row = connection.query_one(sql::TOKEN, &[]).await;
            let row = row.map_err(connection.failed())?;
            let token = Arc::from(row.get::<_, &str>(0));
            Ok(OfShard { oids, token })
        };
        (shard, read.await)
    });
    join_all(documents).await.into_iter().collect()
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
