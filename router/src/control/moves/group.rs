//! One row of `oskol.moves` from whatever state it is in to its end: the buckets are on their target, or all is as before.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use topology::{BucketId, ShardId, ShardMap};

use super::end::End;
use super::error::MoveError;
use super::pace::Pace;
use super::switch::{Attempt, Change, Switch};
use super::tables::{Buckets, INDEX, MovedTable};
use super::transfer::{Copied, Transfer};
use crate::control::error::ControlError;
use crate::control::gid::GlobalId;
use crate::control::inner::Inner;
use crate::control::outcome;
use crate::fault_point::{self, FaultPoint};

/// Attempts to switch with one copy: clients are held in each.
const ATTEMPTS: u32 = 8;
/// Between two of them; grows.
const PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Bytes from which on a table is not read whole for each group.
const LARGE: i64 = 64 << 20;

/// What groups that move at the same time have in common.
pub(super) struct Shared {
    /// One switch at a time: routers hold for one, and the next one must know where its buckets went.
    turn: Mutex<()>,
    pace: Arc<Pace>,
}

impl Shared {
    pub(super) fn new(inner: &Inner) -> Self {
        Self {
            turn: Mutex::default(),
            pace: Arc::new(Pace::new(inner.config.moves.bandwidth)),
        }
    }
}

/// A row of `oskol.moves`.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) database: String,
    pub(super) id: i64,
    /// Ascending.
    pub(super) buckets: Vec<BucketId>,
    pub(super) source: ShardId,
    pub(super) target: ShardId,
    pub(super) gid: Option<String>,
}

impl Group {
    pub(super) fn of(database: &str, row: &tokio_postgres::Row) -> Self {
        // Checks on the tables keep numbers within 16 bits.
        let shard = |column: usize| ShardId(row.get::<_, i32>(column) as u16);
        let mut buckets: Vec<BucketId> = row
            .get::<_, Vec<i32>>(1)
            .into_iter()
            .map(|bucket| BucketId(bucket as u16))
            .collect();
        buckets.sort_unstable();
        Self {
            database: database.to_owned(),
            id: row.get(0),
            buckets,
            source: shard(2),
            target: shard(3),
            gid: row.get(4),
        }
    }

    /// Both may move at the same time: a shard follows what changes of one group only, and not while it takes another.
    pub(super) fn goes_with(&self, other: &Self) -> bool {
        self.source != other.source && self.source != other.target && self.target != other.source
    }

    /// Moves the buckets. `owner` is a name that no other mover has.
    ///
    /// # Errors
    /// Nothing has moved. [`MoveError::passes`] tells whether it may work later.
    pub(super) async fn run(
        &self,
        inner: &Inner,
        owner: &str,
        shared: &Shared,
    ) -> Result<(), MoveError> {
        if self.settle_last_attempt(inner).await? {
            return Ok(());
        }
        self.claim(inner, owner).await?;
        self.index(inner).await?;
        let mut lead = self.lead(inner).await?;
        let epoch = hold_catalog(&lead).await?;
        let map = self.map(&lead).await?;
        let mut transfer = self.transfer(inner, &lead, &shared.pace).await?;
        transfer.follow(Some(&lost(&map, self.source))).await?;
        fault_point::pass(FaultPoint::Move("followed")).await;
        transfer.copy().await?;
        fault_point::pass(FaultPoint::Move("copied")).await;
        let mut pause = PAUSE;
        for _ in 0..ATTEMPTS {
            transfer.catch_up().await?;
            let turn = shared.turn.lock().await;
            let change = Change::Move {
                id: self.id,
                owner: owner.to_owned(),
                buckets: self.buckets.clone(),
                // Others have had their turn meanwhile.
                map: self.map(&lead).await?,
            };
            let switch = Switch {
                inner,
                database: &self.database,
                lead: &lead,
                transfer: &mut transfer,
                change: &change,
            };
            let attempt = switch.attempt().await;
            drop(turn);
            let (error, copied) = match attempt {
                Attempt::Done(held) => {
                    tracing::info!(
                        database = self.database,
                        buckets = self.buckets.len(),
                        source = %self.source,
                        target = %self.target,
                        ?held,
                        "buckets have moved"
                    );
                    return self.note_held(inner, held).await;
                }
                Attempt::Failed { error, copied } => (error, copied),
            };
            if !copied || !error.passes() {
                return Err(error);
            }
            tracing::info!(database = self.database, %error, "the switch is tried again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            // Whoever waited to change tables has had its turn.
            if lead.client.is_closed() {
                lead = self.lead(inner).await?;
            }
            if hold_catalog(&lead).await? != epoch {
                return Err(MoveError::Later("tables were changed meanwhile".into()));
            }
        }
        Err(MoveError::Later(
            "clients' transactions leave no room for the switch".into(),
        ))
    }

    /// True: the attempt of before has moved the buckets. Whoever made it cannot do so any more.
    async fn settle_last_attempt(&self, inner: &Inner) -> Result<bool, MoveError> {
        let Some(id) = self
            .gid
            .as_deref()
            .and_then(|gid| gid.parse::<GlobalId>().ok())
        else {
            return Ok(false);
        };
        let shards = [self.source, self.target];
        outcome::finish(&inner.connections, &self.database, &id, &shards).await?;
        let home = inner.connections.get_home(&self.database).await?;
        let sql = "SELECT state = 'done' FROM oskol.moves WHERE id = $1";
        let row = home.query_one(sql, &[&self.id]).await;
        Ok(row.map_err(home.failed())?.get(0))
    }

    async fn claim(&self, inner: &Inner, owner: &str) -> Result<(), MoveError> {
        let home = inner.connections.get_home(&self.database).await?;
        let sql = "UPDATE oskol.moves SET owner = $1, state = 'copying', gid = NULL,
            started = coalesce(started, clock_timestamp())
            WHERE id = $2 AND state IN ('planned', 'copying', 'switching')";
        let claimed = home.execute(sql, &[&owner, &self.id]).await;
        match claimed.map_err(home.failed())? {
            1 => Ok(()),
            _ => Err(MoveError::Lost),
        }
    }

    /// Large tables get an index by bucket, which each group of the rebalance uses: none reads them whole while clients are
    /// held.
    async fn index(&self, inner: &Inner) -> Result<(), MoveError> {
        let lead = self.lead(inner).await?;
        let transfer = self.transfer(inner, &lead, &Arc::default()).await?;
        let source = &transfer.source;
        let oids = transfer.oids(source).await?;
        for (table, oid) in transfer.tables.iter().zip(oids) {
            let Some(make) = table.index(oid) else {
                continue;
            };
            let sql = "SELECT pg_relation_size($1::oid) >= $2, (SELECT i.indisvalid FROM pg_index i
                JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = $1::oid AND c.relname = $3::text)";
            let name = format!("{INDEX}{oid}");
            let row = source.client.query_one(sql, &[&oid, &LARGE, &name]).await;
            let row = row.map_err(source.failed())?;
            let (is_large, valid): (bool, Option<bool>) = (row.get(0), row.get(1));
            if !is_large || valid == Some(true) {
                continue;
            }
            tracing::info!(table = table.name, shard = %self.source, "an index by bucket is made");
            if valid == Some(false) {
                // Left behind by an attempt that was broken off.
                let sql = "SELECT format('DROP INDEX %s', c.oid::regclass) FROM pg_class c
                    JOIN pg_index i ON i.indexrelid = c.oid
                    WHERE i.indrelid = $1::oid AND c.relname = $2::text";
                let drop = source.client.query_one(sql, &[&oid, &name]).await;
                source.run(drop.map_err(source.failed())?.get(0)).await?;
            }
            // It waits for every transaction there is, and for none with a lock of ours.
            source.run("SET lock_timeout TO 0").await?;
            source.run(&make).await?;
            source.run(&format!("ANALYZE {}", table.name)).await?;
        }
        Ok(())
    }

