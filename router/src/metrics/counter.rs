//! A number with one writer and any readers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts without a locked instruction: only one thread may write (a second writer would lose
/// counts, nothing worse); any thread may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(amount),
            Ordering::Relaxed,
        );
    }

    pub fn increment(&self) {
        self.add(1);
    }

    /// For counters used as gauges.
    pub fn decrement(&self) {
        self.0.store(
            self.0.load(Ordering::Relaxed).saturating_sub(1),
            Ordering::Relaxed,
        );
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
