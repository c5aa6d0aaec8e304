//! Back to a known state: after errors, lost connections, and when the client leaves.

use std::rc::Rc;
use std::time::Duration;

use wire::backend::Severity;
use wire::frontend::write;

use super::fault::Fault;
use super::shared::WorkerState;
use super::state::Session;
use super::transaction::State;
use crate::backend::Server;
use crate::settings::quote_identifier;

/// How long a server connection may take to come back into step before it is closed.
pub(super) const RECOVERY_LIMIT: Duration = Duration::from_secs(5);

impl Session {
    /// Branches whose connection is lost leave the transaction; an open one is failed by it.
    pub(super) fn drop_broken_branches(&mut self) {
        let before = self.transaction.branches.len();
        let branches = std::mem::take(&mut self.transaction.branches);
        for branch in branches {
            if branch.server.broken {
                if self.pinned && branch.server.shard == self.home() {
                    // What was pinned to it is gone with it.
                    self.pinned = false;
                    self.temporaries.clear();
                }
                self.worker.pools.give_back(branch.server);
            } else {
                self.transaction.branches.push(branch);
            }
        }
        if self.transaction.branches.len() < before {
            self.extended.abandon();
            if self.transaction.state == State::Open {
                self.transaction.state = State::Failed;
            }
        }
    }

    /// A failed transaction keeps no locks that PostgreSQL would not keep: those taken since the last savepoint go, on
    /// all shards, not only on the one that has failed.
    pub(super) async fn let_go_of_locks(&mut self) {
        if std::mem::replace(&mut self.transaction.has_let_go, true) {
            return;
        }
        let savepoint = self.transaction.last_savepoint();
        let ends = savepoint.is_none();
        let sql = match savepoint {
            Some(name) => format!("ROLLBACK TO SAVEPOINT {}", quote_identifier(name)),
            None => "ROLLBACK".to_owned(),
        };
        for index in 0..self.transaction.branches.len() {
            self.resynchronise_branch(index).await;
            let branch = &mut self.transaction.branches[index];
            let server = &mut branch.server;
            if server.broken || server.status != b'T' {
                continue;
            }
            let outcome = server.query(&sql, &self.worker.parameters);
            let done = tokio::time::timeout(RECOVERY_LIMIT, outcome).await;
            server.broken |= !matches!(done, Ok(Ok(_)));
            branch.begun &= !ends;
        }
    }

    /// Outside a transaction: servers that are out of step are brought back, then given back.
    pub(super) async fn resynchronise(&mut self) {
        for index in 0..self.transaction.branches.len() {
            self.resynchronise_branch(index).await;
        }
        self.slots.clear();
        self.released = 0;
        self.passing = 0;
        if self.transaction.state == State::Idle {
            self.release().await;
        }
    }

    /// What PostgreSQL did since the last Sync must not be committed by the next one.
    pub(super) async fn resynchronise_branch(&mut self, index: usize) {
        let branch = &mut self.transaction.branches[index];
        if !branch.unsynced {
            return;
        }
        branch.unsynced = false;
        let undo = !branch.errored && !branch.begun;
        let server = &mut branch.server;
        server.outbuf.clear();
        if undo {
            server.queue_query(b"ROLLBACK");
        }
        write::sync(&mut server.outbuf);
        branch.errored = false;
        for _ in 0..1 + usize::from(undo) {
            let reply = server.rows_until_ready(&self.worker.parameters);
            if !matches!(
                tokio::time::timeout(RECOVERY_LIMIT, reply).await,
                Ok(Ok(_) | Err(crate::backend::QueryError::Refused(_)))
            ) {
                server.broken = true;
                return;
            }
        }
    }

    /// The router refuses in the middle of a pipeline: what was sent before is answered first.
    /// False: one of those has failed, and the client was told.
    pub(super) async fn drain_before_fault(&mut self) -> bool {
        let Some(active) = self.extended.active() else {
            return true;
        };
        if self.slots.is_empty() || self.transaction.branches[active].server.broken {
            return true;
        }
        self.drain(active).await.is_ok()
    }

    /// The client has left, or must: say why if it can hear it, and leave nothing behind.
    pub(super) async fn end(mut self: Box<Self>, fault: Fault) {
        if let Fault::ClientGone(error) = &fault {
            tracing::debug!(%error, session = self.shared.id.0, "the client has left");
        }
        if let Fault::Fatal(error) = &fault {
            self.metrics.router_errors.increment();
            super::answer::error_response(&mut self.out, Severity::Fatal, error);
            let _ = tokio::time::timeout(Duration::from_secs(1), self.flush()).await;
        }
        self.worker.sessions.borrow_mut().remove(&self.shared.id);
        self.worker.metrics.clients.decrement();
        let shared = Rc::clone(&self.shared);
        shared.cancels_delivered().await;
        self.forget_targets();
        let busy = self.serving || !self.slots.is_empty() || self.copy.is_some();
        for mut branch in std::mem::take(&mut self.transaction.branches) {
            if busy || branch.unsynced || self.pinned {
                self.cancel_and_close(branch.server).await;
                continue;
            }
            if branch.server.status != b'I' {
                let rollback = branch.server.query("ROLLBACK", &self.worker.parameters);
                branch.server.broken = !matches!(
                    tokio::time::timeout(RECOVERY_LIMIT, rollback).await,
                    Ok(Ok(_))
                );
            }
            self.give_back(branch.server);
        }
        for server in std::mem::take(&mut self.held) {
            self.leave_held(server).await;
        }
        let _ = tokio::time::timeout(Duration::from_secs(1), self.client.close()).await;
    }

    /// A statement may still run there for nobody: cancel it and close the connection.
    async fn cancel_and_close(&self, mut server: Box<Server>) {
        self.worker
            .pools
            .cancel(server.shard, server.process_id, &server.secret)
            .await;
        server.broken = true;
        self.worker.pools.give_back(server);
    }

    /// A connection that stayed with this client: wiped clean, or closed if pinned.
    async fn leave_held(&self, mut server: Box<Server>) {
        if self.pinned {
            server.broken = true;
        } else {
            wipe(&mut server, &self.worker).await;
        }
        self.worker.pools.give_back(server);
    }

    /// Gives a connection of the transaction back: first wiped, while nobody waits for it, if users' code may have
    /// left something behind there.
    pub(super) fn give_back(&self, mut server: Box<Server>) {
        if !self.transaction.leaves_state.get() || !server.is_clean() {
            return self.worker.pools.give_back(server);
        }
        let worker = Rc::clone(&self.worker);
        tokio::task::spawn_local(async move {
            wipe(&mut server, &worker).await;
            worker.pools.give_back(server);
        });
    }
}

/// As if the connection were new. One that cannot be wiped is broken.
async fn wipe(server: &mut Server, worker: &WorkerState) {
    let wiped = server.query("DISCARD ALL", &worker.parameters);
    server.broken = !matches!(tokio::time::timeout(RECOVERY_LIMIT, wiped).await, Ok(Ok(_)));
    server.prepared.clear();
    server.settings = worker.plain_settings();
}
