//! The moment when buckets change their shard: one global transaction that takes the rows from the source, makes them
//! visible on the target, and changes the map at the home shard, which leads.
//!
//! Around it all routers hold what their clients would begin (`control/holds`). Whatever ends an attempt, its transaction is
//! settled before anybody lets go: there is never a doubt which map is true.

use std::time::Duration;

use tokio::time::Instant;
use topology::{BucketId, ShardId, ShardMap};

use super::end::{End, MOVING};
use super::error::MoveError;
use super::tables::{Buckets, MovedTable};
use super::transfer::Transfer;
use crate::config::ShardConfig;
use crate::control::error::ControlError;
use crate::control::exclusion::{BEHIND, KeptOut, keep_out_the_silent};
use crate::control::gid::GlobalId;
use crate::control::holds::{GO, Hold};
use crate::control::inner::Inner;
use crate::control::outcome::{self, Outcome};
use crate::control::watch::CHANNEL;
use crate::fault_point::{self, FaultPoint};

/// Routers hold for no longer; the attempt is called off before.
pub(super) const HOLD: Duration = Duration::from_secs(3);
/// Longest wait for transactions under way to end, in which clients are held.
const DRAIN: Duration = Duration::from_millis(700);
const UNIQUE_VIOLATION: &str = "23505";
/// Between looks whether all routers hold.
const LOOK: Duration = Duration::from_millis(3);

/// What the home shard is told.
pub(super) enum Change {
    /// A row of `oskol.moves`, and who works at it.
    Move {
        id: i64,
        owner: String,
        buckets: Vec<BucketId>,
        /// Before the move.
        map: ShardMap,
    },
    Join {
        shard: ShardConfig,
        name: String,
    },
}

pub(super) struct Switch<'a> {
    pub(super) inner: &'a Inner,
    pub(super) database: &'a str,
    /// The home shard, in a transaction that holds the lock for DDL.
    pub(super) lead: &'a End,
    pub(super) transfer: &'a mut Transfer,
    pub(super) change: &'a Change,
}

/// As `oskol.applied` has it.
struct Part {
    /// After the move.
    moved: i64,
    number: i64,
    digest: i64,
    /// Of the source and of the target.
    before: [Option<i64>; 2],
}

impl Part {
    /// Only where the shard stands as it must: else it would be so from now on, without what it lacks.
    async fn note(&self, end: &End, before: Option<i64>) -> Result<(), MoveError> {
        let sql =
            "UPDATE oskol.applied SET moved = $1 WHERE number = $2 AND digest = $3 AND moved = $4";
        let noted = end
            .client
            .execute(sql, &[&self.moved, &self.number, &self.digest, &before])
            .await;
        match noted.map_err(end.failed())? {
            1 => Ok(()),
            _ => Err(MoveError::Refused(format!(
                "shard {} is kept out: SHOW SHARDS says why",
                end.shard
            ))),
        }
    }
}

/// How long each step took of those in which clients wait.
struct Steps {
    last: Instant,
    taken: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn begin() -> Self {
        Self {
            last: Instant::now(),
            taken: Vec::new(),
        }
    }

    fn end(&mut self, step: &'static str) {
        self.taken.push((step, self.last.elapsed()));
        self.last = Instant::now();
    }
}

/// How an attempt ended.
pub(super) enum Attempt {
    /// After holding clients for so long.
    Done(Duration),
    /// Nothing has changed. `copied`: what the target has copied is still there.
    Failed { error: MoveError, copied: bool },
}

