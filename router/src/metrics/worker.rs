//! One worker's counters: its own, and those per database and per shard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use topology::ShardId;

use super::{Counter, Histogram, HistogramTotal, Total};

/// What ran, as the label `plan` of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanKind {
    Session,
    AnyShard,
    Home,
    SingleShard,
    Split,
    /// Planned for the shards of rows that entries of a unique key or a routing index name; where those of a unique key
    /// lead to no row, all shards are asked.
    ByEntry,
    Scatter,
    Gather,
    Broadcast,
    Ddl,
    Copy,
    Cluster,
    Explain,
    Refused,
}

impl PlanKind {
    pub const ALL: [Self; 14] = [
        Self::Session,
        Self::AnyShard,
        Self::Home,
        Self::SingleShard,
        Self::Split,
        Self::ByEntry,
        Self::Scatter,
        Self::Gather,
        Self::Broadcast,
        Self::Ddl,
        Self::Copy,
        Self::Cluster,
        Self::Explain,
        Self::Refused,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::AnyShard => "any_shard",
            Self::Home => "home",
            Self::SingleShard => "single_shard",
            Self::Split => "split",
            Self::ByEntry => "by_entry",
            Self::Scatter => "scatter",
            Self::Gather => "gather",
            Self::Broadcast => "broadcast",
            Self::Ddl => "ddl",
            Self::Copy => "copy",
            Self::Cluster => "cluster",
            Self::Explain => "explain",
            Self::Refused => "refused",
        }
    }
}

/// How a transaction that has written is committed, as the label `kind` of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitKind {
    OneShard,
    TwoPhase,
}

impl CommitKind {
    pub const ALL: [Self; 2] = [Self::OneShard, Self::TwoPhase];

    pub fn name(self) -> &'static str {
        match self {
            Self::OneShard => "one_shard",
            Self::TwoPhase => "two_phase",
        }
    }
}

/// One worker's counters. Aligned to two cache lines, since processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Clients connected now.
    pub clients: Counter,
    /// Clients accepted since the start.
    pub clients_accepted: Counter,
    /// Connections that ended before they were logged in.
    pub logins_failed: Counter,
    pub cancel_requests: Counter,
    pub plan_cache_hits: Counter,
    pub plan_cache_misses: Counter,
    /// Plans in this worker's cache now.
    pub plans: Counter,
    /// Server connections taken over from another worker.
    pub handovers: Counter,
    /// Locked only when a database or a shard is first met, and to read.
    databases: Mutex<BTreeMap<String, Arc<DatabaseMetrics>>>,
    shards: Mutex<BTreeMap<ShardId, Arc<ShardMetrics>>>,
}

/// One worker's traffic of one database; a session keeps hold of it from its log-in on.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct DatabaseMetrics {
    queries: [Counter; PlanKind::ALL.len()],
    query_time: Histogram,
    commit_time: [Histogram; CommitKind::ALL.len()],
    /// Ended transactions, implicit ones included.
    pub transactions: Counter,
    pub transaction_microseconds: Counter,
    /// Transactions committed by two-phase commit.
    pub two_phase_commits: Counter,
    /// Transactions whose snapshots were opened on all shards at one moment.
    snapshots: Histogram,
    /// Commits that waited for such snapshots to be opened.
    pub gate_waits: Counter,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    /// ErrorResponses that a shard made.
    pub shard_errors: Counter,
    /// ErrorResponses that the router made.
    pub router_errors: Counter,
    pub slow_statements: Counter,
}

/// One worker's dealings with one shard; its pool keeps hold of it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardMetrics {
    /// Statements sent (a scatter counts on each shard).
    pub statements: Counter,
    pub connections_opened: Counter,
    pub connections_closed: Counter,
    /// Attempts to connect or log in that failed.
    pub connections_failed: Counter,
    /// Server connections leased now.
    pub active: Counter,
    /// Server connections waiting for work now.
    pub idle: Counter,
    /// Clients waiting for a server connection now.
    pub waiting: Counter,
    /// Leases that had to wait.
    pub waits: Counter,
    wait_time: Histogram,
    /// Waits that ended by `pool.checkout_timeout` or a full `pool.queue`.
    pub checkouts_refused: Counter,
}

impl WorkerMetrics {
    pub fn database(&self, name: &str) -> Arc<DatabaseMetrics> {
        let mut databases = lock(&self.databases);
        if let Some(found) = databases.get(name) {
            return Arc::clone(found);
        }
        Arc::clone(databases.entry(name.to_owned()).or_default())
    }

    pub fn shard(&self, shard: ShardId) -> Arc<ShardMetrics> {
        Arc::clone(lock(&self.shards).entry(shard).or_default())
    }

