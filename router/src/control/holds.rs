//! This router's part in a move of buckets: it holds what its clients would begin, says so once nothing of theirs is on its
//! way to the source, and lets go when the outcome is known and it routes by the map that follows from it.
//!
//! Takes what the mover says on the database's channel. A hold is known by the global transaction that moves the buckets.
//! When the mover falls silent this router settles that transaction itself, so that no timeout ever leaves in doubt which
//! map is true: what was not decided by then is rolled back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot};
use topology::ShardId;

use super::catalog;
use super::error::ControlError;
use super::gid::GlobalId;
use super::outcome::{self, Outcome};
use super::watch::{CHANNEL, SEEN, Surroundings, Watched};
use crate::worker::WorkerMessage;

/// Followed by the transaction, source, target, and how long to hold in milliseconds.
pub(crate) const HOLD: &str = "hold ";
/// Followed by the transaction: it is over, one way or the other.
pub(crate) const GO: &str = "go ";
/// Between looks at what is still under way.
const LOOK: Duration = Duration::from_millis(3);
/// Most moves take no longer; then it is looked whether the mover lives.
const GRACE: Duration = Duration::from_millis(200);
/// Between tries to learn the outcome, and between such looks.
const RETRY: Duration = Duration::from_millis(100);
/// Of one try: a connection may be dead, and not closed.
const LONGEST_TRY: Duration = Duration::from_secs(8);
/// Of its part on one shard.
const LONGEST_END: Duration = Duration::from_secs(2);

/// What a database knows of holds.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    under_way: AtomicBool,
    /// The transaction that was over last.
    over: RwLock<String>,
    said_over: Notify,
}

impl Holds {
    fn is_over(&self, gid: &str) -> bool {
        *self.over.read().unwrap_or_else(PoisonError::into_inner) == gid
    }

    fn set_over(&self, gid: &str) {
        gid.clone_into(&mut self.over.write().unwrap_or_else(PoisonError::into_inner));
        self.said_over.notify_waiters();
    }

    async fn until_over(&self, gid: &str) {
        loop {
            let said = self.said_over.notified();
            tokio::pin!(said);
            said.as_mut().enable();
            if self.is_over(gid) {
                return;
            }
            said.await;
        }
    }
}

/// One move, as its mover announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) gid: String,
    pub(crate) source: ShardId,
    pub(crate) target: ShardId,
    pub(crate) limit: Duration,
}

impl Hold {
    /// The mover holds this lock in its transaction at the home shard as long as that lasts.
    pub(crate) fn lock(&self) -> String {
        format!(
            "SELECT pg_advisory_xact_lock(hashtextextended('{}', 0))",
            self.gid
        )
    }

    pub(crate) fn announcement(&self) -> String {
        let Self {
            gid,
            source,
            target,
            limit,
        } = self;
        format!("{HOLD}{gid} {source} {target} {}", limit.as_millis())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut number = || words.next();
        let gid = number()?.to_owned();
        let source = ShardId(number()?.parse().ok()?);
        let target = ShardId(number()?.parse().ok()?);
        let limit = Duration::from_millis(number()?.parse().ok()?);
        Some(Self {
            gid,
            source,
            target,
            limit,
        })
    }
}

/// Takes up what concerns holds in a notification.
pub(crate) fn hear(around: &Surroundings, watched: &Arc<Watched>, said: &str) {
    if let Some(gid) = said.strip_prefix(GO) {
        watched.holds.set_over(gid);
    }
    let hold = said.strip_prefix(HOLD).and_then(Hold::parse);
    // One at a time: the mover of a second one waits in vain for this router, and tries again.
    if let Some(hold) = hold
        && !watched.holds.under_way.swap(true, Ordering::AcqRel)
    {
        let part = Part {
            around: around.clone(),
            watched: Arc::clone(watched),
            hold,
            said: AtomicBool::new(false),
        };
        tokio::spawn(part.run());
    }
}

