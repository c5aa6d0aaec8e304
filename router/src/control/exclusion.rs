//! Keeping routers out that give no sign of life: nobody waits for them, so they would look for rows where they were, and
//! plan with a catalog that is no more.
//!
//! A router that cannot reach the home shard may reach the others as before, and its clients with it. Before it is ignored
//! the shards that rows leave, or come to, and all of them where the catalog was changed, let it in no more, and end the connections that it has: what it asks there fails,
//! and all other shards go on serving it. Once it reaches the home shard it is told a new life, reads the map, and is let in
//! by that (`schema/sql/admission.sql`). So nothing depends on clocks, and a statement costs nothing.

use std::sync::Arc;

use topology::ShardId;

use super::connections::Connections;
use super::error::ControlError;
use super::watch::{GONE, PRESENCE, SILENCE};

/// Nothing is remembered of a router that has been silent for so long. An SQL interval.
const FORGOTTEN: &str = "interval '1 hour'";

/// Routers that are kept out, and the lives that they will be told when they come back.
#[derive(Debug, Default)]
pub(super) struct KeptOut {
    pub(super) routers: Vec<i64>,
    pub(super) lives: Vec<i64>,
}

/// Keeps all silent routers out of `shards`. Dead ones are among them: nobody can tell.
pub(super) async fn keep_out_the_silent(
    connections: &Arc<Connections>,
    database: &str,
    shards: &[ShardId],
) -> Result<KeptOut, ControlError> {
    let silent = take_lives(connections, database, &lives()).await?;
    keep_out(connections, database, shards, &silent).await?;
    Ok(silent)
}

async fn keep_out(
    connections: &Arc<Connections>,
    database: &str,
    shards: &[ShardId],
    silent: &KeptOut,
) -> Result<(), ControlError> {
    if silent.routers.is_empty() {
        return Ok(());
    }
    for shard in shards {
        let connection = connections.get(*shard, database).await?;
        let failed = connection.failed();
        let sql = "SELECT oskol.keep_out($1, $2)";
        let kept = connection
            .execute(sql, &[&silent.routers, &silent.lives])
            .await;
        kept.map_err(&failed)?;
        let left = connection.query_one("SELECT oskol.send_away()", &[]).await;
        if left.map_err(&failed)?.get::<_, i64>(0) > 0 {
            return Err(ControlError::Stays(*shard));
        }
    }
    Ok(())
}

/// A condition: router `r` has been heard of in the last ten seconds. One that only looks for the home shard again, as that was
/// away, is given so long before its clients lose what they have on other shards. A time to come is of a clock that was set back,
/// as after a failover of the home shard: who lives writes another one soon.
pub(super) fn is_heard() -> String {
    format!("heartbeat BETWEEN clock_timestamp() - {SILENCE} AND clock_timestamp() + {SILENCE}")
}

/// Keeps all routers that are not [heard](is_heard) out of all shards, and remembers that.
pub(super) async fn keep_out_of_all(
    connections: &Arc<Connections>,
    database: &str,
) -> Result<(), ControlError> {
    keep_out_of_all_unless(connections, database, &is_heard()).await
}

/// Removes the rows of routers that have been silent for long, as those that were killed are for ever.
pub(super) async fn forget_the_dead(
    connections: &Arc<Connections>,
    database: &str,
) -> Result<(), ControlError> {
    let home = connections.get_home(database).await?;
    let sql = format!(
        "SELECT EXISTS (SELECT FROM oskol.routers WHERE heartbeat < clock_timestamp() - {FORGOTTEN})"
    );
    let dead = home.query_one(&sql, &[]).await.map_err(home.failed())?;
    if !dead.get::<_, bool>(0) {
        return Ok(());
    }
    let lives = format!("heartbeat > clock_timestamp() - {FORGOTTEN}");
    keep_out_of_all_unless(connections, database, &lives).await?;
    let sql = format!("SELECT oskol.forget_routers({FORGOTTEN})");
    home.execute(&sql, &[]).await.map_err(home.failed())?;
    Ok(())
}

async fn keep_out_of_all_unless(
    connections: &Arc<Connections>,
    database: &str,
    lives: &str,
) -> Result<(), ControlError> {
    let shards: Vec<ShardId> = connections.shards().iter().map(|shard| shard.id).collect();
    let silent = take_lives(connections, database, lives).await?;
    keep_out(connections, database, &shards, &silent).await?;
    let home = connections.get_home(database).await?;
    let sql = "UPDATE oskol.routers r SET kept_out_of_all = true
        FROM unnest($1::int8[], $2::int8[]) k (router, life)
        WHERE r.kept_out AND r.id = k.router AND r.life = k.life";
    let noted = home.execute(sql, &[&silent.routers, &silent.lives]).await;
    noted.map_err(home.failed())?;
    Ok(())
}

/// Of routers for which `lives` does not hold: from now on what such a router knows itself by is out of date, until it gives a sign of life.
async fn take_lives(
    connections: &Arc<Connections>,
    database: &str,
    lives: &str,
) -> Result<KeptOut, ControlError> {
    let home = connections.get_home(database).await?;
    let sql = format!(
        "UPDATE oskol.routers r SET life = life + (NOT kept_out)::int, kept_out = true,
            kept_out_of_all = kept_out_of_all AND kept_out WHERE NOT ({lives}) RETURNING id, life"
    );
    let rows = home.query(&sql, &[]).await;
    let rows = rows.map_err(home.failed())?;
    let mut silent = KeptOut::default();
    for row in rows {
        silent.routers.push(row.get(0));
        silent.lives.push(row.get(1));
    }
    Ok(silent)
}

/// A condition: router `r` gives signs of life.
pub(super) fn lives() -> String {
    format!(
        "{}
        AND (heartbeat > clock_timestamp() - {GONE} OR EXISTS (SELECT FROM pg_locks l
            WHERE l.locktype = 'advisory' AND l.classid = {PRESENCE} AND l.objid = r.id AND l.objsubid = 2
            AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = '{}')))",
        is_heard(),
        crate::control::CLUSTER_DATABASE
    )
}

/// Counts routers that do not hold for `$1`, but for those that are kept out (`$2`) with these lives (`$3`). One that has
/// been heard of since is none of them.
pub(super) const BEHIND: &str = "SELECT count(*) FROM oskol.routers r WHERE held IS DISTINCT FROM $1 AND NOT (kept_out AND EXISTS
    (SELECT FROM unnest($2::int8[], $3::int8[]) k (router, life) WHERE k.router = r.id AND k.life = r.life))";
