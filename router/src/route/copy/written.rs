//! Rows of a query as COPY TO writes them (`CopyOneRowTo` of PostgreSQL's `copyto.c`): values in text, each
//! escaped or quoted, or in binary, where a DataRow's body is a tuple as it is.

use wire::ProtocolError;
use wire::backend::DataRow;

use crate::plan::{CopyFormat, CopyOptions};

/// Writes rows with the options of one COPY.
#[derive(Debug)]
pub struct RowWriter<'a> {
    options: &'a CopyOptions,
    /// By column: quoted whatever the value (CSV).
    force_quote: Vec<bool>,
}

impl<'a> RowWriter<'a> {
    pub fn new(options: &'a CopyOptions, force_quote: Vec<bool>) -> Self {
        Self {
            options,
            force_quote,
        }
    }

    /// Appends the line or tuple of a row; `body` of a DataRow.
    ///
    /// # Errors
    /// The row is malformed.
    pub fn row(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), ProtocolError> {
        if self.options.format == CopyFormat::Binary {
            out.extend_from_slice(body);
            return Ok(());
        }
        let row = DataRow::parse(body)?;
        let single = row.len() == 1;
        for (column, value) in row.iter().enumerate() {
            if column > 0 {
                out.push(self.options.delimiter);
            }
            match (value, self.options.format) {
                (None, _) => out.extend_from_slice(self.options.null.as_bytes()),
                (Some(value), CopyFormat::Csv) => self.csv(value, column, single, out),
                (Some(value), _) => self.text(value, out),
            }
        }
        out.push(b'\n');
        Ok(())
    }

    /// `CopyAttributeOutText`
    fn text(&self, value: &[u8], out: &mut Vec<u8>) {
        let delimiter = self.options.delimiter;
        for &byte in value {
            match byte {
                0x08 => out.extend_from_slice(b"\\b"),
                0x0c => out.extend_from_slice(b"\\f"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                0x0b => out.extend_from_slice(b"\\v"),
                byte if byte == b'\\' || byte == delimiter => out.extend_from_slice(&[b'\\', byte]),
                byte => out.push(byte),
            }
        }
    }

    /// `CopyAttributeOutCSV`. `single`: the row has one column, so that `\.` would be taken for the end.
    fn csv(&self, value: &[u8], column: usize, single: bool, out: &mut Vec<u8>) {
        let CopyOptions {
            delimiter,
            quote,
            escape,
            ..
        } = *self.options;
        let special = |byte: &u8| [delimiter, quote, b'\n', b'\r'].contains(byte);
        let quoted = self.force_quote.get(column).copied().unwrap_or(false)
            || value == self.options.null.as_bytes()
            || (single && value == b"\\.")
            || value.iter().any(special);
        if !quoted {
            out.extend_from_slice(value);
            return;
        }
        out.push(quote);
        for &byte in value {
            if byte == quote || byte == escape {
                out.push(escape);
            }
            out.push(byte);
        }
        out.push(quote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: CopyFormat, null: &str, values: &[Option<&[u8]>]) -> String {
        let options = CopyOptions {
            format,
            delimiter: if format == CopyFormat::Csv {
                b','
            } else {
                b'\t'
            },
            null: null.to_owned(),
            header: false,
            header_match: false,
            quote: b'"',
            escape: b'"',
            encoding: None,
        };
        let mut message = bytes::BytesMut::new();
        wire::backend::write::data_row(&mut message, values.iter().copied());
        let mut out = Vec::new();
        let writer = RowWriter::new(&options, vec![false, true]);
        writer.row(&message[5..], &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_escaped() {
        let line = written(
            CopyFormat::Text,
            "\\N",
            &[Some(b"a\tb\\c\nd"), None, Some(b"")],
        );
        assert_eq!(line, "a\\tb\\\\c\\nd\t\\N\t\n");
    }

    #[test]
    fn csv_is_quoted_where_it_must_be() {
        let line = written(
            CopyFormat::Csv,
            "",
            &[Some(b"a,b"), Some(b"x"), Some(b""), None],
        );
        assert_eq!(line, "\"a,b\",\"x\",\"\",\n");
        assert_eq!(written(CopyFormat::Csv, "", &[Some(b"\\.")]), "\"\\.\"\n");
        assert_eq!(
            written(CopyFormat::Csv, "", &[Some(b"a\"b")]),
            "\"a\"\"b\"\n"
        );
    }
}
