//! To see the router run: the admin database `oskol` on the wire, `/metrics` and `/health` over HTTP.
//!
//! Takes what workers report when asked, the process's counters, and the [`Board`] that the control
//! thread writes to. Gives tables, pages and their wire messages. Changes nothing; must never be
//! asked on a statement's path.

mod averages;
pub mod board;
pub mod command;
pub mod health;
pub mod http;
pub mod locks;
pub mod operations;
pub mod reply;
mod show;
pub mod table;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::Config;
use crate::error::RouterError;
use crate::metrics::Metrics;
use crate::worker::{WorkerHandle, WorkerMessage, WorkerReport};
use averages::Averages;
pub use board::Board;
pub use command::Command;
pub use locks::{LockParty, LockWait, LockWaits};
pub use operations::{NewShard, Operation, Operations};
pub use table::{AdminTable, Column, Kind};

/// Name of the admin database.
pub const DATABASE: &str = "oskol";

/// Longest wait for a worker's report.
const WORKER_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Where the admin's figures come from. One for the process, shared by the control thread and by the
/// workers whose clients are connected to the admin database.
#[derive(Debug)]
pub struct AdminState {
    pub config: Arc<Config>,
    pub metrics: Arc<Metrics>,
    pub workers: Vec<WorkerHandle>,
    pub board: Arc<Board>,
    averages: Averages,
    locks: OnceLock<Box<dyn LockWaits>>,
    operations: OnceLock<Box<dyn Operations>>,
}

impl std::fmt::Debug for dyn LockWaits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockWaits")
    }
}

impl std::fmt::Debug for dyn Operations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Operations")
    }
}

impl AdminState {
    /// `workers` in the order of their numbers.
    pub fn new(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        workers: Vec<WorkerHandle>,
        board: Arc<Board>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            metrics,
            workers,
            board,
            averages: Averages::default(),
            locks: OnceLock::new(),
            operations: OnceLock::new(),
        })
    }

    /// Who lists the shards' locks.
    pub fn ask_for_locks(&self, of: Box<dyn LockWaits>) {
        // Asked of one for good.
        let _ = self.locks.set(of);
    }

    /// Who carries out what changes the cluster.
    pub fn operate_by(&self, of: Box<dyn Operations>) {
        // Asked of one for good.
        let _ = self.operations.set(of);
    }

    /// # Errors
    /// It cannot be done; the text says why.
    pub async fn operate(&self, operation: Operation) -> Result<operations::Rows, RouterError> {
        match self.operations.get() {
            Some(operations) => operations.operate(operation).await,
            None => Err(RouterError::new(
                wire::sqlstate::CANNOT_CONNECT_NOW,
                "the router is not ready yet",
            )),
        }
    }

    async fn lock_waits(&self) -> Result<Vec<LockWait>, RouterError> {
        match self.locks.get() {
            Some(locks) => locks.lock_waits().await,
            None => Ok(Vec::new()),
        }
    }

    /// Whether `user` may connect to the admin database.
    pub fn admits(&self, user: &str) -> bool {
        user == self.config.cluster.user || self.config.admin.users.iter().any(|name| name == user)
    }

    /// Every worker's report, by worker number. Must not be awaited by a worker's own inbox loop,
    /// which has to answer it; a session's task may.
    async fn reports(&self) -> Result<Vec<WorkerReport>, RouterError> {
        let mut answers = Vec::with_capacity(self.workers.len());
        for worker in &self.workers {
            let (question, answer) = oneshot::channel();
            if worker.send(WorkerMessage::Report(question)).is_ok() {
                answers.push(answer);
            }
        }
        let all = futures_util::future::try_join_all(answers);
        match tokio::time::timeout(WORKER_ANSWERS_WITHIN, all).await {
            Ok(Ok(reports)) => Ok(reports),
            Ok(Err(_)) => Err(RouterError::new(
                wire::sqlstate::ADMIN_SHUTDOWN,
                "the router is shutting down",
            )),
            Err(_) => Err(RouterError::new(
                wire::sqlstate::SYSTEM_ERROR,
                format!(
                    "a worker did not answer within {} s",
                    WORKER_ANSWERS_WITHIN.as_secs()
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
