//! COPY data: a stream cut into records, each with its shard key; several shards' output made one. Takes
//! the bytes of CopyData messages, cut anywhere; gives whole raw records. Pure; must never know what a
//! shard is.

mod append;
mod binary;
mod csv;
mod lines;
mod output;
mod text;
mod written;

use schema::KeyType;
use topology::{Key, ShardMap};

use super::Encoding;
use super::number::{self, Integer};
use crate::plan::{CopyFormat, CopyFrom};
pub use append::Appender;
use binary::Tuples;
use lines::Lines;
pub use output::Concatenation;
pub use written::RowWriter;

/// Why COPY data cannot be divided. The texts are PostgreSQL's where it has the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    #[error("literal carriage return found in data")]
    LiteralCarriageReturn,
    #[error("literal newline found in data")]
    LiteralNewline,
    #[error("unquoted carriage return found in data")]
    UnquotedCarriageReturn,
    #[error("unquoted newline found in data")]
    UnquotedNewline,
    #[error("end-of-copy marker corrupt")]
    EndMarkerCorrupt,
    #[error("COPY file signature not recognized")]
    Signature,
    #[error("invalid COPY file header (wrong length)")]
    Header,
    #[error("unexpected EOF in COPY data")]
    UnexpectedEnd,
    #[error("incorrect binary data format")]
    BinaryFormat,
    #[error("received copy data after EOF marker")]
    AfterEnd,
    #[error("a COPY record is longer than {limit} bytes")]
    TooLong { limit: usize },
    #[error("invalid value for the shard key in COPY data: \"{0}\"")]
    Key(String),
    #[error("null value for the shard key in COPY data")]
    NullKey,
    #[error("the shard key \"{0}\" ends in spaces, which a varchar may lose when stored")]
    TrailingSpaces(String),
    #[error("the shard key is not ASCII and client_encoding is not UTF8")]
    Encoding,
}

impl CopyError {
    /// SQLSTATE as PostgreSQL gives it.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "54000",
            Self::Key(_) => "22P02",
            Self::NullKey => "23502",
            Self::TrailingSpaces(_) | Self::Encoding => "0A000",
            _ => "22P04",
        }
    }
}

impl From<CopyError> for crate::error::RouterError {
    fn from(error: CopyError) -> Self {
        Self::new(error.sqlstate(), error.to_string())
    }
}

/// One piece of COPY data.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// For every shard: the header line, the binary signature and header, the binary trailer.
    Everywhere(&'a [u8]),
    /// For the shard of the key: one row, its line end included.
    Row { bytes: &'a [u8], key: CopyKey<'a> },
}

/// The shard key's field of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyKey<'a> {
    Null,
    /// As text, decoded.
    Text(&'a [u8]),
    /// In the key type's binary form.
    Binary(&'a [u8]),
    /// The n-th appended id (0-based).
    Generated(usize),
    /// The row has no such field: any shard says what is wrong with it.
    Missing,
}

impl<'a> CopyKey<'a> {
    /// The key's value. `Ok(None)`: PostgreSQL has an error for this row; any shard will give it. `ids`: the
    /// ids appended to this row.
    pub fn value(
        &self,
        key_type: KeyType,
        encoding: Encoding,
        ids: &[i64],
    ) -> Result<Option<Key<'a>>, CopyError> {
        match *self {
            // The key column is NOT NULL on every shard: 23502 from the shard tells table and row.
            CopyKey::Null | CopyKey::Missing => Ok(None),
            CopyKey::Generated(index) => Ok(ids.get(index).map(|&id| Key::Int(id))),
            CopyKey::Binary(bytes) => binary_key(bytes, key_type, encoding),
            CopyKey::Text(text) => text_key(text, key_type, encoding),
        }
    }
}

fn text_key(
    text: &[u8],
    key_type: KeyType,
    encoding: Encoding,
) -> Result<Option<Key<'_>>, CopyError> {
    let shown = || String::from_utf8_lossy(text).into_owned();
    match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => match number::integer(text) {
            Integer::Value(value) => Ok(Some(Key::Int(value))),
            Integer::Invalid => Ok(None),
            Integer::Unclear => Err(CopyError::Key(shown())),
        },
        KeyType::Uuid => Ok(number::uuid(text).map(Key::Uuid)),
        KeyType::Varchar if text.ends_with(b" ") => Err(CopyError::TrailingSpaces(shown())),
        KeyType::Text | KeyType::Varchar if encoding == Encoding::Other && !text.is_ascii() => {
            Err(CopyError::Encoding)
        }
        KeyType::Text | KeyType::Varchar => Ok(Some(Key::Text(text))),
    }
}

fn binary_key(
    bytes: &[u8],
    key_type: KeyType,
    encoding: Encoding,
) -> Result<Option<Key<'_>>, CopyError> {
    Ok(match key_type {
        KeyType::Int2 => bytes
            .try_into()
            .ok()
            .map(|bytes| Key::Int(i16::from_be_bytes(bytes).into())),
        KeyType::Int4 => bytes
            .try_into()
            .ok()
            .map(|bytes| Key::Int(i32::from_be_bytes(bytes).into())),
        KeyType::Int8 => bytes
            .try_into()
            .ok()
            .map(|bytes| Key::Int(i64::from_be_bytes(bytes))),
        KeyType::Uuid => bytes.try_into().ok().map(Key::Uuid),
        KeyType::Text | KeyType::Varchar => return text_key(bytes, key_type, encoding),
    })
}

