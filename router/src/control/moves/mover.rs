//! The one router that moves buckets, at any time: whoever holds the lock takes up what is unfinished.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_postgres::Client;

use super::databases;
use super::error::MoveError;
use super::group::{Group, Shared};
use super::tables::INDEX;
use crate::control::CLUSTER_DATABASE;
use crate::control::error::ControlError;
use crate::control::inner::Inner;

/// Between looks whether something is to be moved.
const LOOK: Duration = Duration::from_secs(2);
/// After something that may pass.
const RETRY: Duration = Duration::from_millis(500);
/// Tries of one group that end with an error that may pass.
const TRIES: usize = 200;
/// Held by the mover on the home shard, for as long as it is the mover.
const LOCK: &str = "SELECT pg_try_advisory_lock(8030875938580)";
/// And by whoever begins a rebalance: what was under way when the one before was cancelled has come to its end.
const WAIT: &str = "SET lock_timeout TO '30s'; SELECT pg_advisory_lock(8030875938580)";
const RELEASE: &str = "SELECT pg_advisory_unlock(8030875938580)";
/// Fences stay for so long after the last move: a router that was cut off meanwhile has heard of it by then.
const FENCED: &str = "interval '10 minutes'";

const LOCK_NOT_AVAILABLE: &str = "55P03";

/// Numbers this process's tries.
static TRY: AtomicU64 = AtomicU64::new(0);

/// As long as this lives nobody moves buckets.
pub(super) struct NoMover(Client);

impl NoMover {
    /// # Errors
    /// The mover is at work for longer than half a minute.
    pub(super) async fn wait(inner: &Inner) -> Result<Self, MoveError> {
        let home = inner.connections.home();
        let lock = inner.connections.own(home, CLUSTER_DATABASE).await?;
        let waited = lock.batch_execute(WAIT).await;
        waited.map_err(ControlError::statement(home)).map_err(|error| match error.sqlstate() {
            Some(LOCK_NOT_AVAILABLE) => MoveError::Refused(
                "a move of the rebalance that was cancelled is still under way: SHOW MOVES tells how far it is".into(),
            ),
            _ => error.into(),
        })?;
        Ok(Self(lock))
    }

    /// There is something to move.
    pub(super) async fn release(self, inner: &Inner) {
        // It is released with the connection at the latest.
        let _ = self.0.batch_execute(RELEASE).await;
        inner.moves_wanted.notify_one();
    }
}

/// Runs as long as the router does.
pub(in crate::control) async fn watch(inner: Arc<Inner>) {
    loop {
        if let Err(error) = look(&inner).await {
            tracing::debug!(%error, "moves are not looked at");
        }
        let _ = tokio::time::timeout(LOOK, inner.moves_wanted.notified()).await;
    }
}

/// What there is to do.
struct Wish {
    id: i64,
    state: String,
    /// The fences have stood long enough.
    clears: bool,
}

async fn look(inner: &Inner) -> Result<(), MoveError> {
    let Some(_) = wish(inner).await? else {
        return Ok(());
    };
    let home = inner.connections.home();
    let lock = inner.connections.own(home, CLUSTER_DATABASE).await?;
    let held = lock
        .query_one(LOCK, &[])
        .await
        .map_err(ControlError::statement(home))?;
    if !held.get::<_, bool>(0) {
        return Ok(());
    }
    // Read again: it may have been finished while the lock was taken.
    while let Some(wish) = wish(inner).await? {
        match wish.state.as_str() {
            "running" => run(inner, &lock, &wish).await?,
            _ if wish.clears => clear(inner, &wish).await?,
            _ => return Ok(()),
        }
    }
    Ok(())
}

async fn wish(inner: &Inner) -> Result<Option<Wish>, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = format!(
        "SELECT id, state, state NOT IN ('running', 'paused') AND finished < clock_timestamp() - {FENCED}
        FROM oskol.rebalances WHERE NOT cleared AND id = (SELECT max(id) FROM oskol.rebalances)"
    );
    let row = home.query_opt(&sql, &[]).await.map_err(home.failed())?;
    let wish = row.map(|row| Wish {
        id: row.get(0),
        state: row.get(1),
        clears: row.get(2),
    });
    Ok(wish.filter(|wish| wish.state == "running" || wish.clears))
}

