//! Measures how far behind each shard's standbys are: asks the primary where its WAL is, and every standby up to where it
//! has replayed it. Each host has a task and a connection of its own, so that one that hangs delays no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_postgres::Client;
use topology::ShardId;

use super::inner::Inner;
use crate::config::ShardConfig;
use crate::management::{ManagementError, reason};
use crate::standbys::{History, Moment, Standby, end_of_records};

/// Between looks whether the shards have other hosts.
const PERIOD: Duration = Duration::from_secs(1);
/// A host that has not answered so many times in a row, each within `cluster.connect_timeout`, hangs.
const HANGS_AFTER: u32 = 2;

/// Where WAL is inserted on a primary, up to where it is replayed on a standby; the timeline, 0 where a standby receives
/// nothing.
const MEASURE: &str = "
    SELECT is_standby,
        CASE WHEN is_standby THEN pg_wal_lsn_diff(coalesce(pg_last_wal_replay_lsn(), '0/0'), '0/0')
            ELSE pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') END::int8,
        CASE WHEN is_standby
            THEN coalesce((SELECT received_tli FROM pg_stat_wal_receiver WHERE status = 'streaming'), 0)
            ELSE ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int4 END,
        CASE WHEN is_standby THEN pg_is_wal_replay_paused() ELSE false END,
        current_setting('wal_block_size')::int8, pg_size_bytes(current_setting('wal_segment_size'))
    FROM pg_is_in_recovery() AS is_standby";

/// The hosts of one shard, and the tasks that measure them.
struct Watched {
    hosts: Arc<[Arc<Standby>]>,
    /// Ended when dropped.
    _tasks: JoinSet<()>,
}

/// Until the control thread ends. A shard of one host is not looked at.
pub(super) async fn watch(inner: Arc<Inner>) {
    let standbys = Arc::clone(inner.around.board.standbys());
    let mut watched: BTreeMap<ShardId, Watched> = BTreeMap::new();
    loop {
        let shards = inner.connections.shards();
        watched.retain(|id, _| {
            let stays = shards.iter().any(|shard| shard.id == *id);
            if !stays {
                standbys.remove(*id);
            }
            stays
        });
        for shard in shards.iter().filter(|shard| shard.may_have_standbys()) {
            let hosts = shard.each_host();
            let before = watched.get(&shard.id);
            if before.is_some_and(|before| are_same(&before.hosts, &hosts)) {
                continue;
            }
            let known = before.map(|before| Arc::clone(&before.hosts));
            let fresh = begin(&inner, &hosts, known.as_deref().unwrap_or_default());
            standbys.put(shard.id, Arc::clone(&fresh.hosts));
            watched.insert(shard.id, fresh);
        }
        tokio::time::sleep(PERIOD).await;
    }
}

fn are_same(known: &[Arc<Standby>], hosts: &[ShardConfig]) -> bool {
    let pairs = known.iter().zip(hosts);
    known.len() == hosts.len() && pairs.into_iter().all(|(known, host)| is_at(known, host))
}

fn is_at(known: &Standby, host: &ShardConfig) -> bool {
    (&known.host.host, known.host.port) == (&host.host, host.port)
}

/// Hosts that were there before keep what is known of them.
fn begin(inner: &Arc<Inner>, hosts: &[ShardConfig], known: &[Arc<Standby>]) -> Watched {
    let kept = |host: &ShardConfig| {
        known
            .iter()
            .find(|known| is_at(known, host))
            .map(Arc::clone)
    };
    let made = |host: &ShardConfig| Arc::new(Standby::new(host.clone()));
    let hosts: Arc<[_]> = hosts
        .iter()
        .map(|host| kept(host).unwrap_or_else(|| made(host)))
        .collect();
    let history = Arc::<Mutex<History>>::default();
    let mut tasks = JoinSet::new();
    for standby in hosts.iter() {
        let (inner, standby, history) =
            (Arc::clone(inner), Arc::clone(standby), Arc::clone(&history));
        tasks.spawn(async move { measure_again_and_again(&inner, &standby, &history).await });
    }
    Watched {
        hosts,
        _tasks: tasks,
    }
}

