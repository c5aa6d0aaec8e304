//! The SQL that places a table. Pure: takes a relation; gives text. Names are always qualified, as
//! the client's search path is in force.

use schema::{DefaultValue, KeyType, Relation, RelationKind};

use super::Rows;
use crate::plan::SequenceName;
use crate::plan::ddl::constraints;
use crate::settings::{quote_identifier, quote_literal};

/// What the text of a value depends on.
const SETTINGS: [(&str, &str); 7] = [
    ("datestyle", "ISO, YMD"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("client_encoding", "UTF8"),
    // Rows that a policy hides are an error, and not left behind.
    ("row_security", "off"),
];

pub(super) const READ_SETTINGS: &str = "SELECT pg_catalog.current_setting('datestyle'), \
    pg_catalog.current_setting('intervalstyle'), pg_catalog.current_setting('extra_float_digits'), \
    pg_catalog.current_setting('bytea_output'), pg_catalog.current_setting('lc_monetary'), \
    pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('row_security')";

pub(super) const SET_SETTINGS: &str = "SET LOCAL datestyle TO 'ISO, YMD';\
    SET LOCAL intervalstyle TO 'postgres';SET LOCAL extra_float_digits TO 3;\
    SET LOCAL bytea_output TO 'hex';SET LOCAL lc_monetary TO 'C';\
    SET LOCAL client_encoding TO 'UTF8';SET LOCAL row_security TO off;";

/// Back to what [`READ_SETTINGS`] gave, for the rest of the transaction.
pub(super) fn restore_settings(read: &Rows) -> String {
    let values = read.first().into_iter().flatten();
    let set = SETTINGS.iter().zip(values).map(|((name, _), value)| {
        let value = quote_literal(value.as_deref().unwrap_or_default());
        format!("SELECT pg_catalog.set_config('{name}', {value}, true);")
    });
    set.collect()
}

/// The shard key to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub column: String,
    pub key_type: KeyType,
}

impl Key {
    /// As `topology::ShardMap::bucket`.
    fn bucket(&self) -> String {
        let column = quote_identifier(&self.column);
        let hash = match self.key_type {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => {
                format!("pg_catalog.hashint8extended({column}::int8, 0)")
            }
            KeyType::Text | KeyType::Varchar => {
                format!("pg_catalog.hashtextextended({column}::text, 0)")
            }
            KeyType::Uuid => format!("pg_catalog.uuid_hash_extended({column}, 0)"),
        };
        let last = topology::BUCKETS - 1;
        format!("({hash} OPERATOR(pg_catalog.&) {last}::int8)")
    }

    /// Whether a row is none of these buckets'.
    fn is_foreign(&self, own: &[u8]) -> String {
        let hex: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
        let bucket = self.bucket();
        format!("pg_catalog.get_bit('\\x{hex}'::bytea, {bucket}) OPERATOR(pg_catalog.=) 0")
    }
}

/// One table and the columns that are copied.
#[derive(Debug)]
pub(super) struct Table {
    schema: String,
    name: String,
    qualified: String,
    /// What to read, without the rows of tables that inherit; a partitioned table has none itself.
    source: String,
    columns: String,
}

impl Table {
    pub fn of(relation: &Relation) -> Self {
        let name = [&relation.schema, &relation.name]
            .map(|name| quote_identifier(name))
            .join(".");
        let columns = relation.columns.iter();
        let stored = columns.filter(|column| column.default != DefaultValue::Generated);
        let columns: Vec<String> = stored
            .map(|column| quote_identifier(&column.name))
            .collect();
        Self {
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            source: match relation.kind {
                RelationKind::Partitioned => name.clone(),
                _ => format!("ONLY {name}"),
            },
            qualified: name,
            columns: columns.join(", "),
        }
    }

    pub fn declaration(&self, placement: &str, key: Option<&str>, unenforced: bool) -> String {
        let (schema, name) = (quote_literal(&self.schema), quote_literal(&self.name));
        let key = key.map_or_else(|| "NULL".to_owned(), quote_literal);
        format!("SELECT oskol.declare_table({schema}, {name}, '{placement}', {key}, {unenforced})")
    }