/// The shard of a key, for callers that divide rows.
pub fn shard_of(key: Key<'_>, map: &ShardMap) -> topology::ShardId {
    map.shard(ShardMap::bucket(key))
}

/// What the next bytes of a stream are.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Not all of it is here.
    More,
    /// For every shard: this many bytes.
    Everywhere(usize),
    /// A row of this many bytes.
    Row(usize),
    /// The end marker; what follows is not data.
    End,
}

#[derive(Debug)]
enum Format {
    Lines(Lines),
    Binary(Tuples),
}

/// Cuts COPY FROM data into records. Holds at most one record that is not whole.
#[derive(Debug)]
pub struct CopySplitter {
    format: Format,
    key_field: KeyField,
    pending: Vec<u8>,
    /// The decoded key field of the row at hand.
    scratch: Vec<u8>,
    limit: usize,
    ended: bool,
}

/// Where a row's key is.
#[derive(Debug, Clone, Copy)]
enum KeyField {
    Field(usize),
    Appended(usize),
    /// Rows are not divided.
    None,
}

impl CopySplitter {
    /// For rows divided by key. `limit`: bytes of one record.
    pub fn new(copy: &CopyFrom, limit: usize) -> Self {
        let key_field = match copy.key_field.checked_sub(copy.columns.len()) {
            Some(appended) => KeyField::Appended(appended),
            None => KeyField::Field(copy.key_field),
        };
        Self::with_key(copy, key_field, limit)
    }

    /// For rows that all go everywhere but are changed one by one (ids appended). Keys are `Missing`.
    pub fn undivided(copy: &CopyFrom, limit: usize) -> Self {
        Self::with_key(copy, KeyField::None, limit)
    }

    fn with_key(copy: &CopyFrom, key_field: KeyField, limit: usize) -> Self {
        let format = match copy.options.format {
            CopyFormat::Binary => Format::Binary(Tuples::default()),
            CopyFormat::Text | CopyFormat::Csv => Format::Lines(Lines::new(&copy.options)),
        };
        Self {
            format,
            key_field,
            pending: Vec::new(),
            scratch: Vec::new(),
            limit,
            ended: false,
        }
    }

    /// Takes the bytes of one CopyData message; `each` gets every record that is whole by now.
    pub fn push<E: From<CopyError>>(
        &mut self,
        data: &[u8],
        mut each: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.pending.is_empty() {
            let used = self.split(data, &mut each)?;
            self.pending.extend_from_slice(&data[used..]);
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(data);
            let used = self.split(&pending, &mut each)?;
            pending.drain(..used);
            self.pending = pending;
        }
        if self.ended {
            self.pending.clear();
        } else if self.pending.len() > self.limit {
            return Err(CopyError::TooLong { limit: self.limit }.into());
        }
        Ok(())
    }

    /// The data is over (CopyDone): a last line without a line end is a record too.
    pub fn finish<E: From<CopyError>>(
        &mut self,
        mut each: impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let rest = std::mem::take(&mut self.pending);
        if self.ended {
            return Ok(());
        }
        match &mut self.format {
            Format::Binary(tuples) => Ok(tuples.finish(&rest)?),
            Format::Lines(_) if rest.is_empty() => Ok(()),
            Format::Lines(lines) => {
                let step = lines.last(&rest)?;
                self.give(step, &rest, &mut each)
            }
        }
    }

    /// Gives all whole records of `data`; returns how many bytes they are.
    fn split<E: From<CopyError>>(
        &mut self,
        data: &[u8],
        each: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let mut used = 0;
        while !self.ended && used < data.len() {
            let rest = &data[used..];
            let step = match &mut self.format {
                Format::Lines(lines) => lines.next(rest)?,
                Format::Binary(tuples) => tuples.next(rest)?,
            };
            let length = match step {
                Step::More => break,
                Step::Everywhere(length) | Step::Row(length) => length,
                Step::End => rest.len(),
            };
            self.give(step, rest, each)?;
            used += length;
        }
        Ok(used)
    }

    fn give<E: From<CopyError>>(
        &mut self,
        step: Step,
        rest: &[u8],
        each: &mut impl FnMut(Record<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match step {
            Step::More => Ok(()),
            Step::End => {
                self.ended = true;
                Ok(())
            }
            Step::Everywhere(length) => each(Record::Everywhere(&rest[..length])),
            Step::Row(length) => {
                let bytes = &rest[..length];
                let key = self.key(bytes)?;
                each(Record::Row { bytes, key })
            }
        }
    }

    fn key<'a>(&'a mut self, row: &'a [u8]) -> Result<CopyKey<'a>, CopyError> {
        let field = match self.key_field {
            KeyField::Field(field) => field,
            KeyField::Appended(index) => return Ok(CopyKey::Generated(index)),
            KeyField::None => return Ok(CopyKey::Missing),
        };
        match &self.format {
            Format::Lines(lines) => Ok(lines.key(row, field, &mut self.scratch)),
            Format::Binary(_) => binary::key(row, field),
        }
    }
}

#[cfg(test)]
mod tests;
