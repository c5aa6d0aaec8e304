//! Which buckets should move, and what that means: read from the catalogs, decided by `topology`, written down as
//! `oskol.rebalances` and `oskol.moves`.

use tokio_postgres::Client;
use topology::{Relocation, ShardId, WeightedShard, place, relocations};

use super::databases;
use super::error::MoveError;
use super::mover::NoMover;
use crate::control::CLUSTER_DATABASE;
use crate::control::catalog::{StoredShard, stored_shards};
use crate::control::connections::Lent;
use crate::control::error::ControlError;
use crate::control::inner::Inner;

/// Buckets of one group at most: the follower's list stays short, and progress is seen.
const MOST_BUCKETS: usize = 512;
/// Bytes a second that a copy is taken to move where no bandwidth is set, for the estimate of time.
const EXPECTED_RATE: u64 = 20 << 20;
/// The same for what each group costs beyond its bytes.
const EXPECTED_MILLISECONDS: u64 = 300;

/// One group to be.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    pub(super) database: String,
    pub(super) relocation: Relocation,
    /// As estimated.
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Planned {
    /// As expected.
    pub(super) fn milliseconds(&self, bandwidth: u64) -> u64 {
        let rate = if bandwidth == 0 {
            EXPECTED_RATE
        } else {
            bandwidth
        };
        EXPECTED_MILLISECONDS + self.bytes * 1000 / rate
    }
}

/// Bytes and rows of sharded tables on one shard.
#[derive(Debug, Clone, Copy, Default)]
struct Load {
    rows: u64,
    bytes: u64,
}

/// What places all buckets by the shards' weights.
pub(super) async fn plan(inner: &Inner) -> Result<Vec<Planned>, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let shards = stored_shards(&home).await?;
    let weighted: Vec<_> = shards.iter().filter_map(weighted).collect();
    if weighted.iter().all(|shard| shard.weight <= 0.0) {
        return Err(MoveError::Refused(
            "no shard is left to take the buckets".into(),
        ));
    }
    let wanted = place(&weighted);
    let mut planned = Vec::new();
    for database in databases(inner).await? {
        if inner.open(&database).await.is_ok() {
            planned.extend(plan_database(inner, &database, &wanted).await?);
        }
    }
    Ok(planned)
}

/// One that is drained gets nothing; one that was removed is no more.
fn weighted(shard: &StoredShard) -> Option<WeightedShard> {
    let weight = match shard.state.as_str() {
        "active" => shard.weight,
        "draining" => 0.0,
        _ => return None,
    };
    Some(WeightedShard {
        id: shard.id,
        weight,
    })
}

async fn plan_database(
    inner: &Inner,
    database: &str,
    wanted: &[ShardId],
) -> Result<Vec<Planned>, MoveError> {
    let home = inner.connections.get_home(database).await?;
    let now = owners(&home).await?;
    let mut planned = Vec::new();
    // By source, one after the other.
    let mut known: Option<(ShardId, Load)> = None;
    for relocation in relocations(&now, wanted) {
        let source = relocation.source;
        let load = match known {
            Some((shard, load)) if shard == source => load,
            _ => load(inner, database, &home, source).await?,
        };
        known = Some((source, load));
        let count = now.iter().filter(|owner| **owner == source).count().max(1) as u64;
        planned.extend(in_groups(inner, database, &relocation, load, count));
    }
    Ok(planned)
}

/// `count`: the buckets that `load` is of.
fn in_groups(
    inner: &Inner,
    database: &str,
    relocation: &Relocation,
    load: Load,
    count: u64,
) -> Vec<Planned> {
    let limits = &inner.config.moves;
    let by = |limit: u64, all: u64| (limit * count).checked_div(all).unwrap_or(u64::MAX);
    let most = by(limits.group_rows, load.rows).min(by(limits.group_bytes, load.bytes));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let most = match load.bytes {
        0 => usize::MAX,
        _ => most.clamp(1, MOST_BUCKETS),
    };
    let planned = |relocation: Relocation| {
        let buckets = relocation.buckets.len() as u64;
        Planned {
            database: database.to_owned(),
            rows: load.rows * buckets / count,
            bytes: load.bytes * buckets / count,
            relocation,
        }
    };
    relocation.in_parts(most).into_iter().map(planned).collect()
}

