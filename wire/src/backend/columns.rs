//! Rows and what describes them. Types made by users have other oids on each shard, so descriptions
//! can be rewritten.

use bytes::{BufMut, BytesMut};

use super::tag;
use crate::reader::Reader;
use crate::{Format, Oids, ProtocolError, Values, put};

/// One column of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: &'a [u8],
    /// 0 where the column is none of a table.
    pub table_oid: u32,
    /// Attribute number in that table, or 0.
    pub column: i16,
    pub type_oid: u32,
    /// In bytes; negative for types of varying size (`pg_type.typlen`).
    pub type_size: i16,
    /// Meaning depends on the type (`pg_attribute.atttypmod`); -1 for none.
    pub type_modifier: i32,
    /// Text as well where the format is not yet known (Describe of a statement).
    pub format: Format,
}

impl<'a> Field<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, ProtocolError> {
        Ok(Self {
            name: reader.string()?,
            table_oid: reader.u32()?,
            column: reader.i16()?,
            type_oid: reader.u32()?,
            type_size: reader.i16()?,
            type_modifier: reader.i32()?,
            format: read_format(reader)?,
        })
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put::string(out, self.name);
        out.put_u32(self.table_oid);
        out.put_i16(self.column);
        out.put_u32(self.type_oid);
        out.put_i16(self.type_size);
        out.put_i32(self.type_modifier);
        out.put_u16(self.format.code());
    }
}

fn read_format(reader: &mut Reader<'_>) -> Result<Format, ProtocolError> {
    let code = reader.u16()?;
    Format::from_code(code).ok_or_else(|| reader.invalid("format code", code.into()))
}

/// The columns of the rows to come.
#[derive(Debug, Clone, Copy)]
pub struct RowDescription<'a> {
    count: u16,
    fields: Reader<'a>,
}

impl<'a> RowDescription<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("RowDescription", body);
        let count = reader.u16()?;
        let fields = reader;
        for _ in 0..count {
            Field::read(&mut reader)?;
        }
        reader.end().map(|()| Self { count, fields })
    }

    pub fn len(&self) -> usize {
        self.count.into()
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn fields(&self) -> impl Iterator<Item = Field<'a>> + Clone + 'a {
        let mut reader = self.fields;
        // Read once before, so `ok` ends the walk only behind the last field.
        (0..self.count).map_while(move |_| Field::read(&mut reader).ok())
    }

    /// Appends this description as a whole message, with each table's and type's oid passed through
    /// `table` and `type_`.
    pub fn rewrite_oids(
        &self,
        out: &mut BytesMut,
        mut table: impl FnMut(u32) -> u32,
        mut type_: impl FnMut(u32) -> u32,
    ) {
        put::message(out, tag::ROW_DESCRIPTION, |out| {
            out.put_u16(self.count);
            for field in self.fields() {
                let (table_oid, type_oid) = (table(field.table_oid), type_(field.type_oid));
                Field {
                    table_oid,
                    type_oid,
                    ..field
                }
                .put(out);
            }
        });
    }
}

/// The types of a statement's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterDescription<'a> {
    pub types: Oids<'a>,
}

impl<'a> ParameterDescription<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("ParameterDescription", body);
        let types = reader.oids()?;
        reader.end().map(|()| Self { types })
    }

    /// Appends the first `count` parameters (those of the client's own text) as a whole message, each
    /// type's oid passed through `type_`.
    pub fn rewrite_oids(&self, out: &mut BytesMut, count: usize, type_: impl FnMut(u32) -> u32) {
        put::message(out, tag::PARAMETER_DESCRIPTION, |out| {
            let types = self.types.iter().take(count).map(type_);
            put::counted(out, types, |out, oid| out.put_u32(oid));
        });
    }
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataRow<'a> {
    values: Values<'a>,
}

impl<'a> DataRow<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("DataRow", body);
        let values = reader.values()?;
        reader.end().map(|()| Self { values })
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a column, inner `None` for NULL; outer `None` beyond the last. Walks over the
    /// columns before it.
    pub fn nth(&self, index: usize) -> Option<Option<&'a [u8]>> {
        self.values.get(index)
    }

    pub fn values(&self) -> Values<'a> {
        self.values
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<&'a [u8]>> + 'a {
        self.values.iter()
    }

    /// Appends the first `count` columns as a whole message (hidden sort columns stand behind them).
    pub fn write_first(&self, out: &mut BytesMut, count: usize) {
        put::message(out, tag::DATA_ROW, |out| {
            put::counted(out, self.iter().take(count), put::value);
        });
    }
}
