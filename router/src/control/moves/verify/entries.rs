//! Unique keys over all shards: the entries must be those of the rows, one for each, on the shard of its value.
//!
//! Rows and entries are counted by the bucket of their value, with a sum of hashes; only buckets that differ are read.

use std::collections::{BTreeMap, BTreeSet};

use topology::ShardId;

use super::snapshot::{Snapshot, failed};
use super::{Fault, Mend, Verified};
use crate::control::error::ControlError;
use crate::control::moves::error::MoveError;
use crate::settings::quote_literal;

/// Faults of one key that are told at a time.
pub(super) const AT_MOST: usize = 1000;

const KEYS: &str = "SELECT u.number, u.relation::regclass::text, u.index::regclass::text,
    (SELECT string_agg(c.expression, ', ' ORDER BY c.ordinal) FROM oskol.unique_key_columns(u.index) c),
    q.made, q.found FROM oskol.unique_keys u, LATERAL oskol.verified_entries(u.number) q WHERE NOT u.filling ORDER BY u.number";

pub(super) struct Key {
    pub(super) number: i32,
    pub(super) object: String,
    pub(super) columns: String,
    /// Queries, the same on every shard but for the names of what they read.
    pub(super) made: String,
    pub(super) found: String,
}

/// How many, and the sum of their hashes.
type Digest = (i64, i128);

/// An entry as a JSON array of texts, and the shard it is on.
type Placed = (ShardId, String);
/// Of one value: what its rows ask for, and its entries.
type Held = (BTreeSet<Placed>, BTreeSet<Placed>);

/// What changes the entries of one value, and only where they still are as they were found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::control::moves) struct EntryMend {
    number: i32,
    /// Where the row is that has the value.
    row: Option<ShardId>,
    remove: BTreeSet<Placed>,
    add: Option<Placed>,
}

