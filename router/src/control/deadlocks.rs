//! Deadlocks that no shard sees whole: found and broken.
//!
//! Asleep until a worker says that a session with several shards waits for long. Then the shards' lock tables are
//! read, and the sessions that wait are told to the other routers through the home shard, as a circle may pass through
//! several of them. A circle whose very same waits are there in two looks one after another has been there all the time
//! between: the router of the session chosen, the same on all routers, has its statement cancelled.

mod detail;
mod graph;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use tokio::sync::oneshot;
use topology::ShardId;

use super::CLUSTER_DATABASE;
use super::error::ControlError;
use super::inner::Inner;
use super::locks::{Blocker, Wait, waits};
use crate::worker::{DeadlockVictim, SessionId, StalledSession, WorkerMessage};
use graph::Global;

/// Between two looks, while sessions wait. The shards spend at most half of their time on it.
const LOOK: Duration = Duration::from_millis(250);
/// Before the look that may confirm a deadlock.
const CONFIRM: Duration = Duration::from_millis(50);
/// Longest wait for the home shard, which tells of other routers' sessions.
const SHARE_LIMIT: Duration = Duration::from_millis(500);

/// A session of any router that waits for a lock and uses several shards.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stalled {
    id: Global,
    /// When its transaction began, in microseconds of its router's clock.
    since: i64,
    backends: Vec<(ShardId, u32)>,
    gid: Option<String>,
}

/// A [`Stalled`] as routers tell it to one another.
type Told = (Global, i64, Vec<(u16, u32)>, Option<String>);

/// What makes two waits the same wait.
type WaitKey = (ShardId, u32, Blocker, i64);

/// Looks as long as sessions wait.
pub(super) struct Deadlocks {
    inner: Arc<Inner>,
    /// The waits of the last look.
    last: HashSet<WaitKey>,
    /// Other routers know of sessions that wait.
    shared: bool,
    /// The same moment on both clocks, so that an age is the same number at every look.
    started: (Instant, SystemTime),
}

