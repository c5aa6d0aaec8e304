//! A client's message while buckets of a shard move: it waits, so that nothing is routed by the shard map of before.
//!
//! Statements that nobody has begun yet wait; transactions go on to their end, or else what they hold would keep the move
//! up. Once the worker has nothing left on that shard, those that are elsewhere wait, too (`SessionShared::shut`).

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use topology::ShardId;

use super::fault::Fault;
use super::lease::until_gone;
use super::shared::WAITING;
use super::state::Session;
use crate::error::RouterError;

/// A move lets go within seconds, unless the home shard is away: then nobody knows where the rows are.
const LONGEST: Duration = Duration::from_secs(60);

impl Session {
    /// Returns when the message may be looked at.
    pub(super) async fn wait_until_let_go(&mut self, shard: ShardId) -> Result<(), Fault> {
        if self.goes_on(shard) {
            return Ok(());
        }
        let database = Arc::clone(&self.database);
        self.shared.held.set(true);
        let before = self.shared.status.replace(WAITING);
        let waited = tokio::select! {
            biased;
            () = database.wait_until_let_go() => Ok(()),
            () = poll_fn(|cx| until_gone(&self.client, cx)) => {
                Err(Fault::ClientGone(std::io::ErrorKind::ConnectionReset.into()))
            }
            () = tokio::time::sleep(LONGEST) => Err(Fault::Fatal(unsure())),
        };
        self.shared.status.set(before);
        self.shared.held.set(false);
        waited
    }

    fn goes_on(&self, shard: ShardId) -> bool {
        let branches = &self.transaction.branches;
        let is_there = branches.iter().any(|branch| branch.server.shard == shard);
        is_there || self.copy.is_some() || (!branches.is_empty() && !self.shared.shut.get())
    }
}

fn unsure() -> RouterError {
    RouterError::new(
        "57P03",
        "rows are being moved between shards, and the home shard does not say where they are",
    )
    .detail(format!("Waited {} s.", LONGEST.as_secs()))
    .hint("Connect again when the home shard serves.")
}
