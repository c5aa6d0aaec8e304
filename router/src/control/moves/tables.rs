//! The SQL that copies, follows, compares and removes the rows of some buckets. Pure: takes what the catalog says of a table;
//! gives text. Names are qualified and quoted by the server.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use topology::{BUCKETS, BucketId};

use super::as_owner::Owner;
use super::error::MoveError;
use crate::settings::quote_literal;

/// Begins the names of indexes over buckets, which are there while a large table's buckets move.
pub(super) const INDEX: &str = "oskol_bucket_";

/// Some buckets, as a string of bits and as a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Buckets {
    bits: Vec<u8>,
    numbers: Vec<u16>,
}

impl Buckets {
    pub(super) fn of(buckets: impl IntoIterator<Item = BucketId>) -> Self {
        let mut bits = vec![0; usize::from(BUCKETS / 8)];
        let mut numbers = Vec::new();
        for bucket in buckets {
            bits[usize::from(bucket.0 / 8)] |= 1 << (bucket.0 % 8);
            numbers.push(bucket.0);
        }
        Self { bits, numbers }
    }

    /// As [`Self::contain`], in a form that an index over `expression` serves.
    fn list(&self, expression: &str) -> String {
        let numbers: Vec<String> = self.numbers.iter().map(u16::to_string).collect();
        format!("{expression} = ANY ('{{{}}}'::int8[])", numbers.join(","))
    }

    /// A condition: the bucket that `expression` gives is one of these. As `get_bit` of bytea counts.
    fn contain(&self, expression: &str) -> String {
        let mut hex = String::with_capacity(self.bits.len() * 2);
        for byte in &self.bits {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
        }
        format!("get_bit('\\x{hex}'::bytea, {expression}) = 1")
    }
}

/// A table whose rows move with their bucket, or are copied whole.
#[derive(Debug, Clone)]
pub(super) struct MovedTable {
    pub(super) name: String,
    partitioned: bool,
    /// Over a row called "@".
    bucket: String,
    columns: Vec<String>,
    /// Columns that tell rows, or groups of rows, apart.
    identity: Vec<String>,
    types: Vec<String>,
    /// Identities may hold nulls.
    nulls_alike: bool,
    /// None: all rows.
    buckets: Option<Buckets>,
    /// Whose code its rows run; none: nobody's.
    pub(super) owner: Option<Owner>,
    /// Why its rows cannot be moved.
    pub(super) refused: Option<String>,
}

impl MovedTable {
    /// A row of `oskol.moved_tables` or `oskol.reference_tables`.
    pub(super) fn of(row: &tokio_postgres::Row, buckets: Option<&Buckets>) -> Self {
        Self {
            name: row.get(0),
            partitioned: row.get(1),
            bucket: row.get(2),
            columns: row.get(3),
            identity: row.get(4),
            types: row.get(5),
            nulls_alike: row.get(6),
            buckets: buckets.cloned(),
            owner: row.get::<_, Option<String>>(7).map(|name| Owner {
                name,
                path: row.get(8),
                staged: row.get(9),
                own: row.get(10),
            }),
            refused: row.get(11),
        }
    }

    /// As seen through a view.
    pub(super) fn through(&self, view: String) -> Self {
        Self {
            name: view,
            partitioned: true,
            ..self.clone()
        }
    }

    /// Its name, if it is a user's table whose rows run nobody's code.
    pub(super) fn direct(&self) -> Option<String> {
        let direct = self.owner.is_none() && !self.name.starts_with("oskol.");
        direct.then(|| self.name.clone())
    }

    /// Of statements that run as the owner.
    pub(super) fn as_owner(&self, owner: &Owner) -> impl Fn(MoveError) -> MoveError + use<> {
        let (table, owner) = (self.name.clone(), owner.name.clone());
        move |error| match error {
            MoveError::Control(error) => MoveError::AsOwner {
                table: table.clone(),
                owner: owner.clone(),
                error: Box::new(error),
            },
            error => error,
        }
    }

    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Selects all rows, be they of moving buckets or not.
    pub(super) fn all_rows(&self) -> String {
        format!("SELECT {} FROM {} t", self.columns_of("t"), self.source())
    }

    /// Rows of tables that inherit are not of this one; a partitioned table has none itself.
    fn source(&self) -> String {
        match self.partitioned {
            true => self.name.clone(),
            false => format!("ONLY {}", self.name),
        }
    }

    fn bucket_of(&self, row: &str) -> String {
        self.bucket.replace("@.", &format!("{row}."))
    }

    fn moves(&self, row: &str) -> String {
        match &self.buckets {
            Some(buckets) => buckets.list(&self.bucket_of(row)),
            None => "true".to_owned(),
        }
    }