/// All groups of all databases, until it is finished, paused, or fails.
async fn run(inner: &Inner, lock: &Client, wish: &Wish) -> Result<(), MoveError> {
    for database in databases(inner).await? {
        match inner.open(&database).await {
            Ok(_) => {}
            Err(error @ ControlError::NotOnShard { .. }) => {
                tracing::warn!(%error, "nothing of the database moves");
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        if !run_database(inner, lock, wish, &database).await? {
            return Ok(());
        }
    }
    finish(inner, wish.id, "finished", None).await
}

/// Some groups at a time. False: it is not to go on, paused or failed; none is under way then.
async fn run_database(
    inner: &Inner,
    lock: &Client,
    wish: &Wish,
    database: &str,
) -> Result<bool, MoveError> {
    let shared = Shared::new(inner);
    let mut moving: Vec<Group> = Vec::new();
    let mut under_way = FuturesUnordered::new();
    let (mut goes_on, mut failed) = (true, None);
    loop {
        while goes_on && under_way.len() < inner.config.moves.concurrency {
            let Some(group) = next(inner, database, wish.id, &moving).await? else {
                break;
            };
            // Without the lock somebody else is the mover.
            lock.execute("SELECT 1", &[])
                .await
                .map_err(ControlError::statement(inner.connections.home()))?;
            goes_on = state_of(inner, wish.id).await? == "running";
            if goes_on {
                moving.push(group.clone());
                let shared = &shared;
                under_way.push(async move {
                    let outcome = patiently(inner, wish.id, &group, shared).await;
                    (group, outcome)
                });
            }
        }
        let Some((group, outcome)) = under_way.next().await else {
            break;
        };
        moving.retain(|other| other.id != group.id);
        match outcome {
            Ok(()) => {}
            Err(error @ MoveError::Lost) => return Err(error),
            // The others come to their end.
            Err(error) => {
                goes_on = false;
                failed.get_or_insert((group, error));
            }
        }
    }
    if let Some((group, error)) = failed {
        fail(inner, wish.id, &group, &error).await?;
    }
    Ok(goes_on)
}

/// Tries again as long as the error may pass.
async fn patiently(
    inner: &Inner,
    rebalance: i64,
    group: &Group,
    shared: &Shared,
) -> Result<(), MoveError> {
    let mut tries = 0;
    loop {
        let number = TRY.fetch_add(1, Ordering::Relaxed);
        let owner = format!("{}:{number}", inner.around.identity.router);
        let fresh = reread(inner, group).await?;
        let Err(error) = fresh.run(inner, &owner, shared).await else {
            return Ok(());
        };
        tries += 1;
        if tries == TRIES || !error.passes() {
            return Err(error);
        }
        tracing::info!(database = group.database, %error, "a move begins anew");
        note_error(inner, group, &error).await?;
        tokio::time::sleep(RETRY).await;
        match state_of(inner, rebalance).await?.as_str() {
            "running" => {}
            "cancelled" => return group.give_up(inner).await,
            _ => return Ok(()),
        }
    }
}

impl Group {
    /// It was begun, has not moved, and will not.
    async fn give_up(&self, inner: &Inner) -> Result<(), MoveError> {
        let home = inner.connections.get_home(&self.database).await?;
        let sql = "UPDATE oskol.moves SET state = 'cancelled' WHERE id = $1 AND state <> 'done'";
        let given_up = home.execute(sql, &[&self.id]).await;
        given_up.map_err(home.failed())?;
        Ok(())
    }
}

const COLUMNS: &str = "id, buckets, source, target, gid";

async fn reread(inner: &Inner, group: &Group) -> Result<Group, MoveError> {
    let home = inner.connections.get_home(&group.database).await?;
    let sql = format!("SELECT {COLUMNS} FROM oskol.moves WHERE id = $1");
    let row = home
        .query_one(&sql, &[&group.id])
        .await
        .map_err(home.failed())?;
    Ok(Group::of(&group.database, &row))
}

/// One that goes with those that are moving; what was begun goes first.
async fn next(
    inner: &Inner,
    database: &str,
    rebalance: i64,
    moving: &[Group],
) -> Result<Option<Group>, MoveError> {
    let home = inner.connections.get_home(database).await?;
    let sql = format!(
        "SELECT {COLUMNS} FROM oskol.moves WHERE rebalance = $1 AND state IN ('planned', 'copying', 'switching')
        ORDER BY state = 'planned', id"
    );
    let rows = home.query(&sql, &[&rebalance]).await;
    let rows = rows.map_err(home.failed())?;
    let mut left = rows.iter().map(|row| Group::of(database, row));
    Ok(left.find(|group| moving.iter().all(|other| group.goes_with(other))))
}

async fn state_of(inner: &Inner, rebalance: i64) -> Result<String, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = "SELECT state FROM oskol.rebalances WHERE id = $1";
    let row = home
        .query_one(sql, &[&rebalance])
        .await
        .map_err(home.failed())?;
    Ok(row.get(0))
}

async fn note_error(inner: &Inner, group: &Group, error: &MoveError) -> Result<(), MoveError> {
    let home = inner.connections.get_home(&group.database).await?;
    let sql = "UPDATE oskol.moves SET error = $1 WHERE id = $2";
    let noted = home.execute(sql, &[&error.to_string(), &group.id]).await;
    noted.map_err(home.failed())?;
    Ok(())
}

async fn fail(
    inner: &Inner,
    rebalance: i64,
    group: &Group,
    error: &MoveError,
) -> Result<(), MoveError> {
    tracing::error!(database = group.database, %error, "a move has failed; nothing of it has moved");
    note_error(inner, group, error).await?;
    let home = inner.connections.get_home(&group.database).await?;
    let failed = home
        .execute(
            "UPDATE oskol.moves SET state = 'failed' WHERE id = $1",
            &[&group.id],
        )
        .await;
    failed.map_err(home.failed())?;
    finish(inner, rebalance, "failed", Some(error.to_string())).await
}

async fn finish(
    inner: &Inner,
    rebalance: i64,
    state: &str,
    error: Option<String>,
) -> Result<(), MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = "UPDATE oskol.rebalances SET state = $1, error = $2, finished = clock_timestamp()
        WHERE id = $3 AND state = 'running'";
    let finished = home.execute(sql, &[&state, &error, &rebalance]).await;
    finished.map_err(home.failed())?;
    tracing::info!(rebalance, state, "no more buckets move");
    if let Err(error) = drop_indexes(inner).await {
        tracing::info!(%error, "an index by bucket stays for now");
    }
    Ok(())
}

