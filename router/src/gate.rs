//! Keeps commits of one shard back while somebody opens snapshots on several.
//!
//! Without it a reader whose snapshot of shard A is a moment older than that of shard B could see a transaction on B and
//! not the one on A that it followed from. A commit that follows from another one is sent only after the first was
//! acknowledged or read, thus after it was made. So it is enough that commits which are *sent* while the gate is closed
//! wait: if T1 was not in A's snapshot, T1 was made after the gate had closed, and T2, which follows from it, waits until
//! B's snapshot is open, and is not in it either. Commits under way need not be waited for.
//!
//! One for all workers. Takes nothing; must never know what is committed, or who reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// How many keep it closed.
    closed: AtomicUsize,
    opened: Notify,
}

/// Keeps the gate closed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Closed(Arc<Gate>);

impl Gate {
    pub(crate) fn close(self: &Arc<Self>) -> Closed {
        self.closed.fetch_add(1, Ordering::SeqCst);
        Closed(Arc::clone(self))
    }

    /// The cost of the gate to a commit that need not wait.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst) > 0
    }

    /// Waits until it is open, but not for longer than `limit`: a late snapshot is better than a lost service.
    pub(crate) async fn pass(&self, limit: Duration) {
        let open = async {
            loop {
                let opened = self.opened.notified();
                tokio::pin!(opened);
                opened.as_mut().enable();
                if !self.is_closed() {
                    return;
                }
                opened.await;
            }
        };
        if tokio::time::timeout(limit, open).await.is_err() {
            tracing::warn!(?limit, "the gate stays closed: a commit goes on");
        }
    }
}

impl Drop for Closed {
    fn drop(&mut self) {
        if self.0.closed.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.opened.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_commit_waits_until_all_have_opened_the_gate() {
        let gate = Arc::new(Gate::default());
        let (one, two) = (gate.close(), gate.close());
        let waiting = {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.pass(LONG).await })
        };
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished() && gate.is_closed());
        drop(two);
        waiting.await.expect("passed");
        assert!(!gate.is_closed());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let gate = Arc::new(Gate::default());
        let _closed = gate.close();
        gate.pass(Duration::from_millis(10)).await;
    }
}
