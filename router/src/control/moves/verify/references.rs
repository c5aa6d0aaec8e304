//! Foreign keys over shards: every child has its parent somewhere. Which of the two is wrong, only an operator knows.

use topology::ShardId;

use super::snapshot::{Snapshot, failed};
use super::{Fault, Verified};
use crate::control::error::ControlError;
use crate::control::moves::error::MoveError;

/// Keys that are looked for at a time.
const BATCH: usize = 5_000;
/// Orphans of one key that are told.
const AT_MOST: usize = 1000;

const KEYS: &str = "SELECT f.number, format('%s of %s', k.conname, f.child::regclass), f.child_at IN ('home', 'every'),
    f.parent_at = 'home', f.parent::regclass::text,
    (SELECT string_agg(c.child, ', ' ORDER BY c.ordinal) FROM oskol.foreign_key_columns(f.key) c)
    FROM oskol.foreign_keys f JOIN pg_constraint k ON k.oid = f.key WHERE f.enforced AND k.convalidated ORDER BY 1";

struct Key {
    number: i32,
    object: String,
    child_at_home: bool,
    parent_at_home: bool,
    parent: String,
    columns: String,
}

impl Verified<'_> {
    pub(super) async fn foreign_keys(&self, snapshot: &Snapshot) -> Result<Vec<Fault>, MoveError> {
        let mut faults = Vec::new();
        for row in snapshot.query(snapshot.home, KEYS).await? {
            let key = Key {
                number: row.get(0),
                object: row.get(1),
                child_at_home: row.get(2),
                parent_at_home: row.get(3),
                parent: row.get(4),
                columns: row.get(5),
            };
            for shard in places(snapshot, key.child_at_home) {
                let orphans = orphans(snapshot, shard, &key).await?;
                faults.extend(orphans.iter().map(|values| {
                    let Key {
                        columns, parent, ..
                    } = &key;
                    let detail =
                        format!("Key ({columns})=({values}) is not present in table {parent}");
                    self.fault("orphan", shard, &key.object, detail)
                }));
            }
        }
        Ok(faults)
    }
}

fn places(snapshot: &Snapshot, home: bool) -> Vec<ShardId> {
    match home {
        true => vec![snapshot.home],
        false => snapshot.shards().collect(),
    }
}

/// Values of children on `shard` that no parent has.
async fn orphans(
    snapshot: &Snapshot,
    shard: ShardId,
    key: &Key,
) -> Result<Vec<String>, ControlError> {
    let children = snapshot.client(shard);
    let open = format!(
        "DECLARE children NO SCROLL CURSOR FOR SELECT k FROM oskol.child_keys_{}() k",
        key.number
    );
    children.batch_execute(&open).await.map_err(failed(shard))?;
    let mut orphans = Vec::new();
    loop {
        let rows = snapshot
            .query(shard, &format!("FETCH {BATCH} FROM children"))
            .await?;
        let whole = rows.len() == BATCH;
        let keys: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        orphans.extend(
            unknown(snapshot, key, keys)
                .await?
                .iter()
                .map(|it| values(it)),
        );
        if !whole || orphans.len() > AT_MOST {
            break;
        }
    }
    children
        .batch_execute("CLOSE children")
        .await
        .map_err(failed(shard))?;
    orphans.truncate(AT_MOST);
    Ok(orphans)
}

/// Those of `keys` that are on none of the parent's shards.
async fn unknown(
    snapshot: &Snapshot,
    key: &Key,
    mut keys: Vec<String>,
) -> Result<Vec<String>, ControlError> {
    for shard in places(snapshot, key.parent_at_home) {
        if keys.is_empty() {
            break;
        }
        let listed = format!("[{}]", keys.join(","));
        let sql = "SELECT oskol.unknown_parents($1, $2::text::json)";
        let rows = snapshot
            .client(shard)
            .query(sql, &[&key.number, &listed])
            .await;
        let rows = rows.map_err(failed(shard))?;
        let unknown = rows
            .iter()
            .filter_map(|row| usize::try_from(row.get::<_, i64>(0)).ok());
        keys = unknown.filter_map(|at| keys.get(at).cloned()).collect();
    }
    Ok(keys)
}

/// As PostgreSQL shows them.
fn values(key: &str) -> String {
    let values: Vec<Option<String>> = serde_json::from_str(key).unwrap_or_default();
    let shown: Vec<_> = values
        .iter()
        .map(|it| it.as_deref().unwrap_or("null"))
        .collect();
    shown.join(", ")
}
