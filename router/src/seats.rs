//! How many sessions there may be (`listen.max_clients`): one counter for all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sessions of the process, counted.
#[derive(Debug)]
pub struct Seats {
    taken: AtomicUsize,
    limit: usize,
}

/// One session's place; given back when dropped.
#[derive(Debug)]
pub struct Seat(Arc<Seats>);

impl Seats {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            taken: AtomicUsize::new(0),
            limit,
        })
    }

    /// None: all are taken.
    pub fn take(self: &Arc<Self>) -> Option<Seat> {
        let free = |taken: usize| (taken < self.limit).then_some(taken + 1);
        let outcome = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, free);
        outcome.ok().map(|_| Seat(Arc::clone(self)))
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    pub fn limit(&self) -> usize {
        self.limit
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_left_is_free_again() {
        let seats = Seats::new(2);
        let first = seats.take().unwrap();
        let _second = seats.take().unwrap();
        assert!(seats.take().is_none());
        drop(first);
        assert_eq!(seats.taken(), 1);
        assert!(seats.take().is_some());
    }
}