async fn owners(home: &Lent) -> Result<Vec<ShardId>, MoveError> {
    let sql = "SELECT array_agg(shard ORDER BY bucket) FROM oskol.buckets";
    let row = home.query_one(sql, &[]).await.map_err(home.failed())?;
    let owners: Vec<i32> = row.get(0);
    // Checks on the table keep them within 16 bits.
    Ok(owners
        .into_iter()
        .map(|shard| ShardId(shard as u16))
        .collect())
}

/// As the shard's statistics have it.
async fn load(
    inner: &Inner,
    database: &str,
    home: &Lent,
    shard: ShardId,
) -> Result<Load, MoveError> {
    let sql = "SELECT coalesce(array_agg(name), '{}') FROM oskol.moved_tables()";
    let row = home.query_one(sql, &[]).await.map_err(home.failed())?;
    let names: Vec<String> = row.get(0);
    let connection = inner.connections.get(shard, database).await?;
    // A table that was never analysed says -1 rows.
    let sql = "SELECT coalesce(sum(CASE WHEN c.reltuples < 0 THEN pg_relation_size(c.oid) / 100
            ELSE c.reltuples END), 0)::int8, coalesce(sum(pg_relation_size(c.oid)), 0)::int8
        FROM unnest($1::text[]) AS n (name)
        CROSS JOIN LATERAL (SELECT n.name::regclass AS root) r
        CROSS JOIN LATERAL (SELECT relid FROM pg_partition_tree(r.root) UNION SELECT r.root) t
        JOIN pg_class c ON c.oid = t.relid AND c.relkind = 'r'";
    let row = connection.query_one(sql, &[&names]).await;
    let row = row.map_err(connection.failed())?;
    let figure = |column: usize| row.get::<_, i64>(column).unsigned_abs();
    Ok(Load {
        rows: figure(0),
        bytes: figure(1),
    })
}

/// Writes a plan down as the wish of now, to be taken up by the mover.
pub(super) async fn start(
    inner: &Inner,
    no_mover: NoMover,
    kind: &str,
    planned: &[Planned],
) -> Result<i64, MoveError> {
    let mut home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let failed = home.failed();
    let transaction = home.transaction().await.map_err(&failed)?;
    // One at a time.
    let sql = "LOCK TABLE oskol.rebalances IN SHARE ROW EXCLUSIVE MODE";
    transaction.batch_execute(sql).await.map_err(&failed)?;
    refuse_second(transaction.client(), &failed).await?;
    let sql =
        "INSERT INTO oskol.rebalances (kind, state, moves) VALUES ($1, 'paused', $2) RETURNING id";
    let moves = planned.len() as i64;
    let row = transaction
        .query_one(sql, &[&kind, &moves])
        .await
        .map_err(&failed)?;
    let id: i64 = row.get(0);
    transaction.commit().await.map_err(&failed)?;
    drop(home);
    for group in planned {
        write(inner, id, group).await?;
    }
    // Only now is it whole.
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql =
        "UPDATE oskol.rebalances SET state = 'running' WHERE id = $1 AND state <> 'cancelled'";
    let ran = home.execute(sql, &[&id]).await.map_err(home.failed())?;
    drop(home);
    no_mover.release(inner).await;
    match ran {
        0 => {
            cancel_planned(inner, id).await?;
            Err(MoveError::Refused("the rebalance was cancelled".into()))
        }
        _ => Ok(id),
    }
}

