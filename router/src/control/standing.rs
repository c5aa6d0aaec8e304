//! Looks whether every shard has done what all did together: the changes of the schema, and the moves of buckets it took part in.
//!
//! A shard that lacks some lets no router in (`oskol.check_applied`); this is where it is told of. One that has done more than the
//! home shard knows of cannot know that: it is not asked for anything any more, by the routers that see it. What is in doubt is
//! waited for, and two looks have to agree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use schema::Applied;
use topology::ShardId;

use super::error::ControlError;
use super::inner::Inner;
use super::watch::Watched;

/// Between looks.
const PERIOD: Duration = Duration::from_secs(2);

/// What a shard says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) applied: Applied,
    pub(super) moved: i64,
    /// Some transaction of routers is prepared there: it may be about to do what it lacks.
    pub(super) in_doubt: bool,
}

/// What the home shard says of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) home: Standing,
    pub(super) moved: BTreeMap<ShardId, i64>,
}

/// Why a shard is not asked for anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Apart {
    #[error("lacks {0} changes of the schema")]
    Behind(i64),
    #[error("other changes of the schema were made on it than on the home shard")]
    Other,
    #[error("is as it was before buckets were moved from or to it")]
    BeforeMove,
    /// The home shard has lost something.
    #[error("has made changes that the home shard does not know of")]
    Ahead,
}

/// `None`: it stands as it must, or will once what is in doubt has ended.
pub(super) fn judge(expected: &Expected, shard: ShardId, found: &Standing) -> Option<Apart> {
    let (home, applied) = (expected.home.applied, found.applied);
    let moved = expected.moved.get(&shard).copied().unwrap_or(found.moved);
    if applied.number > home.number || found.moved > moved {
        return (!expected.home.in_doubt).then_some(Apart::Ahead);
    }
    let apart = match applied.number {
        number if number < home.number => Apart::Behind(home.number - number),
        _ if applied.digest != home.digest => Apart::Other,
        _ if found.moved < moved => Apart::BeforeMove,
        _ => return None,
    };
    (!found.in_doubt).then_some(apart)
}

/// As the home shard has it.
pub(super) async fn expected(inner: &Inner, database: &str) -> Result<Expected, ControlError> {
    let home = inner.connections.get_home(database).await?;
    let sql = "SELECT id, moved FROM oskol.shards WHERE state IN ('active', 'draining')";
    let rows = home.query(sql, &[]).await.map_err(home.failed())?;
    // Checks on the table keep the numbers within 16 bits.
    let moved = rows
        .iter()
        .map(|row| (ShardId(row.get::<_, i32>(0) as u16), row.get(1)));
    let moved = moved.collect();
    drop(home);
    let home = standing(inner, inner.connections.home(), database).await?;
    Ok(Expected { home, moved })
}

/// As the shard itself has it.
pub(super) async fn standing(
    inner: &Inner,
    shard: ShardId,
    database: &str,
) -> Result<Standing, ControlError> {
    let connection = inner.connections.get(shard, database).await?;
    let sql = "SELECT number, digest, moved, EXISTS (SELECT FROM pg_prepared_xacts
        WHERE database = current_database() AND gid ~ '^oskol:') FROM oskol.applied";
    let row = connection.query_one(sql, &[]).await;
    let row = row.map_err(connection.failed())?;
    Ok(Standing {
        applied: Applied {
            number: row.get(0),
            digest: row.get(1),
        },
        moved: row.get(2),
        in_doubt: row.get(3),
    })
}

/// Until the control thread ends.
pub(super) async fn watch(inner: Arc<Inner>) {
    let mut before = BTreeMap::new();
    loop {
        tokio::time::sleep(PERIOD).await;
        let mut seen = BTreeMap::new();
        for database in inner.open_names() {
            let Some(watched) = inner.opened(&database) else {
                continue;
            };
            let limit = inner.config.cluster.connect_timeout * 2;
            let looked = tokio::time::timeout(limit, look(&inner, &watched)).await;
            if let Ok(Ok(found)) = looked {
                seen.extend(found.map(|(shard, apart)| ((database.clone(), shard), apart)));
            }
        }
        let lasting = seen
            .iter()
            .filter(|(key, apart)| before.get(*key) == Some(*apart));
        let lasting: BTreeMap<_, _> = lasting
            .map(|(key, apart)| (key.clone(), apart.clone()))
            .collect();
        tell(&inner, &lasting);
        before = seen;
    }
}

