//! CREATE UNIQUE INDEX CONCURRENTLY and DROP INDEX CONCURRENTLY of a key that holds over all shards.
//!
//! Each shard has made its index by itself. First all routers hear of the key, so that they look for what writers note; then,
//! in one short transaction, the key begins to be kept: whoever writes makes entries. Those of the rows that are there follow in small transactions, block by block, while the table is written to.
//! Then the index is valid. Where it cannot be, it stays INVALID, as PostgreSQL's own does: DROP INDEX takes it away.

use tokio::time::Instant;
use topology::{BucketId, ShardId};
use wire::backend::ErrorResponse;

use super::super::super::fault::Fault;
use super::super::super::settings::first_value;
use super::super::super::state::Session;
use super::super::calls::Call;
use super::super::entries::writes;
use super::timeouts::Timeouts;
use crate::plan::FilledLater;
use crate::settings::{quote_identifier, quote_literal};

/// Blocks whose rows are entered in one transaction.
const BLOCKS: i64 = 32;

/// For statements that were planned before their router heard of the key.
const UNDER_WAY: &str = "SELECT pg_catalog.pg_sleep(0.2)";

/// Writers wait no longer than this for the moment from which on the key is kept.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '300ms'";

impl Session {
    /// Has the index that every shard has made by itself hold over all shards. `undo`: takes it away again.
    pub(super) async fn fill_unique_key(
        &mut self,
        later: &FilledLater,
        undo: Option<&str>,
        timeouts: &Timeouts,
    ) -> Result<(), Fault> {
        self.release().await;
        let number = match self.begin_unique_key(later, timeouts).await {
            Ok(Some(number)) => number,
            // It has been there before (IF NOT EXISTS).
            Ok(None) => return Ok(()),
            Err(fault) => {
                self.undo_everywhere(undo).await;
                return Err(fault);
            }
        };
        if let Err(fault) = self.fill_all(later, number, timeouts).await {
            let lock = lock_of(later, "ACCESS EXCLUSIVE");
            let fail = format!("SELECT oskol.fail_unique_key({number})");
            let no_timeouts = Timeouts::default();
            if let Err(left) = self.on_all_shards_soon(&lock, &fail, &no_timeouts).await {
                tracing::warn!(
                    ?left,
                    "an index that is not valid is still kept: DROP INDEX takes it away"
                );
            }
            return Err(fault);
        }
        let end = "SELECT oskol.end_unique_key($1, $2)";
        self.open_around_ddl();
        let ended = self.end_unique_key(end, number).await;
        self.ended(ended).await
    }

    async fn fill_all(
        &mut self,
        later: &FilledLater,
        number: u32,
        timeouts: &Timeouts,
    ) -> Result<(), Fault> {
        self.wait_at_home().await?;
        let lock = lock_of(later, "SHARE ROW EXCLUSIVE");
        let watch = format!("SELECT oskol.watch_unique_key({number})");
        self.on_all_shards_soon(&lock, &watch, timeouts).await?;
        for shard in self.space.state.map.shards().to_vec() {
            self.fill_from(shard, number, timeouts).await?;
        }
        Ok(())
    }

    /// A moment, which a cancel ends.
    async fn wait_at_home(&mut self) -> Result<(), Fault> {
        let home = self.home();
        let index = self.join(home).await?;
        let waited = self.run_quietly(index, UNDER_WAY).await;
        self.release().await;
        waited.map(|_| ())
    }

