//! Records with ids added that the client's data lacks.

use super::{CopyError, Record};
use crate::plan::{AppendedId, CopyFormat, CopyFrom};

/// Writes records with the appended ids of a COPY.
#[derive(Debug)]
pub struct Appender<'a> {
    copy: &'a CopyFrom,
}

impl<'a> Appender<'a> {
    pub fn new(copy: &'a CopyFrom) -> Self {
        Self { copy }
    }

    /// Appends `bytes`, a row, to `out` with `ids`, one for each of [`CopyFrom::append_ids`].
    pub fn row(&self, bytes: &[u8], ids: &[i64], out: &mut Vec<u8>) -> Result<(), CopyError> {
        match self.copy.options.format {
            CopyFormat::Binary => self.binary_row(bytes, ids, out),
            CopyFormat::Text | CopyFormat::Csv => {
                self.line(bytes, ids.iter().map(i64::to_string), out);
                Ok(())
            }
        }
    }

    /// Appends what goes to every shard: a header line gets the columns' names.
    pub fn everywhere(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let Record::Everywhere(bytes) = record else {
            return;
        };
        if self.copy.options.format == CopyFormat::Binary {
            out.extend_from_slice(bytes);
        } else {
            self.line(
                bytes,
                self.copy
                    .append_ids
                    .iter()
                    .map(|added| self.header_name(added)),
                out,
            );
        }
    }

    fn header_name(&self, added: &AppendedId) -> String {
        if self.copy.options.format == CopyFormat::Csv {
            let quote = char::from(self.copy.options.quote);
            let escape = char::from(self.copy.options.escape);
            let mut name = String::from(quote);
            for character in added.column.chars() {
                if character == quote || character == escape {
                    name.push(escape);
                }
                name.push(character);
            }
            name.push(quote);
            name
        } else {
            let delimiter = char::from(self.copy.options.delimiter);
            added
                .column
                .replace('\\', "\\\\")
                .replace(delimiter, &format!("\\{delimiter}"))
        }
    }

    fn line(&self, line: &[u8], fields: impl Iterator<Item = String>, out: &mut Vec<u8>) {
        let end = super::lines::content(line, self.copy.options.format).len();
        out.extend_from_slice(&line[..end]);
        for field in fields {
            out.push(self.copy.options.delimiter);
            out.extend_from_slice(field.as_bytes());
        }
        out.extend_from_slice(&line[end..]);
    }

    fn binary_row(&self, tuple: &[u8], ids: &[i64], out: &mut Vec<u8>) -> Result<(), CopyError> {
        let count = tuple
            .first_chunk()
            .map(|count| i16::from_be_bytes(*count))
            .ok_or(CopyError::UnexpectedEnd)?;
        let added = i16::try_from(ids.len()).map_err(|_| CopyError::BinaryFormat)?;
        let total = count.checked_add(added).ok_or(CopyError::BinaryFormat)?;
        out.extend_from_slice(&total.to_be_bytes());
        out.extend_from_slice(&tuple[2..]);
        for (id, added) in ids.iter().zip(&self.copy.append_ids) {
            let bytes = id.to_be_bytes();
            // The planner lets only int2, int4 and int8 through.
            let width = usize::from(added.width).min(bytes.len());
            out.extend_from_slice(&(width as i32).to_be_bytes());
            out.extend_from_slice(&bytes[bytes.len() - width..]);
        }
        Ok(())
    }
}
