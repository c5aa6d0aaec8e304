//! Types as far as the router knows their order and their equality exactly.

use crate::error::RouterError;
use crate::merge::SortOrder;
use crate::plan::scope::{
    BOOL, BPCHAR, BYTEA, DATE, FLOAT4, FLOAT8, INT2, INT4, INT8, NAME, NUMERIC, OID, TEXT, TIME,
    TIMESTAMP, TIMESTAMPTZ, UUID, VARCHAR,
};
use crate::plan::survey::{LeafKind, Survey, Term};
use crate::plan::unsupported;

/// A column's type as far as order and equality go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ColumnType {
    pub oid: u32,
    pub bytewise: bool,
    pub deterministic: bool,
}

impl ColumnType {
    /// The order of values, where it is known exactly.
    pub(super) fn order(self, name: &str) -> Result<SortOrder, RouterError> {
        Ok(match self.oid {
            INT2 | INT4 | INT8 | OID => SortOrder::Integer,
            BOOL => SortOrder::Boolean,
            UUID => SortOrder::Uuid,
            DATE => SortOrder::Date,
            TIMESTAMP => SortOrder::Timestamp,
            TIMESTAMPTZ => SortOrder::TimestampTz,
            TIME => SortOrder::Time,
            NUMERIC => SortOrder::Numeric,
            FLOAT4 | FLOAT8 => SortOrder::Float,
            BYTEA => SortOrder::Bytea,
            TEXT | VARCHAR | NAME if self.bytewise => SortOrder::Bytes,
            BPCHAR if self.bytewise => SortOrder::Blanks,
            TEXT | VARCHAR | BPCHAR | NAME => return Err(unsupported::order_by_collation(name)),
            _ => return Err(unsupported::order_by_type()),
        })
    }

    /// Equal values have equal bytes, in text and in binary form.
    pub(super) fn has_one_form(self) -> bool {
        match self.oid {
            TEXT | VARCHAR => self.deterministic,
            oid => matches!(
                oid,
                INT2 | INT4 | INT8 | OID | BOOL | UUID | DATE | TIMESTAMP | TIMESTAMPTZ
            ),
        }
    }
}

/// The type of a column, through subqueries.
pub(super) fn column_type(survey: &Survey, term: Term) -> Option<ColumnType> {
    let Term::Column(leaf, column) = term else {
        return None;
    };
    match &survey.leaf(leaf).kind {
        LeafKind::Table { relation, .. } => {
            let column = relation.columns.get(column)?;
            Some(ColumnType {
                oid: column.type_oid,
                bytewise: column.collation_is_bytewise,
                deterministic: column.collation_is_deterministic,
            })
        }
        LeafKind::Derived { query, .. } => column_type(
            survey,
            survey.query(*query).outputs.as_ref()?.get(column)?.term?,
        ),
        LeafKind::Home | LeafKind::Opaque => None,
    }
}