impl Verified<'_> {
    pub(super) async fn unique_keys(&self, snapshot: &Snapshot) -> Result<Vec<Fault>, MoveError> {
        let mut faults = Vec::new();
        for row in snapshot.query(snapshot.home, KEYS).await? {
            let key = Key {
                number: row.get(0),
                object: format!("{} of {}", row.get::<_, String>(2), row.get::<_, String>(1)),
                columns: row.get(3),
                made: row.get(4),
                found: row.get(5),
            };
            faults.extend(self.unique_key(snapshot, &key).await?);
        }
        Ok(faults)
    }

    async fn unique_key(&self, snapshot: &Snapshot, key: &Key) -> Result<Vec<Fault>, MoveError> {
        let mut faults = Vec::new();
        for bucket in differing(snapshot, key).await? {
            faults.extend(self.bucket(snapshot, key, bucket).await?);
            if self.are_enough(&mut faults, snapshot, key) {
                break;
            }
        }
        Ok(faults)
    }

    /// No more than [`AT_MOST`], and that there are more.
    pub(super) fn are_enough(
        &self,
        faults: &mut Vec<Fault>,
        snapshot: &Snapshot,
        key: &Key,
    ) -> bool {
        if faults.len() <= AT_MOST {
            return false;
        }
        faults.truncate(AT_MOST);
        let detail =
            format!("only the first {AT_MOST} are told: verify again once they are mended");
        faults.push(self.fault("more entries differ", snapshot.home, &key.object, detail));
        true
    }

    async fn bucket(
        &self,
        snapshot: &Snapshot,
        key: &Key,
        bucket: i32,
    ) -> Result<Vec<Fault>, ControlError> {
        let mut values: BTreeMap<Vec<Option<String>>, Held> = BTreeMap::new();
        for shard in snapshot.shards() {
            for (is_row, query) in [(true, &key.made), (false, &key.found)] {
                let sql = format!(
                    "SELECT to_json(e.entry)::text FROM ({query}) e WHERE e.bucket = {bucket}"
                );
                for row in snapshot.query(shard, &sql).await? {
                    let entry: String = row.get(0);
                    let Some((value, _)) = split(&entry) else {
                        continue;
                    };
                    let (rows, entries) = values.entry(value).or_default();
                    let all = if is_row { rows } else { entries };
                    all.insert((shard, entry));
                }
            }
        }
        let right = snapshot.shard_of(bucket);
        let faults = values.into_iter();
        Ok(faults
            .filter_map(|(value, (rows, entries))| self.value(key, right, &value, rows, entries))
            .collect())
    }

    /// What is wrong with the entries of one value; `right`: the shard that has to have them.
    fn value(
        &self,
        key: &Key,
        right: ShardId,
        value: &[Option<String>],
        rows: BTreeSet<Placed>,
        entries: BTreeSet<Placed>,
    ) -> Option<Fault> {
        let values: Vec<_> = value
            .iter()
            .map(|it| it.as_deref().unwrap_or("null"))
            .collect();
        let named = format!("Key ({})=({})", key.columns, values.join(", "));
        if rows.len() > 1 {
            let places = rows
                .iter()
                .map(|(shard, entry)| format!("{} on shard {shard}", shard_key(entry)));
            let detail = format!(
                "{named} is in {} rows: {}",
                rows.len(),
                places.collect::<Vec<_>>().join(", ")
            );
            let shard = rows.first().map_or(right, |(shard, _)| *shard);
            return Some(self.fault("value twice", shard, &key.object, detail));
        }
        let row = rows.into_iter().next();
        let wanted = row.as_ref().map(|(_, entry)| (right, entry.clone()));
        let remove: BTreeSet<Placed> = entries
            .iter()
            .filter(|it| wanted.as_ref() != Some(*it))
            .cloned()
            .collect();
        let add = wanted.filter(|it| !entries.contains(it));
        let at_right = remove.iter().find(|(shard, _)| *shard == right);
        let (kind, shard, what) = match (&add, at_right, remove.first()) {
            (Some((_, entry)), Some((_, other)), _) => (
                "entry of another row",
                right,
                format!(
                    "names {}, and the row is {}",
                    shard_key(other),
                    shard_key(entry)
                ),
            ),
            (_, None, Some((shard, _))) => (
                "misplaced entry",
                *shard,
                format!("belongs to shard {right}"),
            ),
            (Some((_, entry)), None, None) => (
                "missing entry",
                right,
                format!("of the row {}", shard_key(entry)),
            ),
            (None, Some((_, entry)), _) => (
                "entry without row",
                right,
                format!("names {}", shard_key(entry)),
            ),
            (None, None, None) => return None,
        };
        let mut fault = self.fault(kind, shard, &key.object, format!("{named} {what}"));
        fault.mend = Mend::Entry(EntryMend {
            number: key.number,
            row: row.map(|(shard, _)| shard),
            remove,
            add,
        });
        Some(fault)
    }

    /// The row stays as it is until its entry is there: it is locked, and looked at again.
    pub(super) async fn mend_entry(&self, mend: &EntryMend) -> Result<(), MoveError> {
        let holder = match (&mend.add, mend.row) {
            (Some((_, entry)), Some(row)) => {
                let client = self.inner.connections.own(row, self.database).await?;
                let is_there = hold(&client, mend.number, entry)
                    .await
                    .map_err(failed(row))?;
                if !is_there {
                    return Err(MoveError::Later("the row has changed meanwhile".to_owned()));
                }
                Some(client)
            }
            _ => None,
        };
        let shards: BTreeSet<ShardId> = mend
            .remove
            .iter()
            .chain(&mend.add)
            .map(|(shard, _)| *shard)
            .collect();
        for shard in shards {
            let gone = mend
                .remove
                .iter()
                .filter(|(at, _)| *at == shard)
                .map(|(_, entry)| entry.as_str());
            let gone = format!("[{}]", gone.collect::<Vec<_>>().join(","));
            let come = mend
                .add
                .iter()
                .filter(|(at, _)| *at == shard)
                .map(|(_, entry)| entry.as_str());
            let come = format!("[{}]", come.collect::<Vec<_>>().join(","));
            let sql = format!(
                "SELECT oskol.enter_{}((SELECT token FROM oskol.secret), {}, {})",
                mend.number,
                quote_literal(&gone),
                quote_literal(&come)
            );
            let client = self.inner.connections.get(shard, self.database).await?;
            client.batch_execute(&sql).await.map_err(client.failed())?;
        }
        // Closing it lets the row go.
        drop(holder);
        Ok(())
    }
}

