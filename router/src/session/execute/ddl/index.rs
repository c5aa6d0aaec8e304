//! CREATE INDEX CONCURRENTLY over all shards, which none takes back for the others: run again after a failure it goes on
//! where it was broken off.
//!
//! A shard or a router that dies in the middle leaves the index valid on some shards, missing on others, and invalid where it
//! was being built. The next run drops what is invalid and builds what is missing; only where the index is everywhere
//! PostgreSQL is asked, which says that it exists.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::super::super::fault::Fault;
use super::super::super::lease::{cancelled, until_gone};
use super::super::super::state::Session;
use super::timeouts::Timeouts;
use crate::backend::Server;
use crate::error::RouterError;
use crate::plan::{ConcurrentIndex, Ddl};
use crate::settings::{quote_identifier, quote_literal};

/// With a hash of the table's name: one builder of its indexes at a time, as far as they come through routers.
const LOCK_CLASS: i32 = 803_087_594;
/// Between tries to get it. Not waited for in PostgreSQL: a builder would wait for that statement's snapshot.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// A connection to the home shard that holds a table's lock for builders.
pub(super) struct IndexLock {
    server: Box<Server>,
    key: String,
}

/// The index on one shard: valid or not, and its definition.
type Found = Option<(bool, String)>;

impl Session {
    /// Others that build an index of the table wait until it is given back, as PostgreSQL's SHARE UPDATE EXCLUSIVE has them
    /// wait: an index that is not valid yet may be another's work. The shards have been joined.
    pub(super) async fn lock_indexes(
        &mut self,
        table: &(String, String),
        timeouts: &Timeouts,
    ) -> Result<IndexLock, Fault> {
        let table = qualified(&table.0, &table.1);
        let key = format!("{LOCK_CLASS}, hashtext({})", quote_literal(&table));
        let mut server = self.server_waited_for(self.home()).await?;
        match self.index_lock_is_had(&mut server, &key, timeouts).await {
            Ok(()) => Ok(IndexLock { server, key }),
            Err(fault) => {
                self.give_back(server);
                Err(fault)
            }
        }
    }

    async fn index_lock_is_had(
        &self,
        server: &mut Server,
        key: &str,
        timeouts: &Timeouts,
    ) -> Result<(), Fault> {
        let sql = format!("SELECT pg_try_advisory_lock({key})");
        let wait = timeouts.begin_wait();
        loop {
            let rows = server.query(&sql, &self.worker.parameters).await?;
            if rows
                .first()
                .is_some_and(|row| row[0].as_deref() == Some("t"))
            {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(LOCK_RETRY) => {}
                () = self.shared.cancelled.notified() => return Err(cancelled().into()),
                timeout = wait.over() => return Err(timeout.into()),
                () = poll_fn(|cx| until_gone(&self.client, cx)) => {
                    return Err(Fault::ClientGone(std::io::ErrorKind::ConnectionReset.into()));
                }
            }
        }
    }

    pub(super) async fn unlock_indexes(&mut self, lock: IndexLock) {
        let IndexLock { mut server, key } = lock;
        let unlock = format!("SELECT pg_advisory_unlock({key})");
        let unlocked = server.query(&unlock, &self.worker.parameters).await;
        server.broken |= unlocked.is_err();
        self.give_back(server);
    }

    pub(super) async fn build_index(
        &mut self,
        home: usize,
        ddl: &Ddl,
        index: &ConcurrentIndex,
    ) -> Result<Bytes, Fault> {
        let mut all = self.others();
        all.insert(0, home);
        let name = qualified(&index.schema, &index.name);
        let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {name}");
        let mut missing = Vec::new();
        for at in &all {
            match self.find_index(*at, index).await? {
                Some((true, _)) => continue,
                Some((false, _)) => {
                    let shard = self.transaction.branches[*at].server.shard;
                    tracing::info!(%shard, index = name, "an invalid index of before is dropped");
                    self.run_quietly(*at, &drop).await?;
                }
                None => {}
            }
            missing.push(*at);
        }
        if missing.is_empty() {
            return self.run_for_client(home, &ddl.text).await;
        }
        let mut done = Vec::new();
        let complete = match missing.first() {
            Some(first) if *first == home => {
                missing.remove(0);
                done.push(home);
                self.outside_at_home(home, ddl).await?
            }
            _ => {
                let mut complete = BytesMut::new();
                wire::backend::write::command_complete(&mut complete, b"CREATE INDEX");
                complete.freeze()
            }
        };
        let resumes = missing.len() + done.len() < all.len();
        self.outside_on(missing.clone(), ddl, &done).await?;
        if resumes {
            done.extend(missing);
            self.must_be_alike(&all, &done, &drop, index).await?;
        }
        Ok(complete)
    }

    /// What was there before may have been another index of the same name.
    async fn must_be_alike(
        &mut self,
        all: &[usize],
        made: &[usize],
        drop: &str,
        index: &ConcurrentIndex,
    ) -> Result<(), Fault> {
        let mut definitions = Vec::new();
        for at in all {
            definitions.push(self.find_index(*at, index).await?);
        }
        definitions.dedup();
        if definitions.len() == 1 {
            return Ok(());
        }
        self.clean_up(made, Some(drop)).await;
        let text = format!("relation \"{}\" already exists", index.name);
        let error = RouterError::new("42P07", text)
            .detail("Some shards have another index of that name.")
            .hint("VERIFY in the admin database tells which; drop it with DROP INDEX IF EXISTS.");
        Err(error.into())
    }

    async fn find_index(&mut self, at: usize, index: &ConcurrentIndex) -> Result<Found, Fault> {
        let (schema, table, name) = (&index.schema, &index.table, &index.name);
        let sql = format!(
            "SELECT i.indisvalid AND i.indisready, pg_catalog.pg_get_indexdef(i.indexrelid) FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = {} AND c.relname = {} AND t.relname = {} AND t.relnamespace = n.oid",
            quote_literal(schema),
            quote_literal(name),
            quote_literal(table)
        );
        let rows = self.rows_of(at, &sql).await?;
        let found = rows.into_iter().next().map(|mut row| {
            let definition = row.pop().flatten().unwrap_or_default();
            (row[0].as_deref() == Some("t"), definition)
        });
        Ok(found)
    }

    /// Rows of a statement of the router's own.
    async fn rows_of(&mut self, at: usize, sql: &str) -> Result<Vec<Vec<Option<String>>>, Fault> {
        let server = &mut self.transaction.branches[at].server;
        Ok(server.query(sql, &self.worker.parameters).await?)
    }
}

fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(schema), quote_identifier(name))
}
