//! What is written down of constraints over shards: no note outlives its transaction, and all shards have the same keys.

use std::collections::BTreeMap;

use topology::ShardId;

use super::snapshot::Snapshot;
use super::{Fault, Mend, Verified};
use crate::control::error::ControlError;
use crate::control::moves::error::MoveError;

const REGISTRY: &str = "SELECT object, kept FROM oskol.verified_registry()";

impl Verified<'_> {
    pub(super) async fn notes(&self, snapshot: &Snapshot) -> Result<Vec<Fault>, MoveError> {
        let mut faults = Vec::new();
        for shard in snapshot.shards() {
            for table in ["oskol.changes", "oskol.key_changes"] {
                let sql = format!("SELECT count(*) FROM {table}");
                let rows = snapshot.query(shard, &sql).await?;
                let count: i64 = rows.first().map_or(0, |row| row.get(0));
                if count > 0 {
                    let detail = format!("{count} notes of transactions that have ended");
                    let mut fault = self.fault("notes left", shard, table, detail);
                    // Those of transactions under way are not to be seen.
                    fault.mend = Mend::Sql(format!("DELETE FROM {table}"));
                    faults.push(fault);
                }
            }
        }
        faults.extend(self.registries(snapshot).await?);
        Ok(faults)
    }

    async fn registries(&self, snapshot: &Snapshot) -> Result<Vec<Fault>, MoveError> {
        let truth = registry(snapshot, snapshot.home).await?;
        let mut faults = Vec::new();
        for shard in snapshot.shards() {
            let found = registry(snapshot, shard).await?;
            let objects = truth
                .keys()
                .chain(found.keys().filter(|it| !truth.contains_key(*it)));
            for object in objects.filter(|it| truth.get(*it) != found.get(*it)) {
                let told = |registry: &BTreeMap<String, String>| registry.get(object).cloned();
                let (here, home) = (told(&found), told(&truth));
                let nothing = || "nothing".to_owned();
                let (here, home) = (here.unwrap_or_else(nothing), home.unwrap_or_else(nothing));
                let detail = format!("{here}; on the home shard: {home}");
                faults.push(self.fault("keys differ", shard, object, detail));
            }
        }
        Ok(faults)
    }
}

async fn registry(
    snapshot: &Snapshot,
    shard: ShardId,
) -> Result<BTreeMap<String, String>, ControlError> {
    let rows = snapshot.query(shard, REGISTRY).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
