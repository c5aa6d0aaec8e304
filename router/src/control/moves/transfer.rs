//! Copies rows from one shard to another while they are written: a copy, and then again and again what has changed since,
//! until little is left.
//!
//! All that is copied is in one open transaction of the target: nobody sees it before the switch, and nothing is left when
//! the copy ends in any other way. What changes on the source meanwhile is noted there by a trigger, in the transaction of
//! the change (`oskol.move_log`). Knows nothing of routers, holds and the shard map.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, pin_mut};
use tokio_postgres::Client;
use topology::ShardId;

use super::error::MoveError;
use super::pace::Pace;
use super::tables::{Buckets, Identities, MovedTable};
use crate::control::error::ControlError;

/// Of the connections that copy: values are printed as any server reads them, what takes long is not ended, and a
/// deadlock is ours to lose.
const SETTINGS: &str = "SET datestyle TO 'ISO, YMD'; SET intervalstyle TO 'postgres'; SET extra_float_digits TO 3;
    SET bytea_output TO 'hex'; SET lc_monetary TO 'C'; SET timezone TO 'UTC'; SET row_security TO off;
    SET standard_conforming_strings TO on; SET statement_timeout TO 0; SET lock_timeout TO '3s';
    SET idle_in_transaction_session_timeout TO '15min'; SET deadlock_timeout TO '100ms'";
/// A transaction of the target's: triggers of the user's are silent, and foreign keys hold as they did at the source.
const BEGIN_TARGET: &str = "BEGIN; SET LOCAL session_replication_role TO replica";
/// Changes read in one look.
const CHANGES: i64 = 20_000;
/// So few changes in a look are few enough for the switch.
const FEW: usize = 200;
/// Looks until the switch is tried anyway.
const LOOKS: usize = 50;
/// Bytes between two waits for the limit of bandwidth.
const PACE: u64 = 64 << 10;

/// One shard's end.
pub(super) struct End {
    pub(super) shard: ShardId,
    pub(super) client: Client,
}

impl End {
    pub(super) async fn new(shard: ShardId, client: Client) -> Result<Self, MoveError> {
        let end = Self { shard, client };
        end.run(SETTINGS).await?;
        Ok(end)
    }

    pub(super) async fn run(&self, sql: &str) -> Result<(), MoveError> {
        Ok(self
            .client
            .batch_execute(sql)
            .await
            .map_err(self.failed())?)
    }

    pub(super) fn failed(&self) -> impl Fn(tokio_postgres::Error) -> ControlError + use<> {
        ControlError::statement(self.shard)
    }
}

/// What a copy came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copied {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// Copied anew, as they had changed.
    pub(super) followed: u64,
}

pub(super) struct Transfer {
    pub(super) tables: Vec<MovedTable>,
    pub(super) source: End,
    pub(super) target: End,
    pub(super) pace: Arc<Pace>,
    pub(super) copied: Copied,
}

/// By name of the table.
type Changes = BTreeMap<String, Identities>;

impl Transfer {
    /// Puts the triggers in place, and forgets what was noted for an attempt of before. After this every change of a row that
    /// moves is noted; whoever was writing has come to an end.
    pub(super) async fn follow(&self, lost: Option<&Buckets>) -> Result<(), MoveError> {
        let source = &self.source;
        let begun = source.run("BEGIN; SET LOCAL lock_timeout TO '1s'").await;
        let followed = async {
            begun?;
            for table in &self.tables {
                source
                    .run(&format!(
                        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
                        table.name
                    ))
                    .await?;
                let oid = self.oid(source, table).await?;
                source.run(&table.follower(oid, true, lost)).await?;
                source
                    .run(&format!("SELECT oskol.follow({oid}::regclass)"))
                    .await?;
            }
            source.run("DELETE FROM oskol.move_log; COMMIT").await
        };
        let outcome = followed.await;
        if outcome.is_err() {
            let _ = source.run("ROLLBACK").await;
        }
        outcome
    }

    /// Of a table on one end.
    pub(super) async fn oid(&self, end: &End, table: &MovedTable) -> Result<u32, MoveError> {
        let sql = "SELECT $1::text::regclass::oid";
        let row = end.client.query_one(sql, &[&table.name]).await;
        Ok(row.map_err(end.failed())?.get(0))
    }

