//! What a worker's pools look like from outside: for SHOW POOLS, SHOW SERVERS and the metrics.

use std::rc::{Rc, Weak};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Pools, ShardPool};
use crate::backend::Server;
use crate::backend::card::Card;
use crate::metrics::ShardMetrics;
use crate::worker::{PoolReport, ServerReport};

impl ShardPool {
    pub(super) fn new(metrics: Arc<ShardMetrics>) -> Self {
        Self {
            idle: FxHashMap::default(),
            waiters: Default::default(),
            kept_in_a_row: 0,
            yielded: None,
            leased: 0,
            metrics,
        }
    }

    /// A connection is in use from now on.
    pub(super) fn note_leased(&mut self) {
        self.leased += 1;
        self.metrics.active.increment();
    }

    pub(super) fn note_returned(&mut self) {
        self.leased = self.leased.saturating_sub(1);
        self.metrics.active.decrement();
    }
}

impl Pools {
    /// One entry a shard, ascending.
    pub fn figures(&self) -> Vec<PoolReport> {
        let shards = self.shards.borrow();
        let mut all: Vec<_> = shards
            .iter()
            .map(|(shard, pool)| PoolReport {
                shard: *shard,
                idle: pool.idle.values().map(Vec::len).sum(),
                leased: pool.leased,
                waiting: pool.waiters.len(),
            })
            .collect();
        all.sort_by_key(|figures| figures.shard);
        all
    }

    /// Every connection, whoever uses it.
    pub fn servers(&self) -> Vec<ServerReport> {
        let cards = self.cards.borrow();
        cards
            .iter()
            .filter_map(Weak::upgrade)
            .map(|card| card.report())
            .collect()
    }

    /// Makes a new connection known, for as long as it lives.
    pub(super) fn register(&self, server: &mut Server, metrics: Arc<ShardMetrics>) {
        let card = Rc::new(Card::new(server, metrics));
        let mut cards = self.cards.borrow_mut();
        cards.retain(|known| known.strong_count() > 0);
        cards.push(Rc::downgrade(&card));
        server.card = Some(card);
    }
}

/// Somebody waits for a connection, until this is dropped.
pub(super) struct Waits<'a>(&'a ShardMetrics);

impl<'a> Waits<'a> {
    pub fn counted_in(metrics: &'a ShardMetrics) -> Self {
        metrics.waiting.increment();
        Self(metrics)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.decrement();
    }
}