impl Deadlocks {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            last: HashSet::new(),
            shared: false,
            started: (Instant::now(), SystemTime::now()),
        }
    }

    pub(super) async fn watch(mut self) {
        loop {
            self.inner.stalled.notified().await;
            let began = Instant::now();
            let suspects = self.look().await;
            let took = began.elapsed();
            tracing::debug!(?took, suspects, "looked for deadlocks");
            let pause = if suspects { CONFIRM } else { LOOK };
            tokio::time::sleep(pause.max(took)).await;
            if suspects {
                self.inner.stalled.notify_one();
            }
        }
    }

    /// True: there is a circle, which the next look may confirm.
    async fn look(&mut self) -> bool {
        let mut stalled = self.own_sessions().await;
        let mut waits = self.waits_on(shards_of(&stalled)).await;
        stalled.retain(|session| is_waiting(session, &waits));
        if stalled.is_empty() {
            self.all_clear().await;
            return false;
        }
        let known = shards_of(&stalled);
        stalled.extend(self.share(&stalled).await);
        let more = shards_of(&stalled);
        waits.extend(self.waits_on(more.difference(&known).copied()).await);
        self.break_those_that_last(&waits, &stalled).await;
        self.last = waits.iter().filter_map(key).collect();
        !graph::deadlocks(&waits.iter().collect::<Vec<_>>(), &stalled).is_empty()
    }

    async fn own_sessions(&self) -> Vec<Stalled> {
        let mut answers = Vec::new();
        for worker in &self.inner.workers {
            let (question, answer) = oneshot::channel();
            if worker.send(WorkerMessage::Stalled(question)).is_ok() {
                answers.push(answer);
            }
        }
        let answers = join_all(answers).await;
        let sessions = answers.into_iter().flatten().flatten();
        sessions.map(|session| self.stalled(session)).collect()
    }

    fn stalled(&self, session: StalledSession) -> Stalled {
        let (instant, clock) = self.started;
        let since = match session.since.checked_duration_since(instant) {
            Some(after) => clock + after,
            None => clock - (instant - session.since),
        };
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        Stalled {
            id: (self.inner.around.identity.router, session.session.0),
            // Good until the year 294,000.
            since: i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            backends: session.backends,
            gid: session.gid,
        }
    }

    async fn waits_on(&self, shards: impl IntoIterator<Item = ShardId>) -> Vec<Wait> {
        let (waits, failed) = waits(&self.inner.connections, shards).await;
        for (shard, error) in failed {
            tracing::debug!(%shard, %error, "locks cannot be looked at");
        }
        waits
    }

    /// Nobody waits any more.
    async fn all_clear(&mut self) {
        self.last.clear();
        if std::mem::take(&mut self.shared) {
            self.share(&[]).await;
            self.shared = false;
        }
    }

    /// Tells the other routers, and gives what they tell. Without the home shard each router sees its own.
    async fn share(&mut self, own: &[Stalled]) -> Vec<Stalled> {
        self.shared = true;
        match tokio::time::timeout(SHARE_LIMIT, self.exchange(own)).await {
            Ok(Ok(others)) => others,
            Ok(Err(error)) => {
                tracing::debug!(%error, "waits of other routers are not known");
                Vec::new()
            }
            Err(_) => Vec::new(),
        }
    }

    async fn exchange(&self, own: &[Stalled]) -> Result<Vec<Stalled>, ControlError> {
        let home = self.inner.connections.get_home(CLUSTER_DATABASE).await?;
        let router = i64::from(self.inner.around.identity.router);
        let own: Vec<Told> = own.iter().map(told).collect();
        // Numbers and plain names: there is nothing that cannot be written.
        let text = serde_json::to_string(&own).unwrap_or_else(|_| "[]".to_owned());
        let rows = home
            .query(
                "SELECT stalled FROM oskol.share_stalls($1, $2)",
                &[&router, &text],
            )
            .await
            .map_err(home.failed())?;
        let texts = rows.iter().map(|row| row.get::<_, String>(0));
        // Another version of the router may tell otherwise: then its sessions are not known here.
        let read = texts.filter_map(|text| serde_json::from_str::<Vec<Told>>(&text).ok());
        Ok(read.flatten().map(heard).collect())
    }

    async fn break_those_that_last(&self, waits: &[Wait], stalled: &[Stalled]) {
        let lasting: Vec<&Wait> = waits
            .iter()
            .filter(|wait| key(wait).is_some_and(|key| self.last.contains(&key)))
            .collect();
        let router = self.inner.around.identity.router;
        for deadlock in graph::deadlocks(&lasting, stalled) {
            if deadlock.victim.id.0 == router {
                self.end(&deadlock).await;
            }
        }
    }

    async fn end(&self, deadlock: &graph::Deadlock<'_>) {
        let victim = deadlock.victim;
        let detail = detail::detail(&self.inner.connections, &deadlock.waits).await;
        let waits: Vec<(ShardId, u32)> = lasting_waits(victim, &deadlock.waits);
        for worker in &self.inner.workers {
            let (chosen, answer) = oneshot::channel();
            let message = DeadlockVictim {
                session: SessionId(victim.id.1),
                waits: waits.clone(),
                detail: detail.clone(),
                chosen,
            };
            let sent = worker.send(WorkerMessage::BreakDeadlock(message)).is_ok();
            if sent && answer.await == Ok(true) {
                self.inner
                    .around
                    .metrics
                    .control
                    .deadlocks_broken
                    .increment();
                let parties = deadlock.waits.len();
                tracing::info!(
                    session = victim.id.1,
                    parties,
                    "a deadlock over several shards is broken"
                );
            }
        }
    }
}

fn told(session: &Stalled) -> Told {
    let backends = session.backends.iter();
    let backends = backends.map(|(shard, process)| (shard.0, *process));
    (
        session.id,
        session.since,
        backends.collect(),
        session.gid.clone(),
    )
}

fn heard((id, since, backends, gid): Told) -> Stalled {
    let backends = backends.into_iter();
    let backends = backends.map(|(shard, process)| (ShardId(shard), process));
    Stalled {
        id,
        since,
        backends: backends.collect(),
        gid,
    }
}

/// Where the victim waits in this circle.
fn lasting_waits(victim: &Stalled, waits: &[&Wait]) -> Vec<(ShardId, u32)> {
    let of_waits = waits.iter().map(|wait| (wait.shard, wait.waiter));
    of_waits
        .filter(|backend| victim.backends.contains(backend))
        .collect()
}

fn shards_of(stalled: &[Stalled]) -> BTreeSet<ShardId> {
    let backends = stalled.iter().flat_map(|session| &session.backends);
    backends.map(|(shard, _)| *shard).collect()
}

fn is_waiting(session: &Stalled, waits: &[Wait]) -> bool {
    let mut waits = waits.iter();
    waits.any(|wait| session.backends.contains(&(wait.shard, wait.waiter)))
}

/// None: the server has not yet noted when the wait began.
fn key(wait: &Wait) -> Option<WaitKey> {
    Some((wait.shard, wait.waiter, wait.blocker.clone(), wait.began?))
}
