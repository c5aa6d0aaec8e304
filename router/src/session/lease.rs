//! Server connections for the statement at hand: joining shards, and letting them go.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BufMut;
use smallvec::SmallVec;
use topology::ShardId;
use wire::frontend::write;

use super::fault::Fault;
use super::relay::client_is_gone;
use super::shared::{CancelTarget, WAITING};
use super::slots::Slot;
use super::state::Session;
use super::transaction::{Branch, State};
use crate::backend::Server;
use crate::config::PoolMode;
use crate::error::RouterError;
use crate::plan::Isolation;

impl Session {
    /// The branch of `shard`, which joins if it has not. Outside a transaction a branch lasts for
    /// one statement or one pipeline.
    pub(super) async fn branch(&mut self, shard: ShardId) -> Result<usize, Fault> {
        if let Some(index) = self.transaction.find(shard) {
            return Ok(index);
        }
        let server = match self.server_at_hand(shard) {
            Some(server) => server,
            None => Box::pin(self.server_waited_for(shard)).await?,
        };
        let settled = Rc::ptr_eq(&server.settings, &self.settings);
        let told = Rc::ptr_eq(&server.parameters, &self.told);
        let index = self.enlist_branch(Branch::new(server));
        if !settled {
            Box::pin(self.apply_settings(index)).await?;
        }
        if !told || !settled {
            self.tell_parameters(index);
        }
        Ok(index)
    }

    /// One more connection of `shard`, beside that of the transaction. Whoever asks for it brings it to the
    /// session's settings, and gives it back before the statement ends.
    pub(super) async fn branch_apart(&mut self, shard: ShardId) -> Result<usize, Fault> {
        let server = match self.worker.pools.take_idle(shard, &self.account) {
            Some(server) => server,
            None => Box::pin(self.server_waited_for(shard)).await?,
        };
        let mut branch = Branch::new(server);
        branch.apart = true;
        // In a transaction of its own, not in the client's.
        branch.begun = true;
        Ok(self.enlist_branch(branch))
    }

    /// Gives the branch's index.
    fn enlist_branch(&mut self, branch: Branch) -> usize {
        let server = &branch.server;
        if let Some(card) = &server.card {
            card.lease(self.shared.id);
        }
        let mut targets = self.shared.targets.borrow_mut();
        targets.push(CancelTarget {
            shard: server.shard,
            process_id: server.process_id,
            secret: SmallVec::from_slice(&server.secret),
        });
        if targets.len() == 2 {
            self.worker.spread.set(self.worker.spread.get() + 1);
        }
        drop(targets);
        self.transaction.branches.push(branch);
        self.transaction.branches.len() - 1
    }

    fn server_at_hand(&mut self, shard: ShardId) -> Option<Box<Server>> {
        if let Some(at) = self.held.iter().position(|server| server.shard == shard) {
            return Some(self.held.swap_remove(at));
        }
        self.worker.pools.take_idle(shard, &self.account)
    }

    async fn server_waited_for(&mut self, shard: ShardId) -> Result<Box<Server>, Fault> {
        let holding = !self.transaction.branches.is_empty() || !self.held.is_empty();
        let worker = Rc::clone(&self.worker);
        let before = self.shared.status.replace(WAITING);
        let right = &mut self.transaction.reserve_right;
        let leased = tokio::select! {
            biased;
            leased = worker.pools.lease(shard, &self.account, holding, right) => leased.map_err(Fault::from),
            () = self.shared.cancelled.notified() => Err(cancelled().into()),
            () = poll_fn(|cx| until_gone(&self.client, cx)) => {
                Err(Fault::ClientGone(std::io::ErrorKind::ConnectionReset.into()))
            }
        };
        self.shared.status.set(before);
        leased
    }

    /// As [`Self::branch`], and inside the transaction if one is open: `BEGIN` goes ahead of the
    /// next message, in the same write.
    pub(super) async fn joined(&mut self, shard: ShardId) -> Result<usize, Fault> {
        if self.transaction.isolation == Isolation::ReadCommitted {
            return self.joined_without_snapshot(shard).await;
        }
        Box::pin(self.isolate(&[shard])).await?;
        let index = self.joined_without_snapshot(shard).await?;
        self.transaction.branches[index].isolated = true;
        Ok(index)
    }

    /// As [`Self::joined`], for statements that see no rows, such as SET: they take no snapshot.
    pub(super) async fn joined_without_snapshot(&mut self, shard: ShardId) -> Result<usize, Fault> {
        let index = self.branch(shard).await?;
        if self.transaction.state != State::Idle && !self.transaction.branches[index].begun {
            if self.transaction.begins_plainly() {
                self.begin(index);
            } else {
                Box::pin(self.replay(index)).await?;
            }
        }
        Ok(index)
    }