struct Part {
    around: Surroundings,
    watched: Arc<Watched>,
    hold: Hold,
    /// The mover may count on it that this router holds.
    said: AtomicBool,
}

impl Part {
    async fn run(self) {
        let began = std::time::Instant::now();
        self.watched.database.hold(self.hold.source);
        let is_told = tokio::select! {
            () = self.watched.holds.until_over(&self.hold.gid) => true,
            () = tokio::time::sleep(self.hold.limit) => false,
            () = self.mover_is_gone() => false,
            () = self.take_part() => false,
        };
        let mut outcome = None;
        // Unless it was told, the mover does without this router only if shards let it in no more.
        while self.said.load(Ordering::Relaxed) {
            match tokio::time::timeout(LONGEST_TRY, self.conclude()).await {
                Ok(Ok(known)) => {
                    outcome = Some(known);
                    break;
                }
                Ok(Err(error)) => {
                    tracing::warn!(gid = self.hold.gid, %error, "clients wait: the outcome of a move is not known yet");
                }
                Err(_) => {
                    tracing::warn!(
                        gid = self.hold.gid,
                        "clients wait: the home shard does not tell the outcome of a move"
                    );
                    self.around.connections.close(self.watched.database.name());
                }
            }
            tokio::time::sleep(RETRY).await;
        }
        self.watched.database.let_go();
        self.watched.holds.under_way.store(false, Ordering::Release);
        tracing::debug!(gid = self.hold.gid, took = ?began.elapsed(), "let go");
        if !is_told && outcome == Some(Outcome::Aborted) {
            self.roll_back().await;
        }
    }

    /// Says that nothing is on its way any more, once it is so; never returns.
    async fn take_part(&self) {
        while !self.drained().await {
            tokio::time::sleep(LOOK).await;
        }
        while let Err(error) = self.say_held().await {
            tracing::debug!(%error, "the mover is not told that all is held");
            tokio::time::sleep(RETRY).await;
        }
        std::future::pending().await
    }

    async fn drained(&self) -> bool {
        let database: Arc<str> = self.watched.database.name().into();
        let mut answers = Vec::new();
        for worker in &self.around.workers {
            let (answer, answered) = oneshot::channel();
            let question = WorkerMessage::Drained {
                database: Arc::clone(&database),
                shard: self.hold.source,
                answer,
            };
            // A worker that has ended has no sessions.
            if worker.send(question).is_ok() {
                answers.push(answered);
            }
        }
        join_all(answers)
            .await
            .into_iter()
            .all(|drained| drained.unwrap_or(true))
    }

    /// On a new connection: where there is none the home shard cannot have heard it, and nobody has to wait for the outcome.
    async fn say_held(&self) -> Result<(), ControlError> {
        let connections = &self.around.connections;
        let home_shard = connections.home();
        let home = connections
            .own(home_shard, self.watched.database.name())
            .await?;
        self.said.store(true, Ordering::Relaxed);
        let failed = ControlError::statement(home_shard);
        let number = i64::from(self.around.identity.router);
        let sql = "UPDATE oskol.routers SET held = $1 WHERE id = $2";
        home.execute(sql, &[&self.hold.gid, &number])
            .await
            .map_err(&failed)?;
        let said = format!("NOTIFY {CHANNEL}, '{SEEN}'");
        home.batch_execute(&said).await.map_err(&failed)
    }