async fn measure_again_and_again(inner: &Inner, standby: &Standby, history: &Mutex<History>) {
    let mut ticks = tokio::time::interval(inner.config.reads.check_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut kept, mut silences) = (None, 0);
    loop {
        ticks.tick().await;
        let limit = inner.config.cluster.connect_timeout;
        match tokio::time::timeout(limit, measure(inner, &mut kept, standby)).await {
            Ok(Ok(measured)) => {
                silences = 0;
                judge(standby, &mut lock(history), &measured);
            }
            Ok(Err(Failure { why, is_silent })) => {
                kept = None;
                silences = if is_silent { silences + 1 } else { 0 };
                standby.failed(why);
            }
            Err(_) => {
                kept = None;
                silences += 1;
                standby.failed(format!("no answer within {} ms", limit.as_millis()));
            }
        }
        if silences == HANGS_AFTER {
            let cut = standby.cut();
            let (shard, host, port) = (standby.host.id, &standby.host.host, standby.host.port);
            tracing::warn!(%shard, host, port, cut, "a host hangs; connections that read there are given up");
        }
    }
}

/// What one host has said.
struct Measured {
    asked: Moment,
    is_standby: bool,
    position: u64,
    timeline: u32,
    is_paused: bool,
    page: u64,
    segment: u64,
}

struct Failure {
    why: String,
    /// It took the connection and said nothing.
    is_silent: bool,
}

impl From<ManagementError> for Failure {
    fn from(error: ManagementError) -> Self {
        Self {
            is_silent: matches!(error, ManagementError::Timeout { .. }),
            why: error.to_string(),
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self {
            is_silent: false,
            why: reason(&error),
        }
    }
}

/// The connection is kept in `kept` where it is good.
async fn measure(
    inner: &Inner,
    kept: &mut Option<Client>,
    standby: &Standby,
) -> Result<Measured, Failure> {
    let client = match kept.take() {
        Some(client) => client,
        None => inner.connections.to_host(&standby.host).await?,
    };
    let asked = Moment::now();
    let row = client.query_one(MEASURE, &[]).await?;
    let unsigned = |value: i64| u64::try_from(value).unwrap_or_default();
    let measured = Measured {
        asked,
        is_standby: row.try_get(0)?,
        position: unsigned(row.try_get(1)?),
        timeline: row.try_get::<_, i32>(2)?.cast_unsigned(),
        is_paused: row.try_get(3)?,
        page: unsigned(row.try_get(4)?).max(1),
        segment: unsigned(row.try_get(5)?).max(1),
    };
    *kept = Some(client);
    Ok(measured)
}

fn judge(standby: &Standby, history: &mut History, measured: &Measured) {
    if !measured.is_standby {
        let end = end_of_records(measured.position, measured.page, measured.segment);
        let is_current = history.primary(measured.timeline, measured.asked, end);
        return match is_current {
            true => standby.is_primary(),
            false => standby.is_no_standby("was replaced as the primary"),
        };
    }
    let host = &standby.host;
    let spared = host
        .patroni
        .as_ref()
        .is_some_and(|patroni| patroni.is_spared(&host.host, host.port));
    if spared {
        return standby.is_no_standby("has the tag noloadbalance");
    }
    let behind = history.behind(measured.position).unwrap_or(u64::MAX);
    let as_of = history.as_of(measured.timeline, measured.position);
    standby.measured(as_of, behind, measured.is_paused);
    if measured.timeline == 0 {
        standby.note("receives nothing from a primary");
    }
}

fn lock(history: &Mutex<History>) -> MutexGuard<'_, History> {
    history.lock().unwrap_or_else(PoisonError::into_inner)
}
