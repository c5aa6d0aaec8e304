//! Exact merging of rows that several shards return.
//!
//! Owns the order of the types it sorts and the folding of integer aggregates; whatever is not exact
//! here is not planned. Takes DataRow bodies and gives DataRow messages. Pure: must never know
//! sockets, clocks, the catalog, or which shard is which (shards are indexes here).

mod aggregate;
mod column;
mod datetime;
mod error;
mod fold;
mod limit;
mod merger;
mod numeric;
mod order;
mod real;
mod sort;
mod tags;

use bytes::BytesMut;
use wire::backend::RowDescription;

pub use column::Column;
pub use error::MergeError;
pub use limit::{Limit, Verdict};
pub use merger::{Merger, Step, write_row};
pub use sort::MergeSort;
pub use tags::Tags;

/// How the shards' results become one.
#[derive(Debug, Clone, PartialEq)]
pub enum Merge {
    /// One shard's rows after another's, then LIMIT/OFFSET.
    Concatenate {
        limit: Option<RowCount>,
        offset: Option<RowCount>,
    },
    /// Each shard's rows are sorted by `keys`; merge-sort them.
    Sort {
        keys: Vec<SortKey>,
        limit: Option<RowCount>,
        offset: Option<RowCount>,
        hidden: usize,
    },
    /// Each shard returns at most one row per group; fold rows that are equal in `group` columns
    /// (empty: one row in all). Groups are compared by their bytes, so only types with one byte form.
    Aggregate {
        columns: Vec<Fold>,
        sort: Vec<SortKey>,
        limit: Option<RowCount>,
        offset: Option<RowCount>,
    },
    /// No rows: command tags' counts are added (UPDATE, DELETE without RETURNING).
    CountOnly,
}

/// LIMIT or OFFSET as a constant or a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowCount {
    Constant(u64),
    /// `$n`, 1-based.
    Parameter(u16),
}

/// One ORDER BY column whose order the router knows exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// Output column, 0-based.
    pub column: usize,
    pub order: SortOrder,
    pub descending: bool,
    pub nulls_first: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortOrder {
    /// int2, int4, int8, oid
    Integer,
    /// text, varchar and name under a collation that sorts by bytes (C, POSIX, C.UTF-8).
    Bytes,
    /// char(n) under such a collation: blanks at the end do not count.
    Blanks,
    /// In text only as hexadecimal digits (`bytea_output`); otherwise an error is raised.
    Bytea,
    Uuid,
    Boolean,
    /// float4, float8: NaN is the greatest, and -0 is 0.
    Float,
    /// Infinities and NaN, the greatest, too.
    Numeric,
    Time,
    /// date, timestamp, timestamptz: exact only when the shards send them in binary or in ISO
    /// DateStyle; otherwise an error is raised.
    Date,
    Timestamp,
    TimestampTz,
}

/// What to do with one output column while folding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// A GROUP BY column of a type with one byte form.
    Group,
    /// count(...): int8 sum, never NULL.
    Count,
    /// sum(int2|int4) -> int8.
    SumInt8,
    /// sum(int8) -> numeric without fraction; exact big-integer addition.
    SumNumericInteger,
    Min(SortOrder),
    Max(SortOrder),
    BoolAnd,
    BoolOr,
}

impl Merge {
    /// LIMIT and OFFSET as written.
    pub fn row_counts(&self) -> (Option<&RowCount>, Option<&RowCount>) {
        match self {
            Self::Concatenate { limit, offset }
            | Self::Sort { limit, offset, .. }
            | Self::Aggregate { limit, offset, .. } => (limit.as_ref(), offset.as_ref()),
            Self::CountOnly => (None, None),
        }
    }

    /// Strings are compared by their bytes, as they are in UTF-8.
    pub fn compares_strings(&self) -> bool {
        let is_string = |order: &SortOrder| matches!(order, SortOrder::Bytes | SortOrder::Blanks);
        let sorts = |keys: &[SortKey]| keys.iter().any(|key| is_string(&key.order));
        match self {
            Self::Sort { keys, .. } => sorts(keys),
            Self::Aggregate { columns, sort, .. } => {
                let folds = |fold: &Fold| matches!(fold, Fold::Min(order) | Fold::Max(order) if is_string(order));
                sorts(sort) || columns.iter().any(folds)
            }
            Self::Concatenate { .. } | Self::CountOnly => false,
        }
    }

    /// Trailing columns of the shards' rows that the client must not see.
    pub fn hidden(&self) -> usize {
        match self {
            Self::Sort { hidden, .. } => *hidden,
            Self::Concatenate { .. } | Self::Aggregate { .. } | Self::CountOnly => 0,
        }
    }
}

/// Appends the description that the client gets: without the last `hidden` columns.
pub fn describe(description: &RowDescription<'_>, hidden: usize, out: &mut BytesMut) {
    let visible = description.len().saturating_sub(hidden);
    wire::backend::write::row_description(out, description.fields().take(visible));
}

#[cfg(test)]
mod tests;
