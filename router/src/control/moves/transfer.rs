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

use super::end::{End, MOVING};
use super::error::MoveError;
use super::pace::Pace;
use super::tables::{Buckets, Identities, MovedTable};

/// One moment of the source.
const BEGIN_SOURCE: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";
/// Changes read in one look.
const CHANGES: i64 = 20_000;
/// So few changes in a look are few enough for the switch.
const FEW: usize = 200;
/// Looks until the switch is tried anyway.
const LOOKS: usize = 50;
/// Bytes between two waits for the limit of bandwidth.
const PACE: u64 = 64 << 10;

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
        let oids = self.oids(source).await?;
        let follow = self.tables.iter().zip(&oids).map(|(table, oid)| {
            let follower = table.follower(*oid, lost);
            format!("{follower}; SELECT oskol.follow({oid}::regclass);")
        });
        let follow: String = follow.collect();
        let begin = format!("BEGIN; SET LOCAL lock_timeout TO '1s'; {}", self.lock());
        // Writers wait for all of this: few round trips.
        let followed = async {
            source.run(&begin).await?;
            let follow = format!("{follow} DELETE FROM oskol.move_log; COMMIT");
            source.run(&follow).await
        };
        let outcome = followed.await;
        if outcome.is_err() {
            let _ = source.run("ROLLBACK").await;
        }
        outcome
    }

    /// Keeps writers out of all tables, in their order, to the end of the transaction.
    pub(super) fn lock(&self) -> String {
        let names: Vec<&str> = self.tables.iter().map(|table| &*table.name).collect();
        match names.is_empty() {
            true => String::new(),
            false => format!(
                "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
                names.join(", ")
            ),
        }
    }

    /// Of all tables on one end, in their order.
    pub(super) async fn oids(&self, end: &End) -> Result<Vec<u32>, MoveError> {
        let sql = "SELECT name::regclass::oid FROM unnest($1::text[]) WITH ORDINALITY AS t (name, at) ORDER BY at";
        let names: Vec<&str> = self.tables.iter().map(|table| &*table.name).collect();
        let rows = end.client.query(sql, &[&names]).await;
        let rows = rows.map_err(end.failed())?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The first copy, of what is there now.
    pub(super) async fn copy(&mut self) -> Result<(), MoveError> {
        if let Some(why) = self.tables.iter().find_map(|table| table.refused.clone()) {
            return Err(MoveError::Refused(why));
        }
        let direct: Vec<String> = self.tables.iter().filter_map(MovedTable::direct).collect();
        (self.source.direct, self.target.direct) = (direct.clone(), direct);
        self.target.begin("BEGIN", MOVING).await?;
        self.check_direct().await?;
        self.source.begin(BEGIN_SOURCE, "").await?;
        for table in self.tables.clone() {
            self.pump(&table, MovedTable::rows, false).await?;
        }
        self.source.run("COMMIT").await
    }

    /// Tables that call nothing by the home shard's catalog call nothing on the target, and nobody changes them there.
    async fn check_direct(&self) -> Result<(), MoveError> {
        for table in &self.target.direct {
            let lock = format!("LOCK TABLE {table} IN ROW EXCLUSIVE MODE");
            self.target.run(&lock).await?;
        }
        let sql = "SELECT oskol.check_direct($1)";
        let checked = self
            .target
            .client
            .execute(sql, &[&self.target.direct])
            .await;
        checked.map_err(self.target.failed())?;
        Ok(())
    }

    /// Copies what has changed, until a look finds little; then both sides are compared as of that look, bucket by bucket.
    pub(super) async fn catch_up(&mut self) -> Result<(), MoveError> {
        for _ in 0..LOOKS {
            self.source.begin(BEGIN_SOURCE, "").await?;
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
            let delete = |table: &MovedTable| table.delete_some(identities);
            self.target.write(table, delete).await?;
        }
        for (table, identities) in &changed {
            let rows = |table: &MovedTable| table.rows_of(identities);
            self.pump(table, rows, true).await?;
        }
        Ok(())
    }

    /// Every bucket, or the changed rows, must be the same on both sides.
    async fn compare(&self, changes: Option<&Changes>) -> Result<(), MoveError> {
        for table in &self.tables {
            let identities = match changes.map(|changes| changes.get(&table.name)) {
                None => None,
                Some(Some(identities)) => Some(identities),
                Some(None) => continue,
            };
            let make = |table: &MovedTable| match identities {
                None => table.digest(),
                Some(identities) => table.digest_some(identities),
            };
            let (ours, theirs) = tokio::join!(
                self.source.digests(table, make),
                self.target.digests(table, make)
            );
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
    async fn pump(
        &mut self,
        table: &MovedTable,
        make: impl Fn(&MovedTable) -> String,
        again: bool,
    ) -> Result<(), MoveError> {
        let entrance = self.target.entrance(table).await?;
        let (rows, source) = self.source.rows(table, make).await?;
        let sink = self.target.client.copy_in::<_, Bytes>(&entrance.copy).await;
        let sink = sink.map_err(self.target.failed())?;
        pin_mut!(rows, sink);
        let (mut count, mut bytes, mut unpaced) = (0_u64, 0_u64, 0_u64);
        while let Some(row) = rows.next().await {
            let row = row.map_err(source.failed())?;
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
        source.end().await?;
        entrance.take().await?;
        self.copied.bytes += bytes;
        match again {
            true => self.copied.followed += count,
            false => self.copied.rows += count,
        }
        Ok(())
    }
}