impl Switch<'_> {
    pub(super) async fn attempt(mut self) -> Attempt {
        let home = self.lead.shard;
        let (recovery, cluster) = (&self.inner.recovery, &self.inner.config.cluster.name);
        let gid = recovery.live.name(cluster, recovery.router, home, 3);
        let live = recovery.live.enter(&gid);
        let hold = Hold {
            gid: gid.clone(),
            source: self.transfer.source.shard,
            target: self.transfer.target.shard,
            limit: HOLD,
        };
        let began = Instant::now();
        let mut prepared = false;
        let tried = self.try_once(&hold, &mut prepared).await;
        let settled = match &tried {
            Ok(()) => Ok(Outcome::Committed),
            Err(_) => self.settle(&gid).await,
        };
        let ended = match settled {
            Ok(outcome) => self.end(&gid, outcome, prepared).await.map(|()| outcome),
            Err(error) => Err(error),
        };
        drop(live);
        if let Err(error) = self.say(&format!("{GO}{gid}")).await {
            tracing::warn!(%error, "routers are not told that a move is over; they find out");
        }
        match (ended, tried) {
            (Ok(Outcome::Committed), _) => Attempt::Done(began.elapsed()),
            (Ok(Outcome::Aborted), Err(error)) => Attempt::Failed {
                error,
                // A failed statement may have taken the target's transaction with it.
                copied: !prepared && self.transfer.target.run("SELECT").await.is_ok(),
            },
            (Err(error), _) => Attempt::Failed {
                error,
                copied: false,
            },
            (Ok(Outcome::Aborted), Ok(())) => Attempt::Failed {
                error: MoveError::Later("the switch was called off".into()),
                copied: false,
            },
        }
    }

    /// Everything up to the decision.
    async fn try_once(&mut self, hold: &Hold, prepared: &mut bool) -> Result<(), MoveError> {
        self.note_attempt(&hold.gid).await?;
        let part = self.read_part().await?;
        let kept_out = self.keep_out_the_silent().await?;
        let Transfer { source, target, .. } = &*self.transfer;
        let (of_source, of_target) =
            tokio::try_join!(self.transfer.oids(source), self.transfer.oids(target))?;
        self.lead.run(&hold.lock()).await?;
        // Clients wait from here on: few round trips.
        let mut steps = Steps::begin();
        self.say(&hold.announcement()).await?;
        self.all_hold(&hold.gid, &kept_out).await?;
        steps.end("hold");
        fault_point::pass(FaultPoint::Move("held")).await;
        self.catch_up_at_last().await?;
        steps.end("catch up");
        tokio::try_join!(
            self.take_from_source(&of_source),
            self.fence_target(&of_target)
        )?;
        self.note_part(&part).await?;
        steps.end("take");
        fault_point::pass(FaultPoint::Move("ready")).await;
        let prepare = format!("PREPARE TRANSACTION '{}'", hold.gid);
        *prepared = true;
        let Transfer { source, target, .. } = &*self.transfer;
        let (ours, theirs) = tokio::join!(source.run(&prepare), target.run(&prepare));
        ours.and(theirs)?;
        steps.end("prepare");
        fault_point::pass(FaultPoint::Move("prepared")).await;
        self.decide(&hold.gid, &kept_out, part.moved).await?;
        steps.end("decide");
        tracing::debug!(gid = hold.gid, steps = ?steps.taken, "the switch is decided");
        fault_point::pass(FaultPoint::Move("decided")).await;
        Ok(())
    }

    /// So that whoever takes over can settle it.
    async fn note_attempt(&self, gid: &str) -> Result<(), MoveError> {
        let Change::Move { id, owner, .. } = self.change else {
            return Ok(());
        };
        let home = self.inner.connections.get_home(self.database).await?;
        let sql = "UPDATE oskol.moves SET gid = $1, state = 'switching', attempts = attempts + 1
            WHERE id = $2 AND owner = $3";
        let noted = home.execute(sql, &[&gid, id, owner]).await;
        match noted.map_err(home.failed())? {
            1 => Ok(()),
            _ => Err(MoveError::Lost),
        }
    }

    async fn say(&self, said: &str) -> Result<(), MoveError> {
        let home = self.inner.connections.get_home(self.database).await?;
        let told = home
            .execute("SELECT pg_notify($1, $2)", &[&CHANNEL, &said])
            .await;
        told.map_err(home.failed())?;
        Ok(())
    }

    /// Those that nobody will wait for.
    async fn keep_out_the_silent(&self) -> Result<KeptOut, MoveError> {
        let Transfer { source, target, .. } = &*self.transfer;
        // A router that was silent before a shard joins does not know it.
        let shards = match self.change {
            Change::Move { .. } => vec![source.shard, target.shard],
            Change::Join { .. } => vec![source.shard],
        };
        Ok(keep_out_the_silent(&self.inner.connections, self.database, &shards).await?)
    }

    async fn all_hold(&self, gid: &str, kept_out: &KeptOut) -> Result<(), MoveError> {
        let home = self.inner.connections.get_home(self.database).await?;
        let deadline = Instant::now() + DRAIN;
        loop {
            let KeptOut { routers, lives } = kept_out;
            let row = home.query_one(BEHIND, &[&gid, routers, lives]).await;
            if row.map_err(home.failed())?.get::<_, i64>(0) == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(MoveError::Later(format!(
                    "transactions under way do not end within {} ms",
                    DRAIN.as_millis()
                )));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The source's transaction is begun, in which the last changes are copied.
    async fn catch_up_at_last(&mut self) -> Result<(), MoveError> {
        let lock = format!("SET LOCAL lock_timeout TO '1s'; {}", self.transfer.lock());
        self.transfer.source.begin("BEGIN", MOVING).await?;
        self.transfer.source.run(&lock).await?;
        self.transfer.catch_up_at_last().await
    }

    /// The source's part of the transaction: the rows go, the fence is put up. `oids`: of the tables, there.
    async fn take_from_source(&self, oids: &[u32]) -> Result<(), MoveError> {
        let Transfer { source, tables, .. } = &*self.transfer;
        let lost = self.lost_after(source.shard);
        if lost.is_some() {
            source.write_all(tables, MovedTable::delete).await?;
        }
        let fences = tables.iter().zip(oids);
        let fences = fences.map(|(table, oid)| table.fence(*oid, lost.as_ref()));
        source.run(&fences.collect::<Vec<_>>().join("; ")).await
    }

    /// A fence that stands there must not keep out what comes. `oids`: of the tables, there.
    async fn fence_target(&self, oids: &[u32]) -> Result<(), MoveError> {
        let Transfer { target, tables, .. } = &*self.transfer;
        let sql = "SELECT oid FROM unnest($1::oid[]) oid WHERE to_regprocedure(format('oskol.on_move_%s()', oid)) IS NOT NULL";
        let stand = target.client.query(sql, &[&oids]).await;
        let stand = stand.map_err(target.failed())?;
        let stand: Vec<u32> = stand.iter().map(|row| row.get(0)).collect();
        let lost = self.lost_after(target.shard);
        let fences = tables.iter().zip(oids);
        let fences = fences.filter(|(_, oid)| stand.contains(oid));
        let fences = fences.map(|(table, oid)| table.fence(*oid, lost.as_ref()));
        target.run(&fences.collect::<Vec<_>>().join("; ")).await
    }

    /// What both ends must have done so far, and what this move is known by from now on.
    async fn read_part(&self) -> Result<Part, MoveError> {
        let lead = self.lead;
        // Of this move alone, and the same until its end: the lead holds the lock for DDL.
        let sql = "SELECT m.map_epoch + 1, a.number, a.digest,
            (SELECT moved FROM oskol.shards WHERE id = $1), (SELECT moved FROM oskol.shards WHERE id = $2)
            FROM oskol.meta m, oskol.applied a";
        let Transfer { source, target, .. } = &*self.transfer;
        let ids = [i32::from(source.shard.0), i32::from(target.shard.0)];
        let row = lead.client.query_one(sql, &[&ids[0], &ids[1]]).await;
        let row = row.map_err(lead.failed())?;
        Ok(Part {
            moved: row.get(0),
            number: row.get(1),
            digest: row.get(2),
            before: [row.get(3), row.get(4)],
        })
    }

    /// A shard that is restored from before this has neither the rows that came nor lost those that went: it is known by that.
    async fn note_part(&self, part: &Part) -> Result<(), MoveError> {
        let Transfer { source, target, .. } = &*self.transfer;
        match self.change {
            Change::Move { .. } => {
                let [of_source, of_target] = part.before;
                // The source first: where it fails nothing is left of this on the target, whose transaction may go on.
                part.note(source, of_source).await?;
                part.note(target, of_target).await
            }
            Change::Join { .. } => {
                let sql = format!("UPDATE oskol.applied SET moved = {}", part.moved);
                target.run(&sql).await
            }
        }
    }

    /// The buckets that are not on `shard` once this is done; none where no bucket moves.
    fn lost_after(&self, shard: ShardId) -> Option<Buckets> {
        let Change::Move { buckets, map, .. } = self.change else {
            return None;
        };
        let target = self.transfer.target.shard;
        let owner = |bucket: BucketId| match buckets.binary_search(&bucket) {
            Ok(_) => target,
            Err(_) => map.shard(bucket),
        };
        let all = (0..topology::BUCKETS).map(BucketId);
        Some(Buckets::of(all.filter(|bucket| owner(*bucket) != shard)))
    }

    /// The lead's own part; its commit is the decision. No router may come or go meanwhile.
    async fn decide(&self, gid: &str, kept_out: &KeptOut, moved: i64) -> Result<(), MoveError> {
        let lead = self.lead;
        if let Change::Move { id, owner, .. } = self.change {
            let sql = "SELECT FROM oskol.moves WHERE id = $1 AND owner = $2 FOR UPDATE";
            let mine = lead.client.query_opt(sql, &[id, owner]).await;
            mine.map_err(lead.failed())?.ok_or(MoveError::Lost)?;
        }
        lead.run("LOCK TABLE oskol.routers IN SHARE MODE").await?;
        let KeptOut { routers, lives } = kept_out;
        let row = lead.client.query_one(BEHIND, &[&gid, routers, lives]).await;
        if row.map_err(lead.failed())?.get::<_, i64>(0) > 0 {
            return Err(MoveError::Later(
                "a router has come that does not hold".into(),
            ));
        }
        self.write_change(moved).await?;
        let decide = format!("SELECT oskol.decide('{gid}'); COMMIT");
        lead.run(&decide).await.map_err(|error| match error {
            // A router would not hold any longer, and has written the opposite.
            MoveError::Control(error) if error.sqlstate() == Some(UNIQUE_VIOLATION) => {
                MoveError::Later("the routers did not hold long enough".into())
            }
            error => error,
        })
    }

    async fn write_change(&self, moved: i64) -> Result<(), MoveError> {
        let (lead, copied) = (self.lead, self.transfer.copied);
        match self.change {
            Change::Move { id, buckets, .. } => {
                let (source, target) = (self.transfer.source.shard, self.transfer.target.shard);
                let numbers: Vec<i32> = buckets.iter().map(|bucket| bucket.0.into()).collect();
                let sql =
                    "UPDATE oskol.buckets SET shard = $1 WHERE bucket = ANY ($2) AND shard = $3";
                let (from, to) = (i32::from(source.0), i32::from(target.0));
                let placed = lead.client.execute(sql, &[&to, &numbers, &from]).await;
                if placed.map_err(lead.failed())? != numbers.len() as u64 {
                    return Err(MoveError::Refused(
                        "the buckets are not where the plan says: plan anew".into(),
                    ));
                }
                let sql = "UPDATE oskol.moves SET state = 'done', error = NULL, rows = $2, bytes = $3, followed = $4,
                    finished = clock_timestamp() WHERE id = $1";
                let figure = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
                let (rows, bytes) = (figure(copied.rows), figure(copied.bytes));
                let followed = figure(copied.followed);
                let done = lead
                    .client
                    .execute(sql, &[id, &rows, &bytes, &followed])
                    .await;
                done.map_err(lead.failed())?;
                lead.run(&format!(
                    "UPDATE oskol.meta SET map_epoch = map_epoch + 1;
                    UPDATE oskol.shards SET moved = {moved} WHERE id IN ({from}, {to})"
                ))
                .await
            }
            Change::Join { shard, name } => {
                let sql = "INSERT INTO oskol.shards AS s (id, host, port, weight, name, moved)
                    VALUES ($1, $2, $3, $4, $5, $6)
                    ON CONFLICT (id) DO UPDATE SET state = 'active', moved = excluded.moved";
                let (id, port) = (i32::from(shard.id.0), i32::from(shard.port));
                let row: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
                    [&id, &shard.host, &port, &shard.weight, name, &moved];
                lead.client
                    .execute(sql, &row)
                    .await
                    .map_err(lead.failed())?;
                lead.run(
                    "UPDATE oskol.meta SET map_epoch = map_epoch + 1, epoch = epoch + 1,
                    sequence_epoch = sequence_epoch + 1",
                )
                .await
            }
        }
    }

    async fn settle(&self, gid: &str) -> Result<Outcome, MoveError> {
        // The lead's transaction may hold what others wait for.
        let _ = self.lead.run("ROLLBACK").await;
        let id = global(gid)?;
        Ok(outcome::settle(&self.inner.connections, self.database, &id).await?)
    }

    /// Does on both shards what was decided.
    async fn end(&self, gid: &str, outcome: Outcome, prepared: bool) -> Result<(), MoveError> {
        let Transfer { source, target, .. } = &*self.transfer;
        if !prepared {
            return source.run("ROLLBACK").await;
        }
        let sql = outcome.statement(gid);
        let (ours, theirs) = tokio::join!(source.run(&sql), target.run(&sql));
        if ours.is_ok() && theirs.is_ok() {
            return Ok(());
        }
        // One of them was not prepared, or its connection broke.
        for end in [source, target] {
            let _ = end.run("ROLLBACK").await;
        }
        self.finish(gid, outcome).await
    }

    async fn finish(&self, gid: &str, outcome: Outcome) -> Result<(), MoveError> {
        let ends = [&self.transfer.source, &self.transfer.target];
        for end in ends {
            let ended = match self.inner.connections.get(end.shard, self.database).await {
                Ok(connection) => outcome::end_prepared(&connection, gid, outcome).await,
                // A server that is no shard yet is known by this connection only.
                Err(ControlError::UnknownShard(_)) => Ok(()),
                Err(error) => Err(error),
            };
            ended?;
        }
        Ok(())
    }
}

fn global(gid: &str) -> Result<GlobalId, MoveError> {
    let refused = |_| MoveError::Refused(format!("{gid} is not the name of a transaction"));
    gid.parse().map_err(refused)
}
