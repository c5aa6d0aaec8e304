//! What admins have done: the operations of the admin database, carried out.

use topology::{BucketId, Relocation, ShardId};

use super::error::MoveError;
use super::join::{self, Newcomer};
use super::mover::NoMover;
use super::planning::{self, Planned};
use super::{databases, leave};
use crate::admin::operations::Rows;
use crate::admin::{NewShard, Operation};
use crate::control::CLUSTER_DATABASE;
use crate::control::catalog::{StoredShard, stored_shards};
use crate::control::history;
use crate::control::inner::Inner;

/// The answer's rows, by [`Operation::columns`].
pub(in crate::control) async fn operate(
    inner: &Inner,
    operation: Operation,
) -> Result<Rows, MoveError> {
    match operation {
        Operation::AddShard(shard) => add(inner, &shard).await,
        Operation::DrainShard(shard) => {
            let shard = find(inner, &shard).await?;
            leave::drain(inner, &shard).await?;
            Ok(shard_row(shard.id, &shard.name, "draining"))
        }
        Operation::KeepShard(shard) => {
            let shard = find(inner, &shard).await?;
            leave::keep(inner, &shard).await?;
            Ok(shard_row(shard.id, &shard.name, "active"))
        }
        Operation::RemoveShard(shard) => {
            let shard = find(inner, &shard).await?;
            leave::remove(inner, &shard).await?;
            Ok(shard_row(shard.id, &shard.name, "removed"))
        }
        Operation::RetireShard(shard) => {
            let shard = find(inner, &shard).await?;
            let state = leave::retire(inner, &shard).await?;
            Ok(shard_row(shard.id, &shard.name, &state))
        }
        Operation::Plan => Ok(plan_rows(inner, &planning::plan(inner).await?)),
        Operation::Rebalance => {
            let no_mover = planning::begin(inner).await?;
            start(inner, no_mover, "rebalance", planning::plan(inner).await?).await
        }
        Operation::Undo => {
            let no_mover = planning::begin(inner).await?;
            start(inner, no_mover, "undo", planning::plan_undo(inner).await?).await
        }
        Operation::MoveBucket { bucket, shard } => {
            let shard = find(inner, &shard).await?;
            let no_mover = planning::begin(inner).await?;
            let planned = by_hand(inner, bucket, &shard).await?;
            start(inner, no_mover, "bucket", planned).await
        }
        Operation::Pause => set_state(inner, &["running"], "paused").await,
        Operation::Resume => set_state(inner, &["paused"], "running").await,
        Operation::Cancel => cancel(inner).await,
        Operation::Moves => moves(inner).await,
        Operation::SchemaHistory => {
            let databases = databases(inner).await?;
            Ok(history::show(inner, &databases).await?)
        }
        Operation::CatchUp(shard) => {
            let shard = find(inner, &shard).await?;
            let databases = databases(inner).await?;
            Ok(history::catch_up(inner, &databases, shard.id).await?)
        }
        Operation::Verify { repair } => super::verify::verify(inner, repair).await,
    }
}

async fn add(inner: &Inner, shard: &NewShard) -> Result<Rows, MoveError> {
    if !(shard.weight.is_finite() && shard.weight > 0.0) {
        return Err(MoveError::Refused("a weight is a number above zero".into()));
    }
    if shard.name.is_empty() || shard.host.is_empty() || shard.name.parse::<u16>().is_ok() {
        return Err(MoveError::Refused(
            "a shard has a name, which is not a number, and a host".into(),
        ));
    }
    let newcomer = Newcomer {
        name: shard.name.clone(),
        host: shard.host.clone(),
        port: shard.port,
        weight: shard.weight,
    };
    let id = join::join(inner, &newcomer).await?;
    Ok(shard_row(id, &shard.name, "active"))
}

fn shard_row(id: ShardId, name: &str, state: &str) -> Rows {
    vec![vec![
        Some(id.to_string()),
        Some(name.to_owned()),
        Some(state.to_owned()),
    ]]
}

/// By number or name.
async fn find(inner: &Inner, called: &str) -> Result<StoredShard, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let mut shards = stored_shards(&home).await?;
    // A name may have been another shard's before.
    shards.sort_by_key(|shard| shard.state == "removed");
    let found = shards
        .into_iter()
        .find(|shard| shard.name == called || shard.id.to_string() == called);
    found.ok_or_else(|| MoveError::Refused(format!("there is no shard {called}")))
}

