//! The scratch connection: leased beside the transaction's own, for temporary tables, as PostgreSQL refuses
//! PREPARE TRANSACTION once a transaction has touched one.
//!
//! It is a branch that is marked as apart for as long as the statement runs, with the settings of the session
//! and of the open transaction, in a transaction of its own that is rolled back.

use topology::ShardId;
use wire::frontend::write;

use super::super::super::cleanup::RECOVERY_LIMIT;
use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::super::transaction::LogEntry;
use super::values::Work;
use crate::backend::Server;
use crate::plan::gather::Finish;
use crate::plan::tokens::Tokens;
use crate::settings::{Interner, Parameters};

#[derive(Debug)]
pub(super) struct Scratch {
    /// Its index among the branches.
    pub branch: usize,
    /// PostgreSQL waits for COPY data.
    pub copying: bool,
}

impl Session {
    /// The scratch connection's index among the branches; leased when it is first asked for.
    pub(super) async fn scratch(&mut self, work: &mut Work<'_>) -> Result<usize, Fault> {
        if let Some(scratch) = &work.scratch {
            return Ok(scratch.branch);
        }
        let shard = self.scratch_shard(&work.gather.place);
        let branch = self.branch_apart(shard).await?;
        work.scratch = Some(Scratch {
            branch,
            copying: false,
        });
        self.apply_settings(branch).await?;
        let begin = self.scratch_begin();
        let server = &mut self.transaction.branches[branch].server;
        server.query(&begin, &self.worker.parameters).await?;
        Ok(branch)
    }

    /// Where oids differ from shard to shard the rows are in the home shard's.
    fn scratch_shard(&self, place: &Finish) -> ShardId {
        let anywhere = matches!(
            place,
            Finish::Apart { home: false } | Finish::Locked { home: false, .. }
        );
        if anywhere && !self.current_space().translates() {
            self.worker.any_shard(self.space.state.map.shards())
        } else {
            self.home()
        }
    }

    /// A transaction that may make tables, with what the client's own has set. It waits for slow pulls, which
    /// is no idleness of the client's.
    fn scratch_begin(&self) -> String {
        let mut sql = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE".to_owned();
        for entry in &self.transaction.log {
            if let LogEntry::Statement(text) = entry
                && !is_of_transaction(text)
            {
                sql.push(';');
                sql.push_str(text);
            }
        }
        sql.push_str(";SET LOCAL idle_in_transaction_session_timeout TO 0");
        sql
    }

    /// Gives the scratch connection back, if there is one. A session that is about to end closes it with all
    /// others.
    pub(super) async fn leave_scratch<T>(
        &mut self,
        scratch: &mut Option<Scratch>,
        outcome: Result<T, Fault>,
    ) -> Result<T, Fault> {
        let ends = matches!(outcome, Err(Fault::ClientGone(_) | Fault::Fatal(_)));
        let Some(scratch) = scratch.take().filter(|_| !ends) else {
            return outcome;
        };
        let server = &mut self.transaction.branches[scratch.branch].server;
        let wound_up = wind_up(server, scratch.copying, &self.worker.parameters);
        let in_time = tokio::time::timeout(RECOVERY_LIMIT, wound_up).await;
        let server = &mut self.transaction.branches[scratch.branch].server;
        server.broken |= in_time != Ok(true);
        self.forget_target(scratch.branch).await;
        let branch = self.transaction.branches.remove(scratch.branch);
        self.give_back(branch.server);
        outcome
    }
}

/// It sets what only the client's transaction has: its isolation, whether it writes, its constraints.
fn is_of_transaction(statement: &str) -> bool {
    let tokens = Tokens::of(statement);
    let scope = ["local", "session"];
    let second = usize::from(scope.iter().any(|word| tokens.is_word(1, word))) + 1;
    tokens.is_word(0, "set")
        && [
            "transaction",
            "constraints",
            "characteristics",
            "transaction_isolation",
        ]
        .iter()
        .chain(&["transaction_read_only", "transaction_deferrable"])
        .any(|word| tokens.is_word(second, word))
}

/// Rolls back. True: the connection is in step.
async fn wind_up(server: &mut Server, copying: bool, intern: &Interner<Parameters>) -> bool {
    if server.broken {
        return false;
    }
    if copying {
        write::copy_fail(&mut server.outbuf, b"the statement has failed");
        // Its error is the one that was asked for.
        let _ = server.rows_until_ready(intern).await;
    }
    server.status == b'I' || server.query("ROLLBACK", intern).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scratch_connection_leaves_the_transactions_own_characteristics_out() {
        for text in [
            "SET TRANSACTION READ ONLY",
            "set local transaction_read_only to on",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET CONSTRAINTS ALL DEFERRED",
        ] {
            assert!(is_of_transaction(text), "{text}");
        }
        for text in ["SET LOCAL timezone TO 'UTC'", "SET datestyle TO 'ISO'"] {
            assert!(!is_of_transaction(text), "{text}");
        }
    }
}