/// Shards of one database that do not stand as they must. A shard that does not answer is no news.
async fn look(
    inner: &Inner,
    watched: &Watched,
) -> Result<impl Iterator<Item = (ShardId, Apart)> + use<>, ControlError> {
    let database = watched.database.name();
    let before = expected(inner, database).await?;
    watched.database.learn_applied(before.home.applied);
    let others = before.moved.keys().copied();
    let others = others.filter(|shard| *shard != inner.connections.home());
    let looks = others.map(async |shard| {
        let found = standing(inner, shard, database).await.ok()?;
        let apart = judge(&before, shard, &found)?;
        Some((shard, found, apart))
    });
    let apart: Vec<_> = join_all(looks).await.into_iter().flatten().collect();
    let after = match apart.is_empty() {
        true => before,
        // It may have gone on since the home shard was asked.
        false => expected(inner, database).await?,
    };
    let still = apart
        .into_iter()
        .filter_map(move |(shard, found, apart)| match apart {
            Apart::Ahead => Some((shard, judge(&after, shard, &found)?)),
            apart => Some((shard, apart)),
        });
    Ok(still)
}

/// The board, the log and the workers, of what has changed.
fn tell(inner: &Inner, lasting: &BTreeMap<(String, ShardId), Apart>) {
    let told = lasting
        .iter()
        .map(|((database, shard), apart)| ((*shard, database.clone()), apart.to_string()));
    let told: BTreeMap<_, _> = told.collect();
    let before = inner.around.board.kept_out();
    for ((shard, database), why) in told.iter().filter(|(key, _)| !before.contains_key(*key)) {
        tracing::error!(%shard, database, why, "a shard is kept out");
    }
    for (shard, database) in before.keys().filter(|key| !told.contains_key(*key)) {
        tracing::info!(%shard, database, "a shard is kept out no longer");
    }
    let shards: std::collections::BTreeSet<_> = told.keys().map(|(shard, _)| *shard).collect();
    inner
        .around
        .metrics
        .control
        .kept_out
        .set(shards.len() as u64);
    inner.around.board.set_kept_out(told);
    for database in inner.open_names() {
        let Some(watched) = inner.opened(&database) else {
            continue;
        };
        let ahead = lasting
            .iter()
            .filter(|((name, _), apart)| *name == database && **apart == Apart::Ahead);
        let ahead = ahead.map(|((_, shard), _)| *shard).collect();
        if watched.database.set_ahead(ahead) {
            inner.close_idle(&database);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(number: i64, digest: i64, moved: i64) -> Standing {
        Standing {
            applied: Applied { number, digest },
            moved,
            in_doubt: false,
        }
    }

    fn judged(found: Standing) -> Option<Apart> {
        let expected = Expected {
            home: standing(7, 70, 0),
            moved: BTreeMap::from([(ShardId(1), 3)]),
        };
        judge(&expected, ShardId(1), &found)
    }

    #[test]
    fn a_shard_that_lacks_something_is_known_by_it() {
        assert_eq!(judged(standing(7, 70, 3)), None);
        assert_eq!(judged(standing(5, 50, 3)), Some(Apart::Behind(2)));
        assert_eq!(judged(standing(7, 71, 3)), Some(Apart::Other));
        assert_eq!(judged(standing(7, 70, 2)), Some(Apart::BeforeMove));
        assert_eq!(judged(standing(8, 80, 3)), Some(Apart::Ahead));
        assert_eq!(judged(standing(7, 70, 4)), Some(Apart::Ahead));
    }

    #[test]
    fn what_is_in_doubt_is_waited_for() {
        let found = Standing {
            in_doubt: true,
            ..standing(6, 60, 3)
        };
        assert_eq!(judged(found), None);
    }
}