    /// For triggers, which look at one row at a time.
    fn is_moving(&self, row: &str) -> String {
        match &self.buckets {
            Some(buckets) => buckets.contain(&self.bucket_of(row)),
            None => "true".to_owned(),
        }
    }

    /// An index by which the rows of a bucket are found, under a name of ours; none where it cannot be made beside writers.
    pub(super) fn index(&self, oid: u32) -> Option<String> {
        let bucket = self.bucket.replace("@.", "");
        let made = format!(
            "CREATE INDEX CONCURRENTLY {INDEX}{oid} ON {} ({bucket})",
            self.name
        );
        (!self.partitioned && self.buckets.is_some()).then_some(made)
    }

    fn columns_of(&self, row: &str) -> String {
        let columns = self.columns.iter().map(|column| format!("{row}.{column}"));
        columns.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn rows(&self) -> String {
        format!("{} WHERE {}", self.all_rows(), self.moves("t"))
    }

    /// Those rows that have one of these identities.
    pub(super) fn rows_of(&self, identities: &Identities) -> String {
        format!("{} AND {}", self.rows(), self.is_one_of(identities))
    }

    /// `table`: itself, or one with its columns.
    pub(super) fn copy_into(&self, table: &str) -> String {
        format!("COPY {table} ({}) FROM STDIN", self.columns.join(", "))
    }

    pub(super) fn delete_some(&self, identities: &Identities) -> String {
        let (source, moves, some) = (self.source(), self.moves("t"), self.is_one_of(identities));
        format!("DELETE FROM {source} t WHERE {moves} AND {some}")
    }

    fn is_one_of(&self, identities: &Identities) -> String {
        let from = format!(
            "json_array_elements({}) e",
            quote_literal(&identities.json())
        );
        let pairs = self.identity.iter().zip(&self.types).enumerate();
        if self.nulls_alike {
            let same = pairs.map(|(at, (column, kind))| {
                format!("t.{column} IS NOT DISTINCT FROM (e->>{at})::{kind}")
            });
            let same = same.collect::<Vec<_>>().join(" AND ");
            return format!("EXISTS (SELECT FROM {from} WHERE {same})");
        }
        let (mut columns, mut values) = (Vec::new(), Vec::new());
        for (at, (column, kind)) in pairs {
            columns.push(format!("t.{column}"));
            values.push(format!("(e->>{at})::{kind}"));
        }
        let (columns, values) = (columns.join(", "), values.join(", "));
        format!("({columns}) IN (SELECT {values} FROM {from})")
    }

    pub(super) fn delete(&self) -> String {
        format!("DELETE FROM {} t WHERE {}", self.source(), self.moves("t"))
    }

    /// One row for each bucket: its number, how many rows, and a sum of the hashes of all that they hold. Rows are printed, not
    /// cast to text: how that is done the owner of the table may say.
    pub(super) fn digest(&self) -> String {
        let (bucket, source, moves) = (self.bucket_of("t"), self.source(), self.moves("t"));
        format!(
            "SELECT {bucket}::int4, count(*), sum(hashtextextended(textin(record_out(t)), 0)::numeric)::text \
             FROM {source} t WHERE {moves} GROUP BY 1 ORDER BY 1"
        )
    }

    /// As [`Self::digest`], of the rows with one of these identities.
    pub(super) fn digest_some(&self, identities: &Identities) -> String {
        let (bucket, source) = (self.bucket_of("t"), self.source());
        let (moves, some) = (self.moves("t"), self.is_one_of(identities));
        format!(
            "SELECT {bucket}::int4, count(*), sum(hashtextextended(textin(record_out(t)), 0)::numeric)::text \
             FROM {source} t WHERE {moves} AND {some} GROUP BY 1 ORDER BY 1"
        )
    }

    /// The function behind the table's trigger while rows move: notes what changes of them, and refuses rows of `lost` buckets.
    /// `oid`: of the table on that shard.
    pub(super) fn follower(&self, oid: u32, lost: Option<&Buckets>) -> String {
        let note = |row: &str| {
            let identity = self
                .identity
                .iter()
                .map(|column| printed(&format!("{row}.{column}")));
            let (identity, name) = (
                identity.collect::<Vec<_>>().join(", "),
                quote_literal(&self.name),
            );
            let moves = self.is_moving(row);
            format!(
                "IF {moves} THEN INSERT INTO oskol.move_log (relation, identity) VALUES ({name}, ARRAY[{identity}]); END IF;"
            )
        };
        let (old, new, refuse) = (note("OLD"), note("NEW"), self.refuse(lost));
        format!(
            "CREATE OR REPLACE FUNCTION oskol.on_move_{oid}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET search_path = pg_catalog, pg_temp {AS_TEXT} AS $outer$ BEGIN \
             IF oskol.is_replica() THEN RETURN NULL; END IF; \
             IF TG_OP <> 'INSERT' THEN {old} END IF; \
             IF TG_OP <> 'DELETE' THEN {refuse} {new} END IF; \
             RETURN NULL; END $outer$"
        )
    }

    /// The function behind the table's trigger when no rows move from here: refuses rows of `lost` buckets. All that clients write
    /// passes it, so it changes no settings but those that it needs: each takes a microsecond.
    pub(super) fn fence(&self, oid: u32, lost: Option<&Buckets>) -> String {
        let refuse = self.refuse(lost);
        // Entries are hashed by values that are read from their texts.
        let settings = if self.name.starts_with("oskol.") {
            AS_TEXT
        } else {
            ""
        };
        format!(
            "CREATE OR REPLACE FUNCTION oskol.on_move_{oid}() RETURNS trigger LANGUAGE plpgsql \
             SET search_path = pg_catalog, pg_temp {settings} AS $outer$ BEGIN \
             IF {IS_MOVER} THEN RETURN NULL; END IF; \
             IF TG_OP <> 'DELETE' THEN {refuse} NULL; END IF; \
             RETURN NULL; END $outer$"
        )
    }

    fn refuse(&self, lost: Option<&Buckets>) -> String {
        lost.map_or_else(String::new, |lost| {
            let is_lost = lost.contain(&self.bucket_of("NEW"));
            format!("IF {is_lost} THEN PERFORM oskol.refuse_moved(); END IF;")
        })
    }
}

/// Of a function: values are printed, and read, as by any server.
const AS_TEXT: &str = "SET datestyle = 'ISO, YMD' SET intervalstyle = 'postgres' SET bytea_output = 'hex' \
     SET extra_float_digits = 1 SET timezone = 'UTC'";
/// As in the condition of the trigger, which those of before version 12 do not have.
const IS_MOVER: &str = "current_setting('session_replication_role') = 'replica' \
     AND current_setting('is_superuser') = 'on' \
     AND current_setting('oskol.moving', true) IS NOT DISTINCT FROM 'on'";

/// A value as text, by its type's own output: a cast to text may be its owner's code.
fn printed(value: &str) -> String {
    format!("CASE WHEN num_nulls({value}) = 0 THEN format('%s', {value}) END")
}

/// Identities of rows of one table, as JSON arrays of text.
#[derive(Debug, Clone, Default)]
pub(super) struct Identities(BTreeSet<String>);

impl Identities {
    /// `identity`: as `to_json` of the text array prints it.
    pub(super) fn add(&mut self, identity: String) {
        self.0.insert(identity);
    }