/// What is planned of a rebalance does not move any more.
pub(super) async fn cancel_planned(inner: &Inner, rebalance: i64) -> Result<(), MoveError> {
    for database in databases(inner).await? {
        if inner.open(&database).await.is_err() {
            continue;
        }
        let home = inner.connections.get_home(&database).await?;
        let sql =
            "UPDATE oskol.moves SET state = 'cancelled' WHERE rebalance = $1 AND state = 'planned'";
        home.execute(sql, &[&rebalance])
            .await
            .map_err(home.failed())?;
    }
    Ok(())
}

/// What a new rebalance begins with.
///
/// # Errors
/// Another one is not over.
pub(super) async fn begin(inner: &Inner) -> Result<NoMover, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    refuse_second(&home, home.failed()).await?;
    drop(home);
    NoMover::wait(inner).await
}

async fn refuse_second(
    home: &Client,
    failed: impl Fn(tokio_postgres::Error) -> ControlError,
) -> Result<(), MoveError> {
    let sql = "SELECT state FROM oskol.rebalances WHERE state IN ('running', 'paused')";
    let found = home.query_opt(sql, &[]).await.map_err(failed)?;
    match found.as_ref().map(|row| row.get(0)) {
        None => Ok(()),
        Some("paused") => Err(MoveError::Refused(
            "a rebalance is paused: go on with REBALANCE RESUME, or give it up with REBALANCE CANCEL".into(),
        )),
        Some(_) => Err(MoveError::Refused(
            "a rebalance is under way: wait for its end, or give it up with REBALANCE CANCEL".into(),
        )),
    }
}

async fn write(inner: &Inner, rebalance: i64, group: &Planned) -> Result<(), MoveError> {
    let home = inner.connections.get_home(&group.database).await?;
    let relocation = &group.relocation;
    let numbers: Vec<i32> = relocation.buckets.iter().map(|b| b.0.into()).collect();
    let (source, target) = (
        i32::from(relocation.source.0),
        i32::from(relocation.target.0),
    );
    let (rows, bytes) = (group.rows as i64, group.bytes as i64);
    let sql = "INSERT INTO oskol.moves (rebalance, buckets, source, target, estimated_rows, estimated_bytes)
        VALUES ($1, $2, $3, $4, $5, $6)";
    home.execute(
        sql,
        &[&rebalance, &numbers, &source, &target, &rows, &bytes],
    )
    .await
    .map_err(home.failed())?;
    Ok(())
}

/// What takes back the moves of the last rebalance that are done.
pub(super) async fn plan_undo(inner: &Inner) -> Result<Vec<Planned>, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = "SELECT id, kind FROM oskol.rebalances WHERE state NOT IN ('running', 'paused') ORDER BY id DESC LIMIT 1";
    let last = home.query_opt(sql, &[]).await.map_err(home.failed())?;
    let last: i64 = match last {
        Some(row) => row.get(0),
        None => {
            return Err(MoveError::Refused(
                "no rebalance has ended that could be undone".into(),
            ));
        }
    };
    drop(home);
    let mut planned = Vec::new();
    for database in databases(inner).await? {
        if inner.open(&database).await.is_err() {
            continue;
        }
        let home = inner.connections.get_home(&database).await?;
        let sql = "SELECT buckets, source, target, rows, bytes FROM oskol.moves
            WHERE rebalance = $1 AND state = 'done' ORDER BY id DESC";
        let rows = home.query(sql, &[&last]).await.map_err(home.failed())?;
        planned.extend(rows.iter().map(|row| taken_back(&database, row)));
    }
    Ok(planned)
}

fn taken_back(database: &str, row: &tokio_postgres::Row) -> Planned {
    let shard = |column: usize| ShardId(row.get::<_, i32>(column) as u16);
    let buckets: Vec<i32> = row.get(0);
    Planned {
        database: database.to_owned(),
        relocation: Relocation {
            source: shard(2),
            target: shard(1),
            buckets: buckets
                .into_iter()
                .map(|b| topology::BucketId(b as u16))
                .collect(),
        },
        rows: row.get::<_, i64>(3).unsigned_abs(),
        bytes: row.get::<_, i64>(4).unsigned_abs(),
    }
}
