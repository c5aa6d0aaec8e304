//! Looks whether everything is where and as it must be, and mends what can be mended without a choice.
//!
//! Reads every sharded table whole, on all shards. Rows that are written meanwhile are no fault: constraints over shards are
//! looked at in one snapshot over all of them, and whatever looks wrong is looked at again before it is told.

mod checks;
mod entries;
mod notes;
mod references;
mod routes;
mod snapshot;

use std::time::Duration;

use topology::{BucketId, ShardId, ShardMap};

use super::databases;
use super::error::MoveError;
use super::tables::{Buckets, MovedTable};
use crate::admin::operations::Rows;
use crate::control::error::ControlError;
use crate::control::inner::Inner;
use entries::EntryMend;
use routes::RouteMend;
use snapshot::Snapshot;

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
    pub(super) mend: Mend,
}

/// What mends a fault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mend {
    /// An operator has to choose.
    ByHand,
    /// Run on the fault's shard.
    Sql(String),
    Entry(EntryMend),
    Route(RouteMend),
}

impl Fault {
    /// The same in two looks. Of one value where it is about one: counts change while clients write.
    fn is_as(&self, other: &Fault) -> bool {
        let of_value = matches!(self.kind, "orphan" | "value twice")
            || matches!(self.mend, Mend::Entry(_) | Mend::Route(_));
        (self.kind, self.shard, &self.object) == (other.kind, other.shard, &other.object)
            && (!of_value || self.detail == other.detail)
    }
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
        let found = match lasting(inner, &database).await {
            Ok(found) => found,
            Err(error) if is_gone(inner, &database, &error).await => continue,
            // The others are looked at all the same.
            Err(error) => {
                all.push(not_verified(&database, &error));
                continue;
            }
        };
        for fault in found {
            let outcome = match (repair, &fault.mend) {
                (_, Mend::ByHand) => "by hand".to_owned(),
                (false, _) => "VERIFY REPAIR".to_owned(),
                (true, _) => match mend(inner, &fault).await {
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

fn not_verified(database: &str, error: &MoveError) -> Vec<Option<String>> {
    let cells = [
        "not verified",
        database,
        "",
        "",
        &error.to_string(),
        "by hand",
    ];
    let cell = |cell: &str| (!cell.is_empty()).then(|| cell.to_owned());
    cells.map(cell).into()
}

/// Whether the database has been dropped meanwhile, or is being made.
async fn is_gone(inner: &Inner, database: &str, error: &MoveError) -> bool {
    let missing = matches!(
        error,
        MoveError::Control(ControlError::NotOnShard { .. } | ControlError::NoDatabase(_))
    );
    let listed = databases(inner).await;
    missing || listed.is_ok_and(|listed| !listed.iter().any(|name| name == database))
}

/// Those that are there in two looks.
async fn lasting(inner: &Inner, database: &str) -> Result<Vec<Fault>, MoveError> {
    let first = faults(inner, database).await?;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::time::sleep(AGAIN).await;
    let second = faults(inner, database).await?;
    let is_old = |fault: &Fault| first.iter().any(|old| old.is_as(fault));
    Ok(second.into_iter().filter(is_old).collect())
}

async fn verified<'a>(inner: &'a Inner, database: &'a str) -> Result<Verified<'a>, MoveError> {
    let watched = inner.open(database).await?;
    Ok(Verified {
        inner,
        database,
        map: (*watched.database.state().map).clone(),
    })
}

async fn faults(inner: &Inner, database: &str) -> Result<Vec<Fault>, MoveError> {
    let verified = verified(inner, database).await?;
    let mut faults = verified.misplaced_rows().await?;
    faults.extend(verified.reference_tables().await?);
    faults.extend(verified.schema().await?);
    faults.extend(verified.sequences().await?);
    faults.extend(verified.leftovers().await?);
    let snapshot = Snapshot::open(&verified).await?;
    faults.extend(verified.unique_keys(&snapshot).await?);
    faults.extend(verified.routes(&snapshot).await?);
    faults.extend(verified.foreign_keys(&snapshot).await?);
    faults.extend(verified.notes(&snapshot).await?);
    faults.sort();
    Ok(faults)
}

async fn mend(inner: &Inner, fault: &Fault) -> Result<(), MoveError> {
    let sql = match &fault.mend {
        Mend::ByHand => return Ok(()),
        Mend::Sql(sql) => sql,
        Mend::Entry(mend) => {
            let verified = verified(inner, &fault.database).await?;
            return verified.mend_entry(mend).await;
        }
        Mend::Route(mend) => {
            let verified = verified(inner, &fault.database).await?;
            return verified.mend_route(mend).await;
        }
    };
    let shard = fault.shard.unwrap_or(inner.connections.home());
    let connection = inner.connections.get(shard, &fault.database).await?;
    connection
        .batch_execute(sql)
        .await
        .map_err(connection.failed())?;
    if fault.kind == "sequence behind" {
        inner.void_leases(&fault.database).await?;
    }
    Ok(())
}
