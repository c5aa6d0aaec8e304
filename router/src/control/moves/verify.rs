//! Looks whether everything is where and as it must be, and mends what can be mended without a choice.
//!
//! Reads every sharded table whole, on all shards. Rows that are written meanwhile are no fault: what looks wrong is looked
//! at again before it is told.

mod checks;

use std::time::Duration;

use topology::{BucketId, ShardId, ShardMap};

use super::databases;
use super::error::MoveError;
use super::tables::{Buckets, MovedTable};
use crate::admin::operations::Rows;
use crate::control::inner::Inner;

/// Before what looks wrong is looked at again.
const AGAIN: Duration = Duration::from_millis(300);

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    pub(super) kind: &'static str,
    pub(super) database: String,
    pub(super) shard: Option<ShardId>,
    pub(super) object: String,
    pub(super) detail: String,
    /// What mends it, run on that shard; empty: an operator has to choose.
    pub(super) mend: String,
}

/// One database under verification.
pub(super) struct Verified<'a> {
    pub(super) inner: &'a Inner,
    pub(super) database: &'a str,
    pub(super) map: ShardMap,
}

impl Verified<'_> {
    /// The buckets of one shard, or of all others.
    pub(super) fn buckets(&self, shard: ShardId, own: bool) -> Buckets {
        let all = (0..topology::BUCKETS).map(BucketId);
        Buckets::of(all.filter(|bucket| (self.map.shard(*bucket) == shard) == own))
    }

    /// Tables that `sql` lists, on the home shard, with the rows of these buckets.
    pub(super) async fn tables(
        &self,
        sql: &str,
        buckets: Option<&Buckets>,
    ) -> Result<Vec<MovedTable>, MoveError> {
        let home = self.inner.connections.get_home(self.database).await?;
        let rows = home.query(sql, &[]).await.map_err(home.failed())?;
        Ok(rows
            .iter()
            .map(|row| MovedTable::of(row, buckets))
            .collect())
    }
}

/// The faults of all databases, as rows of the answer; none: all is well.
pub(super) async fn verify(inner: &Inner, repair: bool) -> Result<Rows, MoveError> {
    let mut all = Rows::new();
    for database in databases(inner).await? {
        if inner.open(&database).await.is_err() {
            continue;
        }
        for fault in lasting(inner, &database).await? {
            let outcome = match (repair, fault.mend.is_empty()) {
                (_, true) => "by hand".to_owned(),
                (false, false) => "VERIFY REPAIR".to_owned(),
                (true, false) => match mend(inner, &fault).await {
                    Ok(()) => "repaired".to_owned(),
                    Err(error) => format!("failed: {error}"),
                },
            };
            all.push(vec![
                Some(fault.kind.to_owned()),
                Some(fault.database.clone()),
                fault.shard.map(|shard| shard.to_string()),
                Some(fault.object.clone()),
                Some(fault.detail.clone()),
                Some(outcome),
            ]);
        }
    }
    Ok(all)
}

/// Those that are there in two looks.
async fn lasting(inner: &Inner, database: &str) -> Result<Vec<Fault>, MoveError> {
    let first = faults(inner, database).await?;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(AGAIN).await;
    let second = faults(inner, database).await?;
    let key = |fault: &Fault| (fault.kind, fault.shard, fault.object.clone());
    let is_old = |fault: &Fault| first.iter().any(|old| key(old) == key(fault));
    Ok(second.into_iter().filter(is_old).collect())
}

async fn faults(inner: &Inner, database: &str) -> Result<Vec<Fault>, MoveError> {
    let watched = inner.open(database).await?;
    let verified = Verified {
        inner,
        database,
        map: (*watched.database.state().map).clone(),
    };
    let mut faults = verified.misplaced_rows().await?;
    faults.extend(verified.reference_tables().await?);
    faults.extend(verified.schema().await?);
    faults.extend(verified.sequences().await?);
    faults.extend(verified.leftovers().await?);
    faults.sort();
    Ok(faults)
}

async fn mend(inner: &Inner, fault: &Fault) -> Result<(), MoveError> {
    let shard = fault.shard.unwrap_or(inner.connections.home());
    let connection = inner.connections.get(shard, &fault.database).await?;
    connection
        .batch_execute(&fault.mend)
        .await
        .map_err(connection.failed())?;
    if fault.kind == "sequence behind" {
        inner.void_leases(&fault.database).await?;
    }
    Ok(())
}
