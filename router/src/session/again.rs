//! A statement that was routed by what is no more, and has reached no shard: it is routed again, once this router has heard.
//!
//! So a router that was cut off, or stood still, while rows moved or tables changed, serves what comes first as well. Only what
//! stands for itself is run again, and only where nothing of it was sent.

use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;
use super::state::Session;
use super::transaction::State;

/// Longest wait for the home shard's word.
const LONGEST: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
/// Of `oskol.admit`, in an ErrorResponse: the table that has this router.
const KEPT_OUT: &[u8] = b"toskol.kept_out\0";

impl Session {
    /// Whether the statement that failed so may be planned and routed anew, and will not meet the same again.
    pub(super) async fn may_route_again(&mut self, fault: &Fault) -> bool {
        let stands_alone = self.transaction.state == State::Idle;
        let unsent = self.transaction.branches.is_empty() && self.slots.is_empty();
        if !stands_alone || !unsent || !is_stale(fault) {
            return false;
        }
        let life = self.space.state.life;
        self.worker.control.look_soon(&self.database);
        let deadline = Instant::now() + LONGEST;
        while self.database.state().life <= life {
            if Instant::now() > deadline {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.refresh_space();
        true
    }
}

/// This router, or this statement, knows less than the shard.
fn is_stale(fault: &Fault) -> bool {
    match fault {
        Fault::Router(error) => super::deadlock::is_moved(error),
        Fault::Shard(message) => message
            .windows(KEPT_OUT.len())
            .any(|bytes| bytes == KEPT_OUT),
        _ => false,
    }
}
