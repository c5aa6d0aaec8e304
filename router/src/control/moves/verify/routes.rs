//! Routing indexes: each row must have one entry, on the shard of its value. Equal entries are counted.

use std::collections::BTreeMap;

use topology::ShardId;

use super::entries::{Key, differing, shard_key, split};
use super::snapshot::{Snapshot, failed};
use super::{Fault, Mend, Verified};
use crate::control::error::ControlError;
use crate::control::moves::error::MoveError;
use crate::settings::quote_literal;

const ROUTES: &str = "SELECT r.number, format('%s.%I', r.relation::regclass, a.attname), a.attname::text, q.made, q.found
    FROM oskol.routes r JOIN pg_attribute a ON a.attrelid = r.relation AND a.attnum = r.attribute,
    LATERAL oskol.verified_entries(r.number) q ORDER BY r.number";

/// The table, and conditions on its rows and on entries: those that have the values `$2` and `$3` (text) in column and shard
/// key. So written that indexes serve them.
const SAME: &str =
    "SELECT r.relation::regclass::text, format('%I = %L::%s AND %I = %L::%s', v.attname, $2::text,
    format_type(v.atttypid, -1), k.attname, $3::text, format_type(k.atttypid, -1)),
    format('v = %L::%s AND key = %L::%s', $2::text, r.type, $3::text, oskol.route_type(k.atttypid))
    FROM oskol.routes r JOIN pg_attribute v ON v.attrelid = r.relation AND v.attnum = r.attribute
    JOIN pg_attribute k ON k.attrelid = r.relation AND k.attnum = r.key WHERE r.number = $1";

/// How many there are of one entry.
#[derive(Default)]
struct Counts {
    rows: i64,
    entries: BTreeMap<ShardId, i64>,
}

/// The entries of one value and shard key are to be as many as the rows, on the shard of the value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::control::moves) struct RouteMend {
    number: i32,
    /// A JSON array of two texts.
    entry: String,
    right: ShardId,
}