    /// Queues `BEGIN` without Sync: the server flushes once, with the reply of what follows.
    pub(super) fn begin(&mut self, index: usize) {
        queue_begin(&mut self.transaction.branches[index], &mut self.slots);
    }

    /// Queues `COMMIT` by Bind and Execute; its CommandComplete is the client's.
    pub(super) fn queue_commit(&mut self, index: usize) {
        let server = &mut self.transaction.branches[index].server;
        prepare_transaction_control(server, &mut self.slots);
        server.outbuf.put_slice(BIND_EXECUTE_COMMIT);
        self.slots.push_back(Slot::Bind { hidden: true });
        self.slots.push_back(Slot::execute(false));
    }

    /// `BEGIN` with its modes, and all that the transaction has set so far.
    pub(super) async fn replay(&mut self, index: usize) -> Result<(), Fault> {
        let sql = self.transaction.replay();
        let branch = &mut self.transaction.branches[index];
        branch.begun = true;
        branch.server.query(&sql, &self.worker.parameters).await?;
        self.tell_parameters(index);
        Ok(())
    }

    /// The end of a statement outside a transaction, or of a transaction: all branches go back.
    pub(super) async fn release(&mut self) {
        if self.shared.cancels_under_way.get() > 0 {
            let shared = Rc::clone(&self.shared);
            Box::pin(shared.cancels_delivered()).await;
        }
        self.forget_targets();
        let home = self.space.state.map.home();
        let session_mode = self.worker.config.pool.mode == PoolMode::Session;
        for branch in std::mem::take(&mut self.transaction.branches) {
            let mut server = branch.server;
            server.broken |= branch.holds_decisions;
            self.out.extend_from_slice(&server.notifications.split());
            let keep = session_mode || (self.pinned && server.shard == home);
            let above = !self.pinned && self.worker.pools.is_above_limit(server.shard);
            if keep && !above && server.is_clean() {
                self.held.push(server);
            } else {
                self.give_back(server);
            }
        }
        self.transaction.leaves_state.set(false);
        if self.transaction.reserve_right.take().is_some() {
            self.worker.pools.wake_waiters();
        }
    }
}

impl Session {
    /// The connections in use are about to be given back.
    pub(super) fn forget_targets(&self) {
        let mut targets = self.shared.targets.borrow_mut();
        if targets.len() > 1 {
            self.worker.spread.set(self.worker.spread.get() - 1);
            // Chosen too late: the statement that waited has ended by itself.
            self.shared.deadlock.take();
        }
        targets.clear();
    }
}

/// As PostgreSQL says it of a statement that was cancelled.
pub(super) fn cancelled() -> RouterError {
    RouterError::new("57014", "canceling statement due to user request")
}

/// Ready once the client has left.
pub(super) fn until_gone(client: &crate::stream::Stream, cx: &mut Context<'_>) -> Poll<()> {
    if client_is_gone(client, cx) {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}

/// Queues `BEGIN` on a branch; the replies to come are added to `slots`.
pub(super) fn queue_begin(branch: &mut Branch, slots: &mut super::slots::Slots) {
    branch.begun = true;
    prepare_transaction_control(&mut branch.server, slots);
    branch.server.outbuf.put_slice(BIND_EXECUTE_BEGIN);
    slots.push_back(Slot::Bind { hidden: true });
    slots.push_back(Slot::execute(true));
}

/// Bind "" to `obegin` without parameters, Execute it.
const BIND_EXECUTE_BEGIN: &[u8] = b"B\0\0\0\x12\0obegin\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0";
/// Bind "" to `ocommit` without parameters, Execute it.
const BIND_EXECUTE_COMMIT: &[u8] = b"B\0\0\0\x13\0ocommit\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0";

/// Prepares `BEGIN` and `COMMIT` once on a connection.
fn prepare_transaction_control(server: &mut Server, slots: &mut super::slots::Slots) {
    if server.prepared.transaction_control {
        return;
    }
    server.prepared.transaction_control = true;
    for (name, text) in [
        (b"obegin".as_slice(), b"BEGIN".as_slice()),
        (b"ocommit", b"COMMIT"),
    ] {
        // No parameter types, so there cannot be too many.
        let _ = write::parse(&mut server.outbuf, name, text, []);
        slots.push_back(Slot::Parse {
            number: 0,
            hidden: true,
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn bind_and_execute(name: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        write::bind(&mut out, b"", name, &[], &[]).unwrap();
        write::execute(&mut out, b"", 0);
        out
    }

    #[test]
    fn the_prepared_bytes_are_what_the_wire_crate_writes() {
        assert_eq!(BIND_EXECUTE_BEGIN, &bind_and_execute(b"obegin")[..]);
        assert_eq!(BIND_EXECUTE_COMMIT, &bind_and_execute(b"ocommit")[..]);
    }
}