    /// The transaction from which on routers know of the key. Gives its number.
    async fn begin_unique_key(
        &mut self,
        later: &FilledLater,
        timeouts: &Timeouts,
    ) -> Result<Option<u32>, Fault> {
        let table = name_of(later);
        let index = match &later.index {
            Some(index) => quote_literal(index),
            None => format!(
                "(SELECT c.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
                 WHERE i.indrelid = {}::pg_catalog.regclass AND i.indisunique ORDER BY c.oid DESC LIMIT 1)",
                quote_literal(&table)
            ),
        };
        let begin = format!(
            "SELECT oskol.begin_unique_key({}, {}, {index}, {})",
            quote_literal(&later.table.0),
            quote_literal(&later.table.1),
            quote_literal(&later.key)
        );
        let number = self.on_all_shards_soon("SELECT", &begin, timeouts).await?;
        Ok(number.and_then(|number| number.parse().ok()))
    }

    /// Runs `sql` on every shard in one transaction that changes the catalog, once `lock` is got: where somebody is in its
    /// way, all is let go, so that nobody waits behind it. Gives the home shard's first value.
    async fn on_all_shards_soon(
        &mut self,
        lock: &str,
        sql: &str,
        timeouts: &Timeouts,
    ) -> Result<Option<String>, Fault> {
        let wait = timeouts.begin_wait();
        loop {
            self.open_around_ddl();
            match self.try_on_all_shards(lock, sql).await {
                Ok(value) => {
                    self.ended(Ok(())).await?;
                    return Ok(value);
                }
                Err(fault) if is_lock_timeout(&fault) => {
                    self.roll_back().await;
                    wait.check()?;
                    self.wait_at_home().await?;
                }
                Err(fault) => {
                    self.ended(Err(fault)).await?;
                }
            }
        }
    }

    async fn try_on_all_shards(&mut self, lock: &str, sql: &str) -> Result<Option<String>, Fault> {
        let home_shard = self.home();
        let home = self.join(home_shard).await?;
        self.run_quietly(home, super::LOCK).await?;
        self.join_every_shard().await?;
        self.transaction.catalog_changed = true;
        let mut value = None;
        let all = std::iter::once(home).chain(self.others());
        let all: Vec<usize> = all.collect();
        for text in [LOCK_TIMEOUT, lock, sql] {
            for &index in &all {
                self.note_effect(index, writes());
                let rows = self.run_quietly(index, text).await?;
                if index == home {
                    value = first_value(&rows);
                }
            }
        }
        Ok(value)
    }

    /// Makes the entries of the rows that one shard has.
    async fn fill_from(
        &mut self,
        shard: ShardId,
        number: u32,
        timeouts: &Timeouts,
    ) -> Result<(), Fault> {
        let number_text = number.to_string();
        self.open_around_ddl();
        let blocks = Call {
            shard,
            arguments: vec![&number_text],
        };
        let sql = "SELECT oskol.fill_blocks($1, $2)";
        let asked = self.call(sql, &[blocks]).await;
        let asked = asked.map(|rows| rows.first().and_then(|rows| first_value(rows)));
        let last: i64 = match asked {
            Ok(last) => last.and_then(|last| last.parse().ok()).unwrap_or(0),
            Err(fault) => {
                self.ended(Err(fault)).await?;
                0
            }
        };
        self.ended(Ok(())).await?;
        let mut block = 0;
        while block < last {
            timeouts.begin_wait().check()?;
            self.open_around_ddl();
            let filled = self.fill_blocks(shard, number, block).await;
            self.ended(filled).await?;
            block += BLOCKS;
        }
        Ok(())
    }

    async fn fill_blocks(&mut self, shard: ShardId, number: u32, block: i64) -> Result<(), Fault> {
        let index = self.join(shard).await?;
        // The rows stay locked until their entries are there to be seen.
        self.note_effect(index, writes());
        let [number_text, block, blocks] =
            [i64::from(number), block, BLOCKS].map(|n| n.to_string());
        let call = Call {
            shard,
            arguments: vec![&number_text, &block, &blocks],
        };
        let sql = "SELECT * FROM oskol.fill_rows($1, $2, $3, $4)";
        let rows = self.call(sql, &[call]).await?;
        let entries = rows.into_iter().flatten().filter_map(|row| {
            let [bucket, entry] = <[Option<String>; 2]>::try_from(row).ok()?;
            Some((BucketId(bucket?.parse().ok()?), entry?))
        });
        self.fill_entries(number, entries.collect()).await
    }

    async fn end_unique_key(&mut self, sql: &str, number: u32) -> Result<(), Fault> {
        let home_shard = self.home();
        let home = self.join(home_shard).await?;
        self.run_quietly(home, super::LOCK).await?;
        self.join_every_shard().await?;
        self.transaction.catalog_changed = true;
        let number = number.to_string();
        for shard in self.space.state.map.shards().to_vec() {
            let index = self.join(shard).await?;
            self.note_effect(index, writes());
            let arguments = vec![number.as_str()];
            self.call(sql, &[Call { shard, arguments }]).await?;
        }
        Ok(())
    }

    /// Ends a transaction of this statement's own.
    pub(super) async fn ended(&mut self, outcome: Result<(), Fault>) -> Result<(), Fault> {
        match outcome {
            Ok(()) => self.commit().await,
            Err(fault) => {
                self.drop_broken_branches();
                Err(self.roll_back_for(fault).await)
            }
        }
    }

    async fn undo_everywhere(&mut self, undo: Option<&str>) {
        if self.join_every_shard().await.is_ok() {
            let all: Vec<usize> = (0..self.transaction.branches.len()).collect();
            self.clean_up(&all, undo).await;
        }
    }

    /// Before DROP INDEX CONCURRENTLY: keys among `indexes` (quoted names) are kept no longer.
    pub(super) async fn leave_unique_keys(
        &mut self,
        indexes: &[String],
        began: Instant,
    ) -> Result<(), Fault> {
        if !self.current_space().snapshot().has_entries {
            return Ok(());
        }
        for index in indexes {
            let oid = format!("pg_catalog.to_regclass({})::oid", quote_literal(index));
            let home_shard = self.home();
            let home = self.join(home_shard).await?;
            let table = format!(
                "SELECT u.relation::pg_catalog.regclass FROM oskol.unique_keys u WHERE u.index = {oid}"
            );
            let table = first_value(&self.run_quietly(home, &table).await?);
            let timeouts = self.timeouts(home, began).await?;
            self.release().await;
            if let Some(table) = table {
                let lock = format!("LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE");
                let leave = format!("SELECT oskol.leave_unique_key({oid})");
                self.on_all_shards_soon(&lock, &leave, &timeouts).await?;
            }
        }
        Ok(())
    }
}

fn name_of(later: &FilledLater) -> String {
    let (schema, name) = &later.table;
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}

fn lock_of(later: &FilledLater, mode: &str) -> String {
    format!("LOCK TABLE ONLY {} IN {mode} MODE", name_of(later))
}

fn is_lock_timeout(fault: &Fault) -> bool {
    let Fault::Shard(message) = fault else {
        return false;
    };
    let body = message.get(5..).unwrap_or_default();
    ErrorResponse::parse(body).is_ok_and(|error| error.sqlstate() == "55P03")
}
