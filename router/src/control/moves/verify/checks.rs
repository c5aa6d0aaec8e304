//! The single checks. Each takes a database and gives its faults.

use std::collections::BTreeMap;

use topology::ShardId;

use super::{Fault, Mend, Verified};
use crate::control::error::ControlError;
use crate::control::moves::end::{Digests, End, read_digests};
use crate::control::moves::error::MoveError;
use crate::control::moves::tables::MovedTable;
use crate::settings::quote_literal;

type Faults = Result<Vec<Fault>, MoveError>;

impl Verified<'_> {
    pub(super) fn fault(
        &self,
        kind: &'static str,
        shard: ShardId,
        object: &str,
        detail: String,
    ) -> Fault {
        Fault {
            kind,
            database: self.database.to_owned(),
            shard: Some(shard),
            object: object.to_owned(),
            detail,
            mend: Mend::ByHand,
        }
    }

    /// Rows of buckets that are another shard's. A row that is doubled is one of them.
    pub(super) async fn misplaced_rows(&self) -> Faults {
        let mut faults = Vec::new();
        for shard in self.map.shards().to_vec() {
            let others = self.buckets(shard, false);
            let tables = self
                .tables("SELECT * FROM oskol.moved_tables()", Some(&others))
                .await?;
            // Entries are looked at one by one (`unique_keys`, `routes`).
            let tables = tables
                .into_iter()
                .filter(|table| !table.name.starts_with("oskol."));
            for table in tables {
                let digests = self.digests(shard, &table).await?;
                let count: i64 = digests.values().map(|(rows, _)| rows).sum();
                if let Some(bucket) = digests.keys().next() {
                    let detail = format!("{count} rows of other shards' buckets, such as {bucket}");
                    faults.push(self.fault("misplaced rows", shard, &table.name, detail));
                }
            }
        }
        Ok(faults)
    }

    /// Each shard's copy must be the home shard's.
    pub(super) async fn reference_tables(&self) -> Faults {
        let mut faults = Vec::new();
        let home = self.map.home();
        for table in self
            .tables("SELECT * FROM oskol.reference_tables()", None)
            .await?
        {
            let truth = self.digests(home, &table).await?;
            for shard in self.map.shards().iter().filter(|shard| **shard != home) {
                let copy = self.digests(*shard, &table).await?;
                if copy != truth {
                    let rows = |digests: &Digests| digests.values().map(|d| d.0).sum::<i64>();
                    let detail = match (rows(&copy), rows(&truth)) {
                        (copy, truth) if copy == truth => {
                            format!("{copy} rows, not all as on the home shard")
                        }
                        (copy, truth) => format!("{copy} rows, and {truth} on the home shard"),
                    };
                    faults.push(self.fault("reference table differs", *shard, &table.name, detail));
                }
            }
        }
        Ok(faults)
    }

    /// Where rows run code it runs on a connection that is closed afterwards.
    async fn digests(&self, shard: ShardId, table: &MovedTable) -> Result<Digests, MoveError> {
        if table.owner.is_none() {
            let connection = self.inner.connections.get(shard, self.database).await?;
            return Ok(read_digests(&connection, shard, &table.digest()).await?);
        }
        let client = self.inner.connections.own(shard, self.database).await?;
        let mut end = End::new(shard, client).await?;
        end.begin("BEGIN", "").await?;
        end.digests(table, MovedTable::digest).await
    }

    /// Definitions must be alike on all shards.
    pub(super) async fn schema(&self) -> Faults {
        let home = self.map.home();
        let truth = self.definitions(home).await?;
        let mut faults = Vec::new();
        for shard in self.map.shards().iter().filter(|shard| **shard != home) {
            let found = self.definitions(*shard).await?;
            let names = truth
                .keys()
                .chain(found.keys().filter(|name| !truth.contains_key(*name)));
            for name in names {
                let detail = match (truth.get(name), found.get(name)) {
                    (Some(one), Some(other)) if one == other => continue,
                    (Some(_), Some(_)) => "is defined otherwise than on the home shard",
                    (Some(_), None) => "is missing",
                    _ => "is not on the home shard",
                };
                faults.push(self.fault("schema drift", *shard, name, detail.to_owned()));
            }
        }
        Ok(faults)
    }

    async fn definitions(&self, shard: ShardId) -> Result<BTreeMap<String, String>, MoveError> {
        let connection = self.inner.connections.get(shard, self.database).await?;
        let rows = connection.query(DEFINITIONS, &[]).await;
        let rows = rows.map_err(connection.failed())?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Ids are taken from the home shard's sequences: a value that is there already would be given again.
    pub(super) async fn sequences(&self) -> Faults {
        let home_shard = self.map.home();
        let home = self.inner.connections.get_home(self.database).await?;
        let rows = home.query(SEQUENCES, &[]).await.map_err(home.failed())?;
        let mut faults = Vec::new();
        for row in rows {
            let (table, column, sequence): (String, String, String) =
                (row.get(0), row.get(1), row.get(2));
            let mut highest = None;
            for shard in self.map.shards() {
                let connection = self.inner.connections.get(*shard, self.database).await?;
                let sql = format!("SELECT max({column})::int8 FROM {table}");
                let value = connection.query_one(&sql, &[]).await;
                let value: Option<i64> = value.map_err(connection.failed())?.get(0);
                highest = highest.max(value);
            }
            // After the tables, as it only grows.
            let sql = format!("SELECT last_value, is_called FROM {sequence}");
            let row = home.query_one(&sql, &[]).await.map_err(home.failed())?;
            let (last, called): (i64, bool) = (row.get(0), row.get(1));
            let next = if called { last.saturating_add(1) } else { last };
            if let Some(highest) = highest.filter(|highest| *highest >= next) {
                let detail = format!("gives {next} next, and {table}.{column} has {highest}");
                let mend = format!(
                    "SELECT setval({}::regclass, {highest})",
                    quote_literal(&sequence)
                );
                faults.push(Fault {
                    mend: Mend::Sql(mend),
                    ..self.fault("sequence behind", home_shard, &sequence, detail)
                });
            }
        }
        Ok(faults)
    }

    /// What moves may have left behind, and what keeps WAL or locks for ever.
    pub(super) async fn leftovers(&self) -> Faults {
        let busy = self.moves_are_under_way().await?;
        let mut faults = Vec::new();
        for shard in self.map.shards().to_vec() {
            let connection = self.inner.connections.get(shard, self.database).await?;
            let rows = connection.query(LEFTOVERS, &[]).await;
            for row in rows.map_err(connection.failed())? {
                let (kind, object, detail, mend): (String, String, String, String) =
                    (row.get(0), row.get(1), row.get(2), row.get(3));
                let kind = match kind.as_str() {
                    "slot" => "slot without a reader",
                    "publication" => "publication of ours",
                    "prepared" => "transaction in doubt",
                    "index" => "invalid index",
                    _ if busy => continue,
                    _ => "log of a move",
                };
                faults.push(Fault {
                    mend: if mend.is_empty() {
                        Mend::ByHand
                    } else {
                        Mend::Sql(mend)
                    },
                    ..self.fault(kind, shard, &object, detail)
                });
            }
        }
        Ok(faults)
    }

    async fn moves_are_under_way(&self) -> Result<bool, ControlError> {
        let home = self
            .inner
            .connections
            .get_home(crate::control::CLUSTER_DATABASE)
            .await?;
        let sql =
            "SELECT EXISTS (SELECT FROM oskol.rebalances WHERE state IN ('running', 'paused'))";
        let row = home.query_one(sql, &[]).await.map_err(home.failed())?;
        Ok(row.get(0))
    }
}