    /// Entries of unique keys are made anew once the rows are where they belong.
    pub fn leave_unique_keys(&self) -> String {
        let (schema, name) = (quote_literal(&self.schema), quote_literal(&self.name));
        format!("SELECT oskol.leave_unique_keys({schema}, {name})")
    }

    /// As those of unique keys.
    pub fn leave_routes(&self) -> String {
        let (schema, name) = (quote_literal(&self.schema), quote_literal(&self.name));
        format!("SELECT oskol.leave_routes({schema}, {name})")
    }

    pub fn keep_unique_keys(&self, key: &str) -> String {
        constraints::keep_unique_keys((&self.schema, &self.name), key)
    }

    /// Rows that only move are no business of the table's foreign keys.
    pub fn leave_foreign_keys(&self) -> String {
        let (schema, name) = (quote_literal(&self.schema), quote_literal(&self.name));
        format!("SELECT oskol.leave_foreign_keys({schema}, {name})")
    }

    /// Each as it must be where its tables are by now.
    pub fn keep_foreign_keys(&self, snapshot: &schema::Snapshot) -> String {
        let relations = snapshot.relations.values().flat_map(|named| named.values());
        let places = constraints::places(relations.map(|relation| {
            let placed = constraints::placed_by(&relation.placement, &relation.columns);
            (relation.schema.as_str(), relation.name.as_str(), placed)
        }));
        constraints::keep_foreign_keys((&self.schema, &self.name), &places)
    }

    pub fn lock(&self) -> String {
        format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.qualified)
    }

    pub fn not_null(&self, column: &str) -> String {
        let column = quote_identifier(column);
        format!(
            "ALTER TABLE {} ALTER COLUMN {column} SET NOT NULL",
            self.qualified
        )
    }

    fn oid(&self) -> String {
        format!("{}::pg_catalog.regclass", quote_literal(&self.qualified))
    }

    /// One row for each rewrite rule.
    pub fn rules(&self) -> String {
        format!(
            "SELECT 1 FROM pg_catalog.pg_rewrite WHERE ev_class = {}",
            self.oid()
        )
    }

    /// Table, trigger and state of each user's trigger that fires, those of partitions too.
    pub fn triggers(&self) -> String {
        let oid = self.oid();
        format!(
            "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), \
             pg_catalog.quote_ident(t.tgname), t.tgenabled FROM pg_catalog.pg_trigger t \
             JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND (t.tgrelid = {oid} \
             OR t.tgrelid IN (SELECT relid FROM pg_catalog.pg_partition_tree({oid})))"
        )
    }

    pub fn any_row(&self) -> String {
        format!("SELECT 1 FROM {} LIMIT 1", self.source)
    }

    pub fn delete_all(&self) -> String {
        format!("DELETE FROM {}", self.source)
    }

    /// Gives the number of rows.
    pub fn delete_foreign(&self, key: &Key, own: &[u8]) -> String {
        let (source, foreign) = (&self.source, key.is_foreign(own));
        format!(
            "WITH gone AS (DELETE FROM {source} WHERE {foreign} RETURNING 1) \
             SELECT pg_catalog.count(*) FROM gone"
        )
    }

    pub fn copy_in(&self) -> String {
        format!("COPY {} ({}) FROM STDIN", self.qualified, self.columns)
    }

    pub fn copy_out(&self) -> String {
        format!(
            "COPY (SELECT {} FROM {}) TO STDOUT",
            self.columns, self.source
        )
    }

    /// Rows of other shards, each behind its bucket.
    pub fn copy_out_foreign(&self, key: &Key, own: &[u8]) -> String {
        let (bucket, foreign) = (key.bucket(), key.is_foreign(own));
        let (columns, source) = (&self.columns, &self.source);
        format!("COPY (SELECT {bucket}, {columns} FROM {source} WHERE {foreign}) TO STDOUT")
    }

    /// Lets a sequence go on after the greatest value there is.
    pub fn advance(&self, column: &str, sequence: &SequenceName) -> String {
        let column = quote_identifier(column);
        let qualified = [&sequence.schema, &sequence.name]
            .map(|name| quote_identifier(name))
            .join(".");
        let oid = format!("{}::pg_catalog.regclass", quote_literal(&qualified));
        format!(
            "SELECT pg_catalog.setval({oid}, greatest) \
             FROM (SELECT pg_catalog.max({column})::int8 AS greatest FROM {}) t, {qualified} s, \
             pg_catalog.pg_sequence q WHERE q.seqrelid = {oid} AND q.seqincrement > 0 \
             AND greatest > s.last_value AND greatest <= q.seqmax;",
            self.source
        )
    }
}