    /// The first copy, of what is there now.
    pub(super) async fn copy(&mut self) -> Result<(), MoveError> {
        self.target.run(BEGIN_TARGET).await?;
        self.source
            .run("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await?;
        for table in self.tables.clone() {
            self.pump(&table.copy_out(), &table.copy_in(), false)
                .await?;
        }
        self.source.run("COMMIT").await
    }

    /// Copies what has changed, until a look finds little; then both sides are compared as of that look, bucket by bucket.
    pub(super) async fn catch_up(&mut self) -> Result<(), MoveError> {
        for _ in 0..LOOKS {
            self.source
                .run("BEGIN ISOLATION LEVEL REPEATABLE READ")
                .await?;
            let (sequences, changes) = self.changes().await?;
            self.redo(&changes).await?;
            let caught_up = sequences.len() < FEW;
            if caught_up {
                self.compare(None).await?;
            }
            self.source.run("COMMIT").await?;
            self.forget(&sequences).await?;
            if caught_up {
                return Ok(());
            }
        }
        Err(MoveError::Later(
            "rows change faster than they are copied".into(),
        ))
    }

    /// The last changes, when nobody writes any more; inside the source's own transaction. The rows that they are about are
    /// compared on both sides.
    pub(super) async fn catch_up_at_last(&mut self) -> Result<(), MoveError> {
        loop {
            let (sequences, changes) = self.changes().await?;
            if sequences.is_empty() {
                return Ok(());
            }
            self.redo(&changes).await?;
            self.compare(Some(&changes)).await?;
            self.forget(&sequences).await?;
        }
    }

    async fn changes(&self) -> Result<(Vec<i64>, Changes), MoveError> {
        let sql = "SELECT sequence, relation, to_json(identity)::text FROM oskol.move_log ORDER BY sequence LIMIT $1";
        let rows = self.source.client.query(sql, &[&CHANGES]).await;
        let (mut sequences, mut changes) = (Vec::new(), Changes::new());
        for row in rows.map_err(self.source.failed())? {
            sequences.push(row.get(0));
            changes.entry(row.get(1)).or_default().add(row.get(2));
        }
        Ok((sequences, changes))
    }

    async fn forget(&self, sequences: &[i64]) -> Result<(), MoveError> {
        let sql = "DELETE FROM oskol.move_log WHERE sequence = ANY ($1)";
        let gone = self.source.client.execute(sql, &[&sequences]).await;
        gone.map_err(self.source.failed())?;
        Ok(())
    }

    /// All are taken away before any comes: a value of a unique key may have passed from row to row.
    async fn redo(&mut self, changes: &Changes) -> Result<(), MoveError> {
        let changed = |table: &MovedTable| changes.get(&table.name).map(|ids| (table.clone(), ids));
        let changed: Vec<_> = self.tables.iter().filter_map(changed).collect();
        for (table, identities) in &changed {
            self.target.run(&table.delete_some(identities)).await?;
        }
        for (table, identities) in &changed {
            self.pump(&table.copy_out_some(identities), &table.copy_in(), true)
                .await?;
        }
        Ok(())
    }

    /// Every bucket, or the changed rows, must be the same on both sides.
    async fn compare(&self, changes: Option<&Changes>) -> Result<(), MoveError> {
        for table in &self.tables {
            let sql = match changes.map(|changes| changes.get(&table.name)) {
                None => table.digest(),
                Some(Some(identities)) => table.digest_some(identities),
                Some(None) => continue,
            };
            let (ours, theirs) =
                tokio::join!(digests(&self.source, &sql), digests(&self.target, &sql));
            let (ours, theirs) = (ours?, theirs?);
            if ours != theirs {
                let differs = |bucket: &&i32| ours.get(bucket) != theirs.get(bucket);
                let bucket = ours.keys().chain(theirs.keys()).find(differs).copied();
                return Err(MoveError::Differs {
                    table: table.name.clone(),
                    bucket: bucket.unwrap_or_default(),
                });
            }
        }
        Ok(())
    }

    /// Rows as text, from COPY to COPY.
    async fn pump(&mut self, out: &str, into: &str, again: bool) -> Result<(), MoveError> {
        let rows = self
            .source
            .client
            .copy_out(out)
            .await
            .map_err(self.source.failed())?;
        let sink = self.target.client.copy_in::<_, Bytes>(into).await;
        let sink = sink.map_err(self.target.failed())?;
        pin_mut!(rows, sink);
        let (mut count, mut bytes, mut unpaced) = (0_u64, 0_u64, 0_u64);
        while let Some(row) = rows.next().await {
            let row = row.map_err(self.source.failed())?;
            count += 1;
            let row_bytes = row.len() as u64;
            bytes += row_bytes;
            sink.feed(row).await.map_err(self.target.failed())?;
            unpaced += row_bytes;
            if unpaced >= PACE {
                self.pace.keep(std::mem::take(&mut unpaced)).await;
            }
        }
        sink.finish().await.map_err(self.target.failed())?;
        self.copied.bytes += bytes;
        match again {
            true => self.copied.followed += count,
            false => self.copied.rows += count,
        }
        Ok(())
    }
}

/// Rows and their sum, by bucket.
async fn digests(end: &End, sql: &str) -> Result<BTreeMap<i32, (i64, Option<String>)>, MoveError> {
    let rows = end.client.query(sql, &[]).await.map_err(end.failed())?;
    Ok(rows
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect())
}
