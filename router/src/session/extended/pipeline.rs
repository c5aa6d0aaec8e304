//! The messages between two Syncs: which shard they go to, what happens when another one takes over,
//! Flush and Sync.

use topology::ShardId;
use wire::frontend::write;

use super::super::fault::Fault;
use super::super::relay::Stopped;
use super::super::slots::{Answer, Slot};
use super::super::state::Session;
use super::super::transaction::State;
use super::Prepared;
use crate::plan::{Action, Plan};

impl Session {
    /// The branch in use, else that of the shard which the plan needs in any case.
    pub(in crate::session) async fn activate_for_description(
        &mut self,
        prepared: &Prepared,
    ) -> Result<usize, Fault> {
        match self.extended.active {
            Some(index) => Ok(index),
            None => {
                let needs_home =
                    matches!(prepared.plan.action, Action::Home | Action::Temporary(_));
                if needs_home {
                    return self.activate(self.home()).await;
                }
                let index = self.joined_anywhere().await?;
                self.make_active(index);
                Ok(index)
            }
        }
    }

    /// After a shard could not be reached: another one, where the plan runs on any.
    pub(super) async fn activate_elsewhere(
        &mut self,
        plan: &Plan,
        fault: Fault,
    ) -> Result<usize, Fault> {
        let index = self.joined_elsewhere(plan, fault).await?;
        self.make_active(index);
        Ok(index)
    }

    fn make_active(&mut self, index: usize) {
        self.extended.active = Some(index);
        self.transaction.branches[index].unsynced = true;
    }

    /// Makes the branch of `shard` the one that messages go to.
    pub(in crate::session) async fn activate(&mut self, shard: ShardId) -> Result<usize, Fault> {
        if let Some(active) = self.extended.active {
            let branch = &self.transaction.branches[active];
            if branch.server.shard == shard && self.transaction.suits(branch) {
                return Ok(active);
            }
            Box::pin(self.leave_active(active)).await?;
        }
        let index = self.joined(shard).await?;
        self.make_active(index);
        Ok(index)
    }

    /// Another shard, or the router, takes over: what is under way is drained, and a transaction of
    /// the server's own becomes an explicit one.
    pub(in crate::session) async fn leave_active(&mut self, active: usize) -> Result<(), Fault> {
        if self.transaction.state == State::Idle {
            self.check_pipeline_isolation()?;
            self.open_around();
            self.begin(active);
        }
        self.drain(active).await?;
        self.extended.active = None;
        Ok(())
    }

    /// Waits for the replies under way, without Sync.
    pub(in crate::session) async fn drain(&mut self, active: usize) -> Result<(), Fault> {
        if self.slots.is_empty() {
            return Ok(());
        }
        write::flush(&mut self.transaction.branches[active].server.outbuf);
        self.failed = false;
        self.relay(active).await?;
        if self.failed {
            Err(Fault::AlreadyTold)
        } else {
            Ok(())
        }
    }

    /// Before the router itself answers: everything sent so far is answered first.
    pub(in crate::session) async fn take_over(&mut self) -> Result<(), Fault> {
        self.flush_waiting().await?;
        match self.extended.active {
            Some(active) => self.leave_active(active).await,
            None => Ok(()),
        }
    }

    /// An answer of the router's, in its place among the shard's.
    pub(in crate::session) fn answer(&mut self, answer: Answer) {
        if self.slots.is_empty() {
            self.out.extend_from_slice(answer.bytes());
        } else {
            self.slots.push_back(Slot::Answer(answer));
        }
    }

    pub(in crate::session) async fn flush_message(&mut self) -> Result<(), Fault> {
        self.flush_waiting().await?;
        if let Some(active) = self.extended.active {
            write::flush(&mut self.transaction.branches[active].server.outbuf);
            self.failed = false;
            if self.relay(active).await? == Stopped::CopyIn {
                self.begin_copy(active);
            }
            if self.failed {
                return Err(Fault::AlreadyTold);
            }
        }
        self.flush().await
    }

    pub(in crate::session) async fn sync_message(&mut self) -> Result<(), Fault> {
        if self.extended.waiting.is_some() {
            self.flush_waiting().await?;
        }
        self.extended.skipping = false;
        let Some(active) = self.extended.active.take() else {
            return Box::pin(self.sync_here()).await;
        };
        let hidden = self.transaction.implicit;
        if self.transaction.branches[active].wrote {
            self.pass_gate().await;
        }
        let branch = &mut self.transaction.branches[active];
        branch.unsynced = false;
        write::sync(&mut branch.server.outbuf);
        self.slots.push_back(Slot::Sync { hidden });
        self.failed = false;
        let started = self.started();
        let relayed = self.relay(active).await;
        if let Some(prepared) = self.extended.bound.take() {
            let text = prepared.identity.text.as_bytes();
            self.finished(started, super::super::answer::kind(&prepared.plan), text);
        }
        let stopped = relayed?;
        if stopped == Stopped::CopyIn {
            // While it waits for data PostgreSQL ignores Sync; the client sends another one after it.
            self.slots.pop_back();
            self.extended.active = Some(active);
            self.transaction.branches[active].unsynced = true;
            self.begin_copy(active);
            return Ok(());
        }
        if hidden {
            self.extended.failed |= self.failed;
            return Box::pin(self.sync_here()).await;
        }
        self.after_sync(active).await
    }

    pub(in crate::session) async fn after_sync(&mut self, active: usize) -> Result<(), Fault> {
        if self.transaction.state == State::Idle {
            self.extended.forget_portals();
        }
        self.after_ready(active).await;
        Ok(())
    }
}