/// Buckets whose rows and entries are not the same, or of which entries are on a wrong shard.
pub(super) async fn differing(
    snapshot: &Snapshot,
    key: &Key,
) -> Result<BTreeSet<i32>, ControlError> {
    let mut differing = BTreeSet::new();
    let (mut rows, mut entries) = (BTreeMap::new(), BTreeMap::new());
    for shard in snapshot.shards() {
        digest(snapshot, shard, &key.made, &mut rows, |_| true).await?;
        digest(snapshot, shard, &key.found, &mut entries, |bucket| {
            let is_right = snapshot.shard_of(bucket) == shard;
            if !is_right {
                differing.insert(bucket);
            }
            is_right
        })
        .await?;
    }
    let buckets = rows.keys().chain(entries.keys());
    differing.extend(buckets.filter(|bucket| rows.get(*bucket) != entries.get(*bucket)));
    Ok(differing)
}

async fn digest(
    snapshot: &Snapshot,
    shard: ShardId,
    query: &str,
    into: &mut BTreeMap<i32, Digest>,
    mut counts: impl FnMut(i32) -> bool,
) -> Result<(), ControlError> {
    let sql = format!(
        "SELECT bucket, count(*), sum(hashtextextended(entry::text, 0)::numeric)::text FROM ({query}) e GROUP BY 1"
    );
    for row in snapshot.query(shard, &sql).await? {
        let bucket: i32 = row.get(0);
        if counts(bucket) {
            let (count, sum) = into.entry(bucket).or_default();
            *count += row.get::<_, i64>(1);
            // A sum of 64-bit numbers, fewer than there can be rows.
            *sum += row.get::<_, String>(2).parse::<i128>().unwrap_or_default();
        }
    }
    Ok(())
}

/// Locks the row of an entry until the connection ends; false: it is not there any more.
async fn hold(
    client: &tokio_postgres::Client,
    number: i32,
    entry: &str,
) -> Result<bool, tokio_postgres::Error> {
    let entry = quote_literal(entry);
    let set = "SET search_path = pg_catalog, pg_temp; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres';
        SET bytea_output = 'hex'; SET extra_float_digits = 1; SET timezone = 'UTC'; BEGIN";
    client.batch_execute(set).await?;
    let sql = format!("SELECT oskol.hold_{number}({entry}::json)");
    if !client.query_one(&sql, &[]).await?.get::<_, bool>(0) {
        return Ok(false);
    }
    let sql = format!("SELECT made FROM oskol.verified_entries({number})");
    let made: String = client.query_one(&sql, &[]).await?.get(0);
    let sql =
        format!("SELECT EXISTS (SELECT FROM ({made}) e WHERE to_json(e.entry)::text = {entry})");
    Ok(client.query_one(&sql, &[]).await?.get(0))
}

/// The values of an entry, and the shard key.
pub(super) fn split(entry: &str) -> Option<(Vec<Option<String>>, String)> {
    let mut all: Vec<Option<String>> = serde_json::from_str(entry).ok()?;
    let key = all.pop()??;
    Some((all, key))
}

pub(super) fn shard_key(entry: &str) -> String {
    split(entry).map_or_else(String::new, |(_, key)| format!("with shard key {key}"))
}