    /// Learns the outcome, which is a rollback if there was none, and routes by it. A shard on which it cannot be committed now is
    /// asked for nothing until it is: no row is looked for where it is not yet, and all others are served.
    async fn conclude(&self) -> Result<Outcome, ControlError> {
        // A name that is not one was never prepared.
        let Ok(id) = self.hold.gid.parse::<GlobalId>() else {
            return Ok(Outcome::Aborted);
        };
        let (connections, database) = (&self.around.connections, self.watched.database.name());
        let outcome = outcome::settle(connections, database, &id).await?;
        if outcome == Outcome::Aborted {
            return Ok(outcome);
        }
        let home = self.home().await?;
        catalog::learn_shards(&home).await?;
        let unsettled = self.commit().await?;
        let row = home
            .query_one("SELECT map_epoch FROM oskol.meta", &[])
            .await;
        let wanted = row.map_err(home.failed())?.get::<_, i64>(0) as u64;
        drop(home);
        self.watched.set_unsettled(&unsettled);
        let routes = async {
            let mut seen = self.watched.seen.subscribe();
            // The sender lives as long as `watched`.
            let reached = seen.wait_for(|seen| seen.map >= wanted).await;
            reached.map_err(|_| ControlError::Stopped)?;
            while !unsettled
                .iter()
                .all(|shard| self.watched.is_left_alone(*shard))
            {
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        let late = |_| ControlError::Timeout {
            what: "the shard map after a move",
            limit: self.hold.limit,
        };
        let routed = tokio::time::timeout(self.hold.limit, routes).await;
        routed.map_err(late)?.map(|()| outcome)
    }

    /// Those shards where it could not be done now. Without the home shard nothing is sure.
    async fn commit(&self) -> Result<Vec<ShardId>, ControlError> {
        let mut unsettled = Vec::new();
        for (shard, error) in self.end(Outcome::Committed).await {
            if shard == self.around.connections.home() {
                return Err(error);
            }
            tracing::warn!(gid = self.hold.gid, %shard, %error,
                "rows have moved, and one of the shards cannot be reached: nothing is asked of it until it can");
            unsettled.push(shard);
        }
        Ok(unsettled)
    }

    /// What a dead mover has prepared keeps writers waiting: not until recovery takes it up, as far as that can be had. Nobody is
    /// held meanwhile: a shard may be slow to answer, and no row has moved.
    async fn roll_back(&self) {
        for (shard, error) in self.end(Outcome::Aborted).await {
            tracing::info!(gid = self.hold.gid, %shard, %error, "a move is rolled back by recovery");
        }
    }

    /// Ends what is prepared on both shards, as was decided. Where that failed, and why.
    async fn end(&self, outcome: Outcome) -> Vec<(ShardId, ControlError)> {
        let (connections, database) = (&self.around.connections, self.watched.database.name());
        let ended = [self.hold.source, self.hold.target].map(async |shard| {
            let gid = &self.hold.gid;
            let done = outcome::end_on(connections, database, shard, gid, outcome);
            match tokio::time::timeout(LONGEST_END, done).await {
                Ok(done) => done.err().map(|error| (shard, error)),
                Err(_) => {
                    let error = ControlError::Timeout {
                        what: "the end of a move",
                        limit: LONGEST_END,
                    };
                    Some((shard, error))
                }
            }
        });
        join_all(ended).await.into_iter().flatten().collect()
    }

    /// Returns when the mover's transaction at the home shard is over, and nobody has said so: it died, or is about to say it.
    async fn mover_is_gone(&self) {
        tokio::time::sleep(GRACE).await;
        loop {
            match self.has_mover_ended().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(%error, "the home shard does not tell whether a mover lives");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn has_mover_ended(&self) -> Result<bool, ControlError> {
        let home = self.home().await?;
        let sql = "SELECT pg_try_advisory_xact_lock_shared(hashtextextended($1, 0))";
        let row = home.query_one(sql, &[&self.hold.gid]).await;
        Ok(row.map_err(home.failed())?.get(0))
    }

    async fn home(&self) -> Result<super::connections::Lent, ControlError> {
        let name = self.watched.database.name();
        self.around.connections.get_home(name).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_mover_announces_is_understood() {
        let hold = Hold {
            gid: "oskol:main:1:2:0:3".into(),
            source: ShardId(1),
            target: ShardId(2),
            limit: Duration::from_millis(1500),
        };
        let said = hold.announcement();
        assert_eq!(said.strip_prefix(HOLD).and_then(Hold::parse), Some(hold));
        assert_eq!(Hold::parse("x 1"), None);
    }
}
