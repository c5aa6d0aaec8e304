//! Server connections for the statement at hand: joining shards, and letting them go.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BufMut;
use schema::Admission;
use smallvec::SmallVec;
use topology::ShardId;
use wire::frontend::write;

use super::fault::Fault;
use super::relay::client_is_gone;
use super::shared::{CancelTarget, WAITING};
use super::slots::Slot;
use super::state::Session;
use super::transaction::{Branch, Source, State};
use crate::backend::Server;
use crate::backend::connect::Account;
use crate::config::PoolMode;
use crate::error::RouterError;
use crate::plan::{Action, Isolation, Plan};

impl Session {
    /// The branch of `shard`, which joins if it has not. Outside a transaction a branch lasts for
    /// one statement or one pipeline.
    pub(super) async fn branch(&mut self, shard: ShardId) -> Result<usize, Fault> {
        self.space.state.must_be_seen(shard)?;
        if let Some(index) = self.transaction.find(shard) {
            if self.transaction.branches[index].of_standby {
                self.check_standby(index)?;
            }
            return Ok(index);
        }
        let reads = self.transaction.source.get() == Source::Standby;
        let server = if reads {
            Box::pin(self.server_for_reading(shard)).await?
        } else {
            match self.server_at_hand(shard) {
                Some(server) => server,
                None => Box::pin(self.server_waited_for(shard)).await?,
            }
        };
        let server = self.of_this_life(server)?;
        let settled = Rc::ptr_eq(&server.settings, &self.settings);
        let told = Rc::ptr_eq(&server.parameters, &self.told);
        let index = self.enlist_branch(Branch {
            reads,
            ..Branch::new(server)
        });
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
        self.space.state.must_be_seen(shard)?;
        let server = match self.worker.pools.take_idle(shard, &self.account) {
            Some(server) => server,
            None => Box::pin(self.server_waited_for(shard)).await?,
        };
        let server = self.of_this_life(server)?;
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

    pub(super) fn server_at_hand(&mut self, shard: ShardId) -> Option<Box<Server>> {
        if let Some(at) = self.held.iter().position(|server| server.shard == shard) {
            return Some(self.held.swap_remove(at));
        }
        self.worker.pools.take_idle(shard, &self.account)
    }

    /// The shard has let this connection in because the router knows of a new shard map, and the statement was routed by the
    /// one of before: only where this router was cut off, and hears of it at this moment.
    fn of_this_life(&self, server: Box<Server>) -> Result<Box<Server>, Fault> {
        if server.life <= self.space.state.life {
            return Ok(server);
        }
        self.give_back(server);
        Err(super::deadlock::moved().into())
    }

    /// What was routed by a state must not run on a connection of a later life; but of the shard the newest counts, as the
    /// connection will serve others, too. A standby need not show what no plan hangs on.
    fn admission(&self, shard: ShardId, account: &Account) -> Result<Admission, Fault> {
        let state = &self.space.state;
        let of_shard = match account.standby {
            Some(_) => state.admission(shard),
            None => self.database.admission(shard)?,
        };
        let life = state.life;
        Ok(Admission { life, ..of_shard })
    }

    pub(super) async fn server_waited_for(&mut self, shard: ShardId) -> Result<Box<Server>, Fault> {
        let account = Rc::clone(&self.account);
        self.server_of_account(shard, &account).await
    }

    pub(super) async fn server_of_account(
        &mut self,
        shard: ShardId,
        account: &Rc<Account>,
    ) -> Result<Box<Server>, Fault> {
        let holding = !self.transaction.branches.is_empty() || !self.held.is_empty();
        let worker = Rc::clone(&self.worker);
        let admission = self.admission(shard, account)?;
        let before = self.shared.status.replace(WAITING);
        let right = &mut self.transaction.reserve_right;
        let leased = tokio::select! {
            biased;
            leased = worker.pools.lease(shard, account, admission, holding, right) => leased.map_err(Fault::from),
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

    /// As [`Self::joined`], on a shard that can be reached: for what any shard can do.
    pub(super) async fn joined_anywhere(&mut self) -> Result<usize, Fault> {
        let shard = self.any_shard();
        match self.joined(shard).await {
            Err(fault) => Box::pin(self.joined_living(true, fault)).await,
            done => done,
        }
    }

    /// As [`Self::joined_without_snapshot`], on a shard that can be reached.
    pub(super) async fn joined_anywhere_without_snapshot(&mut self) -> Result<usize, Fault> {
        let shard = self.any_shard();
        match self.joined_without_snapshot(shard).await {
            Err(fault) => Box::pin(self.joined_living(false, fault)).await,
            done => done,
        }
    }

    /// After a shard could not be reached: another one, where the plan runs on any.
    pub(super) async fn joined_elsewhere(
        &mut self,
        plan: &Plan,
        fault: Fault,
    ) -> Result<usize, Fault> {
        match plan.action {
            Action::AnyShard => self.joined_living(true, fault).await,
            _ => Err(fault),
        }
    }

    /// Nothing was sent yet. Each shard has its turn at most once; those that are known to be out of reach have none.
    async fn joined_living(&mut self, snapshot: bool, mut fault: Fault) -> Result<usize, Fault> {
        for _ in 1..self.space.state.map.shards().len() {
            if !fault.is_unreachable() || !self.transaction.branches.is_empty() {
                break;
            }
            let shard = self.any_shard();
            let joined = match snapshot {
                true => self.joined(shard).await,
                false => self.joined_without_snapshot(shard).await,
            };
            match joined {
                Err(another) => fault = another,
                done => return done,
            }
        }
        Err(fault)
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
        self.transaction.source.set(Source::Undecided);
        for branch in std::mem::take(&mut self.transaction.branches) {
            let mut server = branch.server;
            server.broken |= branch.holds_decisions;
            self.out.extend_from_slice(&server.notifications.split());
            let keep =
                !branch.of_standby && (session_mode || (self.pinned && server.shard == home));
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
    /// One connection is about to be given back before the others. Waits for cancels that are on their way to it.
    pub(super) async fn forget_target(&self, index: usize) {
        let shared = &self.shared;
        shared.cancels_delivered().await;
        let server = &self.transaction.branches[index].server;
        let mut targets = shared.targets.borrow_mut();
        let spread = targets.len() > 1;
        targets.retain(|target| {
            target.shard != server.shard || target.process_id != server.process_id
        });
        if spread && targets.len() <= 1 {
            self.worker.spread.set(self.worker.spread.get() - 1);
        }
    }

    /// The connections in use are about to be given back.
    pub(super) fn forget_targets(&self) {
        let mut targets = self.shared.targets.borrow_mut();
        if targets.len() > 1 {
            self.worker.spread.set(self.worker.spread.get() - 1);
        }
        // Chosen too late: the statement that waited has ended by itself.
        self.shared.deadlock.take();
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