/// Name and a digest of what defines it; oids and attribute numbers differ between shards.
const DEFINITIONS: &str = "
WITH space AS (SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'oskol'))
SELECT format('%I.%I', n.nspname, c.relname), md5(concat_ws('|', c.relkind, c.relrowsecurity,
    (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
        a.attgenerated, pg_get_expr(d.adbin, d.adrelid)), ',' ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT string_agg(pg_get_constraintdef(k.oid), ',' ORDER BY k.conname) FROM pg_constraint k
        WHERE k.conrelid = c.oid AND k.contype <> 't'),
    CASE WHEN c.relkind IN ('i', 'I') THEN concat(pg_get_indexdef(c.oid), (SELECT i.indisvalid FROM pg_index i
        WHERE i.indexrelid = c.oid)) END,
    CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END,
    (SELECT string_agg(pg_get_triggerdef(t.oid), ',' ORDER BY t.tgname) FROM pg_trigger t
        WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)))
FROM pg_class c JOIN space n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'i', 'I', 'c')
    AND c.relname !~ '^oskol_bucket_[0-9]+$'
UNION ALL
SELECT format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
    md5(concat_ws('|', p.prosrc, p.provolatile, p.prosecdef, pg_get_function_result(p.oid)))
FROM pg_proc p JOIN space n ON n.oid = p.pronamespace WHERE p.prokind IN ('f', 'p')";

/// Table, column and sequence of ids of sharded and reference tables, on the home shard.
const SEQUENCES: &str = "
SELECT format('%I.%I', n.nspname, c.relname), quote_ident(a.attname), format('%I.%I', m.nspname, s.relname)
FROM oskol.rules r JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid > 0
    AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace m ON m.oid = s.relnamespace
JOIN pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0 AND NOT q.seqcycle
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE r.placement IN ('sharded', 'reference') ORDER BY 1, 2";

/// Kind, object, what is wrong, what mends it.
const LEFTOVERS: &str = "
SELECT 'slot', slot_name::text, format('keeps WAL since %s', restart_lsn),
    CASE WHEN slot_name ~ '^oskol_' THEN format('SELECT pg_drop_replication_slot(%L)', slot_name) ELSE '' END
FROM pg_replication_slots WHERE NOT active AND NOT temporary AND (database IS NULL OR database = current_database())
UNION ALL
SELECT 'publication', pubname::text, 'no move uses publications', format('DROP PUBLICATION %I', pubname)
FROM pg_publication WHERE pubname ~ '^oskol_'
UNION ALL
SELECT 'prepared', gid, format('prepared %s', prepared), '' FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - interval '1 minute'
UNION ALL
SELECT 'index', format('%I.%I', n.nspname, c.relname), 'CREATE INDEX CONCURRENTLY was broken off: run it again, or drop it',
    format('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', n.nspname, c.relname)
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relname !~ '^oskol_bucket_[0-9]+$'
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.relid = i.indrelid)
    -- Being made over all shards; where that was broken off, the same statement begins anew.
    AND NOT EXISTS (SELECT FROM oskol.unique_keys u WHERE u.index = i.indexrelid AND u.filling)
UNION ALL
SELECT 'log', 'oskol.move_log', 'changes are noted that nobody copies', 'DELETE FROM oskol.move_log'
WHERE EXISTS (SELECT FROM oskol.move_log)";
