//! A table as wire messages, in text format.

use bytes::BytesMut;
use wire::Format;
use wire::backend::{Field, write};

use super::{AdminTable, Column, Kind};

/// Appends RowDescription, the DataRows and CommandComplete: the reply to a simple query, without
/// ReadyForQuery.
pub fn reply(table: &AdminTable, out: &mut BytesMut) {
    describe(table.columns, out);
    rows(table, out);
}

/// Appends RowDescription alone, for Describe.
pub fn describe(columns: &[Column], out: &mut BytesMut) {
    write::row_description(out, columns.iter().map(field));
}

/// Appends DataRows and CommandComplete, for Execute.
pub fn rows(table: &AdminTable, out: &mut BytesMut) {
    for row in &table.rows {
        write::data_row(
            out,
            row.iter().map(|value| value.as_deref().map(str::as_bytes)),
        );
    }
    write::command_complete(out, b"SHOW");
}

/// Oids and sizes are those of `pg_type`.
fn field(column: &Column) -> Field<'static> {
    let (type_oid, type_size) = match column.kind {
        Kind::Text => (25, -1),
        Kind::Number => (20, 8),
        Kind::Boolean => (16, 1),
    };
    Field {
        name: column.name.as_bytes(),
        table_oid: 0,
        column: 0,
        type_oid,
        type_size,
        type_modifier: -1,
        format: Format::Text,
    }
}