/// Those by bucket, which cost every write something.
async fn drop_indexes(inner: &Inner) -> Result<(), MoveError> {
    let sql = format!(
        "SELECT format('DROP INDEX %s', c.oid::regclass) FROM pg_class c
        WHERE c.relkind = 'i' AND c.relname ~ '^{INDEX}[0-9]+$'"
    );
    for database in databases(inner).await? {
        if inner.open(&database).await.is_err() {
            continue;
        }
        for shard in inner.connections.shards().iter() {
            let connection = inner.connections.get(shard.id, &database).await?;
            let rows = connection.query(&sql, &[]).await;
            for row in rows.map_err(connection.failed())? {
                let dropped = connection.batch_execute(row.get(0)).await;
                dropped.map_err(connection.failed())?;
            }
        }
    }
    Ok(())
}

/// Takes the triggers away that followed and fenced rows.
async fn clear(inner: &Inner, wish: &Wish) -> Result<(), MoveError> {
    drop_indexes(inner).await?;
    for database in databases(inner).await? {
        if inner.open(&database).await.is_err() {
            continue;
        }
        for shard in inner.connections.shards().iter() {
            let connection = inner.connections.get(shard.id, &database).await?;
            let sql = "SELECT oskol.unfollow(substr(p.proname, 9)::oid) FROM pg_proc p
                WHERE p.pronamespace = 'oskol'::regnamespace AND p.proname ~ '^on_move_[0-9]+$'";
            connection
                .execute(sql, &[])
                .await
                .map_err(connection.failed())?;
        }
    }
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let sql = "UPDATE oskol.rebalances SET cleared = true WHERE id <= $1";
    home.execute(sql, &[&wish.id])
        .await
        .map_err(home.failed())?;
    Ok(())
}
