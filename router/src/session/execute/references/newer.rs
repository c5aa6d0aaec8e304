//! Children that a transaction with a snapshot of its own does not see: they have come since, while their parent was
//! still there. PostgreSQL's own checks look at them with a newer snapshot; here a connection beside the transaction does.

use schema::KeptKey;
use topology::ShardId;

use super::super::super::fault::Fault;
use super::super::super::settings::first_value;
use super::super::super::state::Session;
use crate::plan::Isolation;

impl Session {
    /// Whether `shard` has children of `keys` (a JSON array) that the transaction does not see. The parents must be
    /// locked by now, so that no more can come.
    pub(super) async fn has_newer(
        &mut self,
        key: &KeptKey,
        shard: ShardId,
        keys: &str,
    ) -> Result<bool, Fault> {
        if self.transaction.isolation == Isolation::ReadCommitted {
            return Ok(false);
        }
        let index = self.join(shard).await?;
        let seen = self
            .run_quietly(index, "SELECT pg_catalog.pg_current_snapshot()")
            .await?;
        let seen = first_value(&seen).unwrap_or_default();
        let apart = self.branch_apart(shard).await?;
        let sql = format!("SELECT oskol.newer_{}($1, $2::json, $3)", key.number);
        let told = self.call_apart(apart, &sql, vec![keys, &seen]).await;
        self.leave_apart(apart).await;
        Ok(first_value(&told?).as_deref() == Some("t"))
    }

    async fn leave_apart(&mut self, index: usize) {
        self.forget_target(index).await;
        let branch = self.transaction.branches.remove(index);
        self.worker.pools.give_back(branch.server);
    }
}
