//! Where the tables of PostgreSQL's regression files are on the cluster, and which files are run.

/// A file, and whether it is part of the suite that runs every time.
pub const FILES: [(&str, bool); 20] = [
    ("select", false),
    ("join", false),
    ("aggregates", false),
    ("subselect", false),
    ("union", true),
    ("with", false),
    ("window", false),
    ("case", false),
    ("insert", false),
    ("update", false),
    ("delete", true),
    ("returning", true),
    ("prepare", false),
    ("portals", false),
    ("transactions", false),
    ("insert_conflict", true),
    ("limit", true),
    ("select_distinct", true),
    ("select_having", false),
    ("groupingsets", false),
];

/// Tables of `test_setup.sql` and `create_misc.sql`, by their keys. The others stay local: they have no column of a
/// type that can be a key, or inherit.
pub const SHARDED: [(&str, &str); 9] = [
    ("int2_tbl", "f1"),
    ("int4_tbl", "f1"),
    ("int8_tbl", "q1"),
    ("text_tbl", "f1"),
    ("varchar_tbl", "f1"),
    ("onek", "unique1"),
    ("onek2", "unique1"),
    ("tenk1", "unique1"),
    ("tenk2", "unique1"),
];

pub const REFERENCE: [&str; 2] = ["char_tbl", "float8_tbl"];

/// Where a table that a file makes is placed.
pub enum Placement<'a> {
    Local,
    Reference,
    /// By its primary key's first column, or else the first column of a fit type.
    Sharded,
    ShardedBy(&'a str),
}

/// Tables of the files that are not simply sharded: keys that are NULL in some rows are no keys.
pub fn placement(file: &str, table: &str) -> Placement<'static> {
    match (file, table) {
        ("join", "j1_tbl") => Placement::ShardedBy("t"),
        ("join", "j2_tbl")
        | ("select", "foo")
        | ("case", "case2_tbl")
        | ("subselect", "notinouter")
        | ("select_distinct", "disttable") => Placement::Reference,
        ("insert", "inserttest" | "inserttesta")
        | ("aggregates", "regr_test" | "bytea_test_table")
        | ("transactions", "temptest") => Placement::Local,
        _ => Placement::Sharded,
    }
}

/// Statements, by file and line, that show what an earlier one has left open: arrays of `array_agg` without ORDER BY,
/// kept in tables.
pub const OPEN: [(&str, usize); 2] = [("aggregates", 1256), ("aggregates", 1264)];