impl Verified<'_> {
    pub(super) async fn routes(&self, snapshot: &Snapshot) -> Result<Vec<Fault>, MoveError> {
        let mut all = Vec::new();
        for row in snapshot.query(snapshot.home, ROUTES).await? {
            let key = Key {
                number: row.get(0),
                object: row.get(1),
                columns: row.get(2),
                made: row.get(3),
                found: row.get(4),
            };
            let mut faults = Vec::new();
            for bucket in differing(snapshot, &key).await? {
                faults.extend(self.route_bucket(snapshot, &key, bucket).await?);
                if self.are_enough(&mut faults, snapshot, &key) {
                    break;
                }
            }
            all.extend(faults);
        }
        Ok(all)
    }

    async fn route_bucket(
        &self,
        snapshot: &Snapshot,
        key: &Key,
        bucket: i32,
    ) -> Result<Vec<Fault>, ControlError> {
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for shard in snapshot.shards() {
            for (is_row, query) in [(true, &key.made), (false, &key.found)] {
                let sql = format!(
                    "SELECT to_json(e.entry)::text, count(*) FROM ({query}) e WHERE e.bucket = {bucket} GROUP BY e.entry"
                );
                for row in snapshot.query(shard, &sql).await? {
                    let counted = counts.entry(row.get(0)).or_default();
                    match is_row {
                        true => counted.rows += row.get::<_, i64>(1),
                        false => *counted.entries.entry(shard).or_default() += row.get::<_, i64>(1),
                    }
                }
            }
        }
        let right = snapshot.shard_of(bucket);
        let faults = counts.into_iter();
        Ok(faults
            .filter_map(|(entry, counts)| self.route_fault(key, right, entry, &counts))
            .collect())
    }

    /// What is wrong with one entry; `right`: the shard that has to have it.
    fn route_fault(
        &self,
        key: &Key,
        right: ShardId,
        entry: String,
        counts: &Counts,
    ) -> Option<Fault> {
        let at_right = counts.entries.get(&right).copied().unwrap_or(0);
        let misplaced = counts.entries.keys().find(|shard| **shard != right);
        let (kind, shard) = match (misplaced, at_right.cmp(&counts.rows)) {
            (Some(shard), _) => ("misplaced entry", *shard),
            (None, std::cmp::Ordering::Less) => ("missing entry", right),
            (None, std::cmp::Ordering::Greater) => ("entry without row", right),
            (None, std::cmp::Ordering::Equal) => return None,
        };
        let value = split(&entry).and_then(|(values, _)| values.into_iter().next()?);
        let detail = format!(
            "({})=({}) {}: {} rows, and {at_right} entries on shard {right}",
            key.columns,
            value.unwrap_or_default(),
            shard_key(&entry),
            counts.rows
        );
        let mut fault = self.fault(kind, shard, &key.object, detail);
        fault.mend = Mend::Route(RouteMend {
            number: key.number,
            entry,
            right,
        });
        Some(fault)
    }

    /// Counts anew while nobody writes to the table, and nothing that was written is still to be committed.
    pub(super) async fn mend_route(&self, mend: &RouteMend) -> Result<(), MoveError> {
        let Some((values, key)) = split(&mend.entry) else {
            return Ok(());
        };
        let value = values.into_iter().next().flatten().unwrap_or_default();
        let home = self.inner.connections.get_home(self.database).await?;
        let named = home.query_opt(SAME, &[&mend.number, &value, &key]).await;
        let Some(named) = named.map_err(home.failed())? else {
            return Err(MoveError::Later("the routing index is gone".to_owned()));
        };
        let (table, of_row, of_entry): (String, String, String) =
            (named.get(0), named.get(1), named.get(2));
        let shards = self.shards_without_writers(mend.number, &table).await?;
        let mut rows = 0;
        for (shard, client) in &shards {
            let sql = format!("SELECT count(*) FROM ONLY {table} WHERE {of_row}");
            rows += count(client, *shard, &sql).await?;
        }
        let number = mend.number;
        for (shard, client) in &shards {
            let wanted = if *shard == mend.right { rows } else { 0 };
            let sql = format!("SELECT count(*) FROM oskol.routing_{number} WHERE {of_entry}");
            let more = wanted - count(client, *shard, &sql).await?;
            let [gone, come] = [-more, more].map(|amount| repeated(&mend.entry, amount));
            let sql = format!(
                "SELECT oskol.enter_{number}((SELECT token FROM oskol.secret), {gone}, {come}); COMMIT"
            );
            client.batch_execute(&sql).await.map_err(failed(*shard))?;
        }
        Ok(())
    }

    /// A transaction on every shard that keeps writers out until its connection ends.
    async fn shards_without_writers(
        &self,
        number: i32,
        table: &str,
    ) -> Result<BTreeMap<ShardId, tokio_postgres::Client>, MoveError> {
        let mut clients = BTreeMap::new();
        for shard in self.map.shards().to_vec() {
            let client = self.inner.connections.own(shard, self.database).await?;
            let begin = "SET lock_timeout = '2s'; SET search_path = pg_catalog, pg_temp; BEGIN";
            client.batch_execute(begin).await.map_err(failed(shard))?;
            clients.insert(shard, client);
        }
        // The rows first, as whoever writes does.
        for table in [table, format!("oskol.routing_{number}").as_str()] {
            for (shard, client) in &clients {
                let lock = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE");
                client.batch_execute(&lock).await.map_err(failed(*shard))?;
            }
        }
        Ok(clients)
    }
}

async fn count(
    client: &tokio_postgres::Client,
    shard: ShardId,
    sql: &str,
) -> Result<i64, MoveError> {
    let row = client.query_one(sql, &[]).await.map_err(failed(shard))?;
    Ok(row.get(0))
}

/// A literal of a JSON array of so many of the same; none, where `amount` is below 1.
fn repeated(entry: &str, amount: i64) -> String {
    let amount = usize::try_from(amount).unwrap_or(0);
    quote_literal(&format!("[{}]", vec![entry; amount].join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_written_as_often_as_it_lacks() {
        assert_eq!(
            repeated("[\"a\",\"1\"]", 2),
            "'[[\"a\",\"1\"],[\"a\",\"1\"]]'"
        );
        assert_eq!(repeated("[\"a\",\"1\"]", -1), "'[]'");
    }
}