    fn json(&self) -> String {
        let all: Vec<&str> = self.0.iter().map(String::as_str).collect();
        format!("[{}]", all.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posts() -> MovedTable {
        MovedTable {
            name: "public.posts".into(),
            partitioned: false,
            bucket: "(hashint8extended(@.user_id::int8, 0) & 4095)".into(),
            columns: vec!["user_id".into(), "\"Text\"".into()],
            identity: vec!["user_id".into()],
            types: vec!["bigint".into()],
            nulls_alike: false,
            buckets: Some(Buckets::of([BucketId(0), BucketId(9)])),
            owner: None,
            refused: None,
        }
    }

    #[test]
    fn bits_count_as_get_bit_of_bytea_does() {
        let condition = Buckets::of([BucketId(0), BucketId(9)]).contain("b");
        assert!(condition.starts_with("get_bit('\\x010200"), "{condition}");
    }

    #[test]
    fn rows_that_have_changed_are_found_by_their_identity() {
        let mut identities = Identities::default();
        identities.add("[\"7\"]".into());
        identities.add("[\"7\"]".into());
        let sql = posts().delete_some(&identities);
        let end = "(t.user_id) IN (SELECT (e->>0)::bigint FROM json_array_elements('[[\"7\"]]') e)";
        let begin = "DELETE FROM ONLY public.posts t WHERE (hashint8extended(t.user_id::int8, 0) & 4095) = ANY ('{0,9}'::int8[])";
        assert!(sql.starts_with(begin), "{sql}");
        assert!(sql.ends_with(end), "{sql}");
    }

    #[test]
    fn a_copy_names_the_columns_on_both_sides() {
        assert_eq!(
            posts().copy_into("public.posts"),
            "COPY public.posts (user_id, \"Text\") FROM STDIN"
        );
        assert!(
            posts()
                .rows()
                .starts_with("SELECT t.user_id, t.\"Text\" FROM ONLY public.posts t")
        );
    }
}