/// Sequences that give the defaults of columns.
pub(super) fn sequences(relation: &Relation) -> Vec<(String, SequenceName)> {
    let columns = relation
        .columns
        .iter()
        .filter_map(|column| match &column.default {
            DefaultValue::Sequence { schema, name }
            | DefaultValue::Identity { schema, name, .. } => {
                let sequence = SequenceName {
                    schema: schema.clone(),
                    name: name.clone(),
                };
                Some((column.name.clone(), sequence))
            }
            _ => None,
        });
    columns.collect()
}

/// Run on the shards that are not home.
pub(super) fn fence(sequence: &SequenceName) -> String {
    let (schema, name) = (
        quote_literal(&sequence.schema),
        quote_literal(&sequence.name),
    );
    format!("SELECT oskol.fence_sequence({schema}, {name});")
}

/// Moving a row is no event for the user's triggers.
pub(super) fn silence(triggers: &Rows) -> String {
    each(triggers, |table, trigger, _| {
        format!("ALTER TABLE ONLY {table} DISABLE TRIGGER {trigger};")
    })
}

pub(super) fn wake(triggers: &Rows) -> String {
    if triggers.is_empty() {
        return String::new();
    }
    let enabled = each(triggers, |table, trigger, state| {
        let always = if state == "A" { "ALWAYS " } else { "" };
        format!("ALTER TABLE ONLY {table} ENABLE {always}TRIGGER {trigger};")
    });
    // ALTER TABLE waits for no check that is still to be made.
    format!("SET CONSTRAINTS ALL IMMEDIATE;{enabled}")
}

fn each(triggers: &Rows, sql: impl Fn(&str, &str, &str) -> String) -> String {
    let rows = triggers.iter().filter_map(|row| match row.as_slice() {
        [Some(table), Some(trigger), Some(state)] => Some(sql(table, trigger, state)),
        _ => None,
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read_set_and_restored() {
        for (name, value) in SETTINGS {
            assert!(READ_SETTINGS.contains(&format!("'{name}'")), "{name}");
            let set = SET_SETTINGS
                .split(';')
                .find(|set| set.contains(name))
                .unwrap();
            assert!(set.contains(value), "{set}");
        }
        let read = vec![SETTINGS.map(|(name, _)| Some(name.to_owned())).to_vec()];
        let restored = restore_settings(&read);
        assert_eq!(restored.matches("set_config").count(), SETTINGS.len());
        assert!(restored.contains("set_config('row_security', 'row_security', true)"));
    }

    #[test]
    fn foreign_rows_are_those_of_buckets_whose_bit_is_not_set() {
        let key = Key {
            column: "user id".into(),
            key_type: KeyType::Int4,
        };
        let hash =
            "(pg_catalog.hashint8extended(\"user id\"::int8, 0) OPERATOR(pg_catalog.&) 4095::int8)";
        let foreign =
            format!("pg_catalog.get_bit('\\x01ff'::bytea, {hash}) OPERATOR(pg_catalog.=) 0");
        assert_eq!(key.is_foreign(&[1, 255]), foreign);
    }

    #[test]
    fn triggers_wake_as_they_were() {
        let row = |state: &str| {
            ["p.t", "g", state]
                .map(|part| Some(part.to_owned()))
                .to_vec()
        };
        let triggers = vec![row("O"), row("A")];
        assert!(silence(&triggers).starts_with("ALTER TABLE ONLY p.t DISABLE TRIGGER g;"));
        assert!(wake(&triggers).ends_with("ALTER TABLE ONLY p.t ENABLE ALWAYS TRIGGER g;"));
        assert_eq!(wake(&Vec::new()), "");
    }
}
