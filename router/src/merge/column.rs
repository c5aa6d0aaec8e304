//! What merging must know of a result's columns.

use wire::backend::RowDescription;
use wire::{Format, FormatCodes};

/// Type and format of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// `pg_type.oid`; PostgreSQL describes a domain as its base type.
    pub type_oid: u32,
    pub format: Format,
}

impl Column {
    /// The columns of a described portal.
    pub fn of_portal(description: &RowDescription<'_>) -> Vec<Self> {
        let column = |field: wire::backend::Field<'_>| Self {
            type_oid: field.type_oid,
            format: field.format,
        };
        description.fields().map(column).collect()
    }

    /// The columns of a described statement that is bound with these result formats.
    pub fn of_statement(description: &RowDescription<'_>, formats: &FormatCodes<'_>) -> Vec<Self> {
        let fields = description.fields().enumerate();
        let column = |(index, field): (usize, wire::backend::Field<'_>)| Self {
            type_oid: field.type_oid,
            format: formats.of(index),
        };
        fields.map(column).collect()
    }
}
