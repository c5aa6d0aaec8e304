//! Counters, and their text for Prometheus.
//!
//! Owns one [`WorkerMetrics`] per worker thread. A counter has one writer, its worker, so counting is
//! a plain load and store on a cache line that no other worker touches; the control thread adds up
//! when it is asked. Must never know: statements, sockets, locks on the query path.

mod counter;
mod histogram;
mod process;
mod render;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::standbys::Standby;
pub use counter::Counter;
pub use histogram::{Histogram, HistogramTotal};
pub use worker::{
    CommitKind, DatabaseMetrics, DatabaseTotal, PlanKind, ShardMetrics, ShardTotal, WorkerMetrics,
    WorkerTotal,
};

/// All of the process's counters.
#[derive(Debug)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
    /// Written by the control thread.
    pub control: ControlMetrics,
    pub started: Instant,
}

/// What the control thread counts.
#[derive(Debug, Default)]
pub struct ControlMetrics {
    /// Transactions found in doubt and committed by recovery.
    pub recovered_commits: Counter,
    /// Transactions found in doubt and rolled back by recovery.
    pub recovered_aborts: Counter,
    /// In doubt at the last look.
    /// Shards that lack what all have done together.
    pub kept_out: Counter,
    pub in_doubt: Counter,
    /// Age of the oldest of them.
    pub in_doubt_oldest_seconds: Counter,
    pub deadlocks_broken: Counter,
    /// Times the catalog was read.
    pub catalog_loads: Counter,
    /// Epoch of the shard map.
    pub map_epoch: Counter,
}

/// All workers' counters added up at one moment.
#[derive(Debug, Clone, Default)]
pub struct Total {
    pub workers: WorkerTotal,
    /// By name.
    pub databases: std::collections::BTreeMap<String, DatabaseTotal>,
    pub shards: std::collections::BTreeMap<topology::ShardId, ShardTotal>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            workers: Mutex::default(),
            control: ControlMetrics::default(),
            started: Instant::now(),
        }
    }
}

impl Metrics {
    /// A new worker's own counters. Only that worker may write to them.
    pub fn add_worker(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::default());
        self.lock().push(Arc::clone(&worker));
        worker
    }

    pub fn total(&self) -> Total {
        let mut total = Total::default();
        for worker in self.lock().iter() {
            worker.add_to(&mut total);
        }
        total
    }

    /// The text of `/metrics`, in Prometheus' exposition format 0.0.4.
    pub fn render(&self, standbys: &[Arc<Standby>]) -> String {
        render::render(self, standbys)
    }

    /// A list of counters is whole whatever a panicking holder of the lock did.
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<WorkerMetrics>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
