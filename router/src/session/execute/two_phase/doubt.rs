//! Two-phase commits whose connections break: the outcome is asked of the lead, and what is decided is finished on other
//! connections, both for a bounded time, before the client is told that nobody knows.

use std::time::Duration;

use topology::ShardId;
use wire::backend::Severity;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use crate::control::{GlobalId, Outcome};
use crate::error::RouterError;

/// How long a client that waits for COMMIT waits for a lead that cannot be reached, and then for a shard that cannot be
/// told of the decision.
const LIMIT: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(100);

impl Session {
    /// The lead's answer is lost. Ok: it has committed, and the others are to follow.
    ///
    /// # Errors
    /// 40000: it has not, and all is rolled back. 08007: it cannot be asked.
    pub(super) async fn learn_decision(
        &mut self,
        others: &[usize],
        gid: &str,
    ) -> Result<(), Fault> {
        match tokio::time::timeout(LIMIT, self.ask_lead(gid)).await {
            Ok(Some(Outcome::Committed)) => Ok(()),
            Ok(Some(Outcome::Aborted)) => {
                self.roll_back_prepared(others, gid).await;
                Err(rolled_back().into())
            }
            Ok(None) | Err(_) => {
                self.abandon_prepared(others);
                let database = self.database.name();
                self.worker.control.board().add_unknown(gid, database);
                self.worker.control.recover_soon();
                Err(in_doubt(gid).into())
            }
        }
    }

    /// Until it answers. None: there is nobody to ask.
    async fn ask_lead(&self, gid: &str) -> Option<Outcome> {
        let id: GlobalId = gid.parse().ok()?;
        loop {
            match self.worker.control.outcome(self.database.name(), &id).await {
                Ok(outcome) => return Some(outcome),
                Err(error) => tracing::debug!(gid, %error, "the lead cannot be asked yet"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// COMMIT PREPARED on other connections, so that the session's next statements see what it has written.
    pub(super) async fn finish_elsewhere(&mut self, shards: Vec<ShardId>, gid: &str) {
        let control = &self.worker.control;
        let Ok(id) = gid.parse() else { return };
        let finished = async {
            while let Err(error) = control.finish(self.database.name(), &id, &shards).await {
                tracing::debug!(gid, %error, "not committed everywhere yet");
                tokio::time::sleep(AGAIN).await;
            }
        };
        if tokio::time::timeout(LIMIT, finished).await.is_ok() {
            return;
        }
        control.recover_soon();
        let shards: Vec<String> = shards.iter().map(ShardId::to_string).collect();
        let late = RouterError::new(
            "01000",
            "the transaction is committed, but not yet seen on all shards",
        )
        .detail(format!(
            "Shard {} cannot be reached, and commits {gid} when it is back.",
            shards.join(", ")
        ));
        self.notice(Severity::Warning, &late);
    }

    /// Nobody knows what the lead did: the prepared branches are left to recovery.
    fn abandon_prepared(&mut self, others: &[usize]) {
        for &index in others {
            self.transaction.branches[index].prepared = false;
        }
    }
}

fn rolled_back() -> RouterError {
    RouterError::new("40000", "the transaction was rolled back")
        .detail("The connection to its lead shard broke before it had committed.")
        .hint("Run the transaction again.")
}

/// SQLSTATE 08007: the client cannot be told what became of its transaction.
fn in_doubt(gid: &str) -> RouterError {
    RouterError::new("08007", "the outcome of the transaction is not known")
        .detail(format!(
            "The lead shard cannot be reached, and may have committed {gid}."
        ))
        .hint("SHOW TRANSACTIONS in the admin database tells the outcome once it is known.")
}
