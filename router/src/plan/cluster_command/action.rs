//! What the functions of schema `oskol` ask for.

use crate::plan::SequenceName;

/// A column gets a routing index, or has one no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteCommand {
    pub schema: String,
    pub table: String,
    pub column: String,
    /// The table's shard key; `None`: no more.
    pub key: Option<String>,
}

impl RouteCommand {
    /// What the client has called.
    pub fn function(&self) -> &'static str {
        match self.key {
            Some(_) => "route_by",
            None => "unroute_by",
        }
    }
}

/// Functions of schema `oskol` that the router itself carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterCommand {
    ShardTable {
        schema: Option<String>,
        table: String,
        key: String,
        accept_unenforced: bool,
        /// Statements for every shard that drop the foreign keys no shard can keep.
        drops: Vec<String>,
    },
    ReferenceTable {
        schema: Option<String>,
        table: String,
        drops: Vec<String>,
    },
    LocalTable {
        schema: Option<String>,
        table: String,
        drops: Vec<String>,
    },
    Route(RouteCommand),
    /// `SELECT nextval('s')`, `currval`, `lastval`, `setval` of a sequence that the router leases,
    /// as the whole statement. `column` is the name of the output column.
    NextValue {
        sequence: SequenceName,
        column: String,
    },
    CurrentValue {
        sequence: Option<SequenceName>,
        column: String,
    },
    SetValue {
        sequence: SequenceName,
        value: i64,
        is_called: bool,
        column: String,
    },
    /// `SELECT setval(s, coalesce(max(c), 1), max(c) IS NOT NULL) FROM t` (Django's sequence reset): the
    /// value is the greatest `c` over all shards, called; or 1, not called, when `t` is empty.
    SetValueFromMax {
        sequence: SequenceName,
        table: SequenceName,
        max_of: String,
        column: String,
    },
}