    async fn lead(&self, inner: &Inner) -> Result<End, MoveError> {
        let home = inner.connections.home();
        End::new(home, inner.connections.own(home, &self.database).await?).await
    }

    async fn map(&self, lead: &End) -> Result<ShardMap, MoveError> {
        let sql = "SELECT array_agg(shard ORDER BY bucket) FROM oskol.buckets";
        let row = lead
            .client
            .query_one(sql, &[])
            .await
            .map_err(lead.failed())?;
        let owners: Vec<i32> = row.get(0);
        let owners: Vec<ShardId> = owners
            .into_iter()
            .map(|shard| ShardId(shard as u16))
            .collect();
        let mut shards = owners.clone();
        shards.push(lead.shard);
        Ok(ShardMap::new(1, lead.shard, shards, owners).map_err(ControlError::from)?)
    }

    async fn transfer(
        &self,
        inner: &Inner,
        lead: &End,
        pace: &Arc<Pace>,
    ) -> Result<Transfer, MoveError> {
        let buckets = Buckets::of(self.buckets.iter().copied());
        let rows = lead
            .client
            .query("SELECT * FROM oskol.moved_tables()", &[])
            .await;
        let rows = rows.map_err(lead.failed())?;
        let tables = rows
            .iter()
            .map(|row| MovedTable::of(row, Some(&buckets)))
            .collect();
        let end = async |shard| {
            End::new(shard, inner.connections.own(shard, &self.database).await?).await
        };
        Ok(Transfer {
            tables,
            source: end(self.source).await?,
            target: end(self.target).await?,
            pace: Arc::clone(pace),
            copied: Copied::default(),
        })
    }

    async fn note_held(&self, inner: &Inner, held: Duration) -> Result<(), MoveError> {
        let home = inner.connections.get_home(&self.database).await?;
        let held = i64::try_from(held.as_millis()).unwrap_or(i64::MAX);
        let sql = "UPDATE oskol.moves SET held_ms = $1 WHERE id = $2";
        let noted = home.execute(sql, &[&held, &self.id]).await;
        noted.map_err(home.failed())?;
        Ok(())
    }
}

fn lost(map: &ShardMap, shard: ShardId) -> Buckets {
    let all = (0..topology::BUCKETS).map(BucketId);
    Buckets::of(all.filter(|bucket| map.shard(*bucket) != shard))
}

/// Begins the lead's transaction: nobody changes tables until it ends, and no shard joins. Gives the catalog's epoch and the
/// number of the last change of the schema, which routers are told of by an epoch only after it is committed.
async fn hold_catalog(lead: &End) -> Result<(i64, i64), MoveError> {
    lead.run("BEGIN; SELECT oskol.ddl_lock_shared()").await?;
    catalog(lead).await
}

/// As [`hold_catalog`], of which there is none meanwhile.
pub(super) async fn lock_catalog(lead: &End) -> Result<(i64, i64), MoveError> {
    lead.run("BEGIN; SELECT oskol.ddl_lock()").await?;
    catalog(lead).await
}

async fn catalog(lead: &End) -> Result<(i64, i64), MoveError> {
    let row = lead
        .client
        .query_one(
            "SELECT m.epoch, a.number FROM oskol.meta m, oskol.applied a",
            &[],
        )
        .await;
    let row = row.map_err(lead.failed())?;
    Ok((row.get(0), row.get(1)))
}
