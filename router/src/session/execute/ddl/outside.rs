//! Statements that PostgreSQL runs only outside a transaction block: shard by shard, and taken back
//! where that is possible when one shard fails.
//!
//! They run without the cluster's lock for DDL: CREATE INDEX CONCURRENTLY waits for every older
//! snapshot, and one that waits for the lock would have one.

use tokio::time::Instant;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::super::transaction::State;
use super::super::Invocation;
use super::timeouts::Timeouts;
use crate::error::RouterError;
use crate::plan::{DatabaseChange, Ddl};

impl Session {
    pub(super) async fn ddl_outside(
        &mut self,
        ddl: &Ddl,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if self.transaction.state != State::Idle {
            return self.refuse_in_transaction(invocation.text()).await;
        }
        let began = Instant::now();
        if let Some(change) = &ddl.database {
            self.leave_databases(change).await;
        }
        self.leave_unique_keys(&ddl.left_first, began).await?;
        let home_shard = self.home();
        let home = self.join(home_shard).await?;
        self.join_every_shard().await?;
        let complete = match &ddl.locks_indexes {
            Some(table) => {
                let timeouts = self.timeouts(home, began).await?;
                let lock = self.lock_indexes(table, &timeouts).await?;
                let complete = self.run_outside(home, ddl, &timeouts).await;
                self.unlock_indexes(lock).await;
                complete?
            }
            None => self.run_outside(home, ddl, &Timeouts::default()).await?,
        };
        Box::pin(self.record_after(ddl, invocation, &complete)).await?;
        if ddl.changes_catalog {
            let database = std::sync::Arc::clone(&self.database);
            self.worker.control.catalog_changed(&database).await?;
            self.refresh_space();
        }
        self.out.extend_from_slice(&complete);
        Ok(())
    }

    async fn run_outside(
        &mut self,
        home: usize,
        ddl: &Ddl,
        timeouts: &Timeouts,
    ) -> Result<bytes::Bytes, Fault> {
        let complete = if let Some(index) = &ddl.index {
            self.build_index(home, ddl, index).await?
        } else if ddl.home_last {
            self.outside_on(self.others(), ddl, &[]).await?;
            self.run_for_client(home, &ddl.text).await?
        } else {
            let complete = self.outside_at_home(home, ddl).await?;
            self.outside_on(self.others(), ddl, &[home]).await?;
            complete
        };
        if let Some(later) = &ddl.filled_later {
            Box::pin(self.fill_unique_key(later, ddl.undo.as_deref(), timeouts)).await?;
        }
        Ok(complete)
    }

    pub(super) async fn outside_at_home(
        &mut self,
        home: usize,
        ddl: &Ddl,
    ) -> Result<bytes::Bytes, Fault> {
        let outcome = self.run_for_client(home, &ddl.text).await;
        if outcome.is_err() {
            self.clean_up(&[home], ddl.undo_failed.as_deref()).await;
        }
        outcome
    }

    /// On some shards but home; `done`: where the statement has succeeded before.
    pub(super) async fn outside_on(
        &mut self,
        others: Vec<usize>,
        ddl: &Ddl,
        done: &[usize],
    ) -> Result<(), Fault> {
        let text = ddl.text_other_shards.as_deref().unwrap_or(&ddl.text);
        if text.is_empty() {
            return Ok(());
        }
        let came = self.run_at_once(&others, text).await;
        let Some(fault) = came.failure else {
            return Ok(());
        };
        let succeeded: Vec<usize> = came.done.iter().map(|(index, _)| *index).collect();
        let failed: Vec<usize> = others
            .into_iter()
            .filter(|index| !succeeded.contains(index))
            .collect();
        let undone = [done, &succeeded].concat();
        self.clean_up(&undone, ddl.undo.as_deref()).await;
        self.clean_up(&failed, ddl.undo_failed.as_deref()).await;
        Err(fault)
    }

    /// Takes back what is half done. The client is told of the first failure only; what is left
    /// behind is for the log.
    pub(super) async fn clean_up(&mut self, indexes: &[usize], sql: Option<&str>) {
        let Some(sql) = sql else {
            return;
        };
        let usable = |index: &&usize| !self.transaction.branches[**index].server.broken;
        let usable: Vec<usize> = indexes.iter().filter(usable).copied().collect();
        // One after another: a failure must not stop the others.
        for index in usable {
            if let Some(fault) = self.run_at_once(&[index], sql).await.failure {
                let shard = self.transaction.branches[index].server.shard;
                tracing::warn!(%shard, ?fault, "left behind on a shard: {sql}");
            }
        }
    }

    /// PostgreSQL's own words, from the home shard inside its transaction block.
    async fn refuse_in_transaction(&mut self, text: &str) -> Result<(), Fault> {
        let home = self.home();
        let index = self.join(home).await?;
        self.run_quietly(index, text).await?;
        // It was not refused, but has run on one shard only.
        self.transaction.state = State::Failed;
        let message = "this statement cannot run inside a transaction block";
        Err(RouterError::new("25001", message).into())
    }

    /// Nobody may be connected to a database that is dropped, renamed or copied: what the router
    /// keeps to it is closed, here and on the cluster's other routers.
    pub(super) async fn leave_databases(&mut self, change: &DatabaseChange) {
        let name = match change {
            DatabaseChange::Drop(name) => name,
            DatabaseChange::Rename { from, .. } => from,
            DatabaseChange::Create { template, .. } => match template {
                Some(template) => template,
                // Nobody is connected to template1 through a router.
                None => return,
            },
        };
        self.worker.pools.close_idle(Some(name));
        self.worker.control.database_dropped(name).await;
    }
}