async fn by_hand(
    inner: &Inner,
    bucket: u16,
    shard: &StoredShard,
) -> Result<Vec<Planned>, MoveError> {
    if bucket >= topology::BUCKETS {
        return Err(MoveError::Refused(format!("there is no bucket {bucket}")));
    }
    let mut planned = Vec::new();
    for database in databases(inner).await? {
        let Ok(watched) = inner.open(&database).await else {
            continue;
        };
        let source = watched.database.state().map.shard(BucketId(bucket));
        if source != shard.id {
            planned.push(Planned {
                database,
                relocation: Relocation {
                    source,
                    target: shard.id,
                    buckets: vec![BucketId(bucket)],
                },
                rows: 0,
                bytes: 0,
            });
        }
    }
    Ok(planned)
}

async fn start(
    inner: &Inner,
    no_mover: NoMover,
    kind: &str,
    planned: Vec<Planned>,
) -> Result<Rows, MoveError> {
    if planned.is_empty() {
        return Ok(Rows::new());
    }
    let id = planning::start(inner, no_mover, kind, &planned).await?;
    Ok(vec![vec![
        Some(id.to_string()),
        Some("running".into()),
        Some(planned.len().to_string()),
    ]])
}

/// What is planned does not move; what moves at this moment comes to its end, and what has moved stays where it is.
async fn cancel(inner: &Inner) -> Result<Rows, MoveError> {
    let cancelled = set_state(inner, &["running", "paused"], "cancelled").await?;
    let ids = cancelled.iter().filter_map(|row| row.first()?.as_ref());
    for id in ids.filter_map(|id| id.parse().ok()) {
        planning::cancel_planned(inner, id).await?;
    }
    Ok(cancelled)
}

async fn set_state(inner: &Inner, from: &[&str], to: &str) -> Result<Rows, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = "UPDATE oskol.rebalances SET state = $1, finished = CASE WHEN $1 = 'cancelled' THEN clock_timestamp() END
        WHERE state = ANY ($2) RETURNING id::text, state, moves::text";
    let rows = home
        .query(sql, &[&to, &from])
        .await
        .map_err(home.failed())?;
    inner.moves_wanted.notify_one();
    if rows.is_empty() {
        return Err(MoveError::Refused(format!(
            "no rebalance is {}",
            from.join(" or ")
        )));
    }
    Ok(rows
        .iter()
        .map(|row| (0..3).map(|at| row.get(at)).collect())
        .collect())
}

fn plan_rows(inner: &Inner, planned: &[Planned]) -> Rows {
    let row = |group: &Planned| {
        let relocation = &group.relocation;
        let figures = [
            relocation.source.to_string(),
            relocation.target.to_string(),
            relocation.buckets.len().to_string(),
            group.rows.to_string(),
            group.bytes.to_string(),
            group.milliseconds(inner.config.moves.bandwidth).to_string(),
        ];
        let mut row = vec![Some(group.database.clone())];
        row.extend(figures.map(Some));
        row
    };
    planned.iter().map(row).collect()
}

/// Of the last rebalance, those under way first.
async fn moves(inner: &Inner) -> Result<Rows, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = "SELECT id, state FROM oskol.rebalances ORDER BY id DESC LIMIT 1";
    let Some(last) = home.query_opt(sql, &[]).await.map_err(home.failed())? else {
        return Ok(Rows::new());
    };
    drop(home);
    let (id, state): (i64, String) = (last.get(0), last.get(1));
    let mut all = Rows::new();
    for database in databases(inner).await? {
        if inner.open(&database).await.is_err() {
            continue;
        }
        let home = inner.connections.get_home(&database).await?;
        let sql = "SELECT id::text, source::text, target::text, cardinality(buckets)::text, state, rows::text,
                estimated_rows::text, bytes::text, estimated_bytes::text, followed::text, attempts::text, held_ms::text,
                extract(epoch FROM coalesce(finished, clock_timestamp()) - started)::int8::text, error
            FROM oskol.moves WHERE rebalance = $1 ORDER BY state = 'done', state = 'planned', id";
        for row in home.query(sql, &[&id]).await.map_err(home.failed())? {
            let mut cells = vec![
                Some(id.to_string()),
                Some(state.clone()),
                Some(database.clone()),
            ];
            cells.extend((0..row.len()).map(|at| row.get::<_, Option<String>>(at)));
            all.push(cells);
        }
    }
    Ok(all)
}