    pub(super) fn add_to(&self, total: &mut Total) {
        let sum = &mut total.workers;
        sum.count += 1;
        sum.clients += self.clients.get();
        sum.clients_accepted += self.clients_accepted.get();
        sum.logins_failed += self.logins_failed.get();
        sum.cancel_requests += self.cancel_requests.get();
        sum.plan_cache_hits += self.plan_cache_hits.get();
        sum.plan_cache_misses += self.plan_cache_misses.get();
        sum.plans += self.plans.get();
        sum.handovers += self.handovers.get();
        for (name, database) in lock(&self.databases).iter() {
            database.add_to(total.databases.entry(name.clone()).or_default());
        }
        for (id, shard) in lock(&self.shards).iter() {
            shard.add_to(total.shards.entry(*id).or_default());
        }
    }
}

/// A map of counters is whole whatever a panicking holder of the lock did.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DatabaseMetrics {
    /// One statement that ended, well or badly.
    pub fn query(&self, kind: PlanKind, time: Duration) {
        self.queries[kind as usize].increment();
        self.query_time.record(time);
    }

    /// One explicit transaction that was committed, from COMMIT to its answer.
    pub fn committed(&self, kind: CommitKind, time: Duration) {
        self.commit_time[kind as usize].record(time);
    }

    /// One transaction that ended, implicit ones included.
    pub fn transaction(&self, time: Duration) {
        self.transactions.increment();
        self.transaction_microseconds
            .add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Snapshots on all shards were opened in `time`.
    pub fn snapshots(&self, time: Duration) {
        self.snapshots.record(time);
    }

    fn add_to(&self, total: &mut DatabaseTotal) {
        for (sum, counter) in total.queries.iter_mut().zip(&self.queries) {
            *sum += counter.get();
        }
        self.query_time.add_to(&mut total.query_time);
        for (sum, time) in total.commit_time.iter_mut().zip(&self.commit_time) {
            time.add_to(sum);
        }
        total.transactions += self.transactions.get();
        total.transaction_microseconds += self.transaction_microseconds.get();
        total.two_phase_commits += self.two_phase_commits.get();
        self.snapshots.add_to(&mut total.snapshots);
        total.gate_waits += self.gate_waits.get();
        total.bytes_received += self.bytes_received.get();
        total.bytes_sent += self.bytes_sent.get();
        total.shard_errors += self.shard_errors.get();
        total.router_errors += self.router_errors.get();
        total.slow_statements += self.slow_statements.get();
    }
}

impl ShardMetrics {
    /// One lease that had to wait and got its connection.
    pub fn waited(&self, time: Duration) {
        self.waits.increment();
        self.wait_time.record(time);
    }

    fn add_to(&self, total: &mut ShardTotal) {
        total.statements += self.statements.get();
        total.connections_opened += self.connections_opened.get();
        total.connections_closed += self.connections_closed.get();
        total.connections_failed += self.connections_failed.get();
        total.active += self.active.get();
        total.idle += self.idle.get();
        total.waiting += self.waiting.get();
        total.waits += self.waits.get();
        self.wait_time.add_to(&mut total.wait_time);
        total.checkouts_refused += self.checkouts_refused.get();
    }
}

/// Sum of [`WorkerMetrics`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkerTotal {
    /// Workers added up.
    pub count: u64,
    pub clients: u64,
    pub clients_accepted: u64,
    pub logins_failed: u64,
    pub cancel_requests: u64,
    pub plan_cache_hits: u64,
    pub plan_cache_misses: u64,
    pub plans: u64,
    pub handovers: u64,
}

/// Sum of [`DatabaseMetrics`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseTotal {
    /// In the order of [`PlanKind::ALL`].
    pub queries: [u64; PlanKind::ALL.len()],
    pub query_time: HistogramTotal,
    /// In the order of [`CommitKind::ALL`].
    pub commit_time: [HistogramTotal; CommitKind::ALL.len()],
    pub transactions: u64,
    pub transaction_microseconds: u64,
    pub two_phase_commits: u64,
    pub snapshots: HistogramTotal,
    pub gate_waits: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub shard_errors: u64,
    pub router_errors: u64,
    pub slow_statements: u64,
}

/// Sum of [`ShardMetrics`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardTotal {
    pub statements: u64,
    pub connections_opened: u64,
    pub connections_closed: u64,
    pub connections_failed: u64,
    pub active: u64,
    pub idle: u64,
    pub waiting: u64,
    pub waits: u64,
    pub wait_time: HistogramTotal,
    pub checkouts_refused: u64,
}
