//! Reads what a database is planned with: catalog, shard map, OIDs of every shard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use schema::oids::{OidDocument, OidMap};
use schema::{Snapshot, sql};
use topology::{ShardId, ShardMap};

use super::bootstrap;
use super::catalog;
use super::connections::{Connections, Lent};
use super::database::{DatabaseState, Tokens};
use super::error::ControlError;
use crate::check::{self, Verdict};

/// Longest wait for a shard that was away: it is asked again and again, between signs of life to other routers.
const AWAY: Duration = Duration::from_secs(1);

/// A state, and what could not be read for it.
pub(crate) struct Loaded {
    pub(crate) state: DatabaseState,
    /// Every shard's OIDs are known. If not, those of before are used, and it should be read again.
    pub(crate) complete: bool,
}

/// Reads `database` anew; `previous` stands in for a shard that does not answer, and no client's
/// statement gets an answer from that one either. The caller says which life the state is of. `unsettled`: of those that were not
/// seen, the ones that count as seen only when the last move that the home shard knows of is committed there.
pub(crate) async fn load(
    connections: &Arc<Connections>,
    database: &str,
    previous: Option<&DatabaseState>,
    unsettled: &[ShardId],
) -> Result<Loaded, ControlError> {
    let home = connections.get_home(database).await?;
    let reader = OidReader {
        connections,
        database,
        previous,
    };
    let known: Vec<ShardId> = connections.shards().iter().map(|shard| shard.id).collect();
    // OIDs of the shards that are known are read while the catalog is.
    let (read, mut documents) = tokio::join!(read_home(&home), reader.read(known));
    let (snapshot, ReadMap { map, moved }) = read?;
    let new = map.shards().iter().copied();
    let new = new.filter(|shard| !documents.contains_key(shard)).collect();
    documents.extend(reader.read(new).await);
    let shards = map.shards().to_vec();
    for (shard, wanted) in shards.iter().zip(&moved) {
        if !unsettled.contains(shard) || !documents.get(shard).is_some_and(Result::is_ok) {
            continue;
        }
        match reader.moved(*shard).await {
            Ok(moved) if moved >= *wanted => {}
            Ok(_) => _ = documents.insert(*shard, Err(unsettled_move(*shard))),
            Err(error) => _ = documents.insert(*shard, Err(error)),
        }
    }
    let is_unseen = |shard: &ShardId| {
        !reader.has_seen(*shard) && !documents.get(shard).is_some_and(Result::is_ok)
    };
    let unseen = shards.iter().copied().filter(is_unseen).collect();
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
            life: 0,
            unseen,
            moved,
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
    let ReadMap { map, moved } = read_map(&home).await?;
    let same = map.shards() == previous.map.shards();
    Ok(same.then(|| DatabaseState {
        map: Arc::new(map),
        moved,
        ..previous.clone()
    }))
}

async fn read_home(home: &Lent) -> Result<(Snapshot, ReadMap), ControlError> {
    let failed = home.failed();
    let row = home.query_one(sql::SNAPSHOT, &[]).await.map_err(&failed)?;
    let snapshot = Snapshot::from_json(row.get(0))?;
    // After the catalog, as its epoch stands for both.
    Ok((snapshot, read_map(home).await?))
}

/// The shard map, and of each of its shards, ascending, the epoch after the last move from or to it.
struct ReadMap {
    map: ShardMap,
    moved: Vec<i64>,
}

async fn read_map(home: &Lent) -> Result<ReadMap, ControlError> {
    catalog::learn_shards(home).await?;
    let map = "SELECT (SELECT map_epoch FROM oskol.meta),
        (SELECT array_agg(id ORDER BY id) FROM oskol.shards WHERE state IN ('active', 'draining')),
        (SELECT array_agg(shard ORDER BY bucket) FROM oskol.buckets),
        (SELECT array_agg(moved ORDER BY id) FROM oskol.shards WHERE state IN ('active', 'draining'))";
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
    let moved: Option<Vec<i64>> = row.get(3);
    Ok(ReadMap {
        map: ShardMap::new(epoch, home.shard(), ids(1), ids(2))?,
        moved: moved.unwrap_or_default(),
    })
}

/// What every shard has of its own.
struct OfShard {
    oids: OidDocument,
    token: Arc<str>,
}

type Documents = BTreeMap<ShardId, Result<OfShard, ControlError>>;

/// Reads what shards have of their own.
struct OidReader<'a> {
    connections: &'a Arc<Connections>,
    database: &'a str,
    previous: Option<&'a DatabaseState>,
}

impl OidReader<'_> {
    async fn read(&self, shards: Vec<ShardId>) -> Documents {
        let documents = shards
            .into_iter()
            .map(async |shard| (shard, self.read_one(shard).await));
        join_all(documents).await.into_iter().collect()
    }

    fn has_seen(&self, shard: ShardId) -> bool {
        let seen =
            |known: &DatabaseState| known.shards.contains(&shard) && !known.unseen.contains(&shard);
        self.previous.is_some_and(seen)
    }

    async fn read_one(&self, shard: ShardId) -> Result<OfShard, ControlError> {
        let mut connection = self.connect(shard).await?;
        if !self.has_seen(shard) {
            self.see(&mut connection).await?;
        }
        let row = connection.query_one(sql::OIDS, &[]).await;
        let row = row.map_err(connection.failed())?;
        let oids = OidDocument::from_json(row.get(0))?;
        let row = connection.query_one(sql::TOKEN, &[]).await;
        let row = row.map_err(connection.failed())?;
        let token = Arc::from(row.get::<_, &str>(0));
        Ok(OfShard { oids, token })
    }

    async fn connect(&self, shard: ShardId) -> Result<Lent, ControlError> {
        let connected = self.connections.get(shard, self.database);
        if self.previous.is_none() || self.has_seen(shard) {
            return connected.await;
        }
        let late = |_| ControlError::Timeout {
            what: "a connection to a shard that was away",
            limit: AWAY,
        };
        tokio::time::timeout(AWAY, connected).await.map_err(late)?
    }

    /// It may have been away when this router was started: it must be the right server, with the settings of a shard, and
    /// have the schema of this router.
    async fn see(&self, connection: &mut Lent) -> Result<(), ControlError> {
        let shard = connection.shard();
        let Some(place) = connection.config().cluster.shards.find(shard) else {
            return Err(ControlError::UnknownShard(shard));
        };
        let found = check::shard_findings(connection, connection.config(), &place).await;
        let (_, findings) = found.map_err(connection.failed())?;
        let wrong = findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Wrong);
        let wrong: Vec<String> = wrong.map(ToString::to_string).collect();
        if !wrong.is_empty() {
            return Err(ControlError::Refused(wrong.join("; ")));
        }
        let config = Arc::clone(connection.shared_config());
        bootstrap::prepare_server(&config, connection, shard, self.database).await
    }

    /// The shard map's epoch after the last move that is committed on the shard.
    async fn moved(&self, shard: ShardId) -> Result<i64, ControlError> {
        let connection = self.connections.get(shard, self.database).await?;
        let row = connection
            .query_one("SELECT moved FROM oskol.applied", &[])
            .await;
        Ok(row.map_err(connection.failed())?.get(0))
    }
}

fn unsettled_move(shard: ShardId) -> ControlError {
    ControlError::Refused(format!(
        "shard {shard} has not committed the last move of its buckets yet"
    ))
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
