//! The tag of a finished command, and the number of rows in it.

use bytes::{BufMut, BytesMut};

use super::tag;
use crate::reader::Reader;
use crate::{ProtocolError, put};

/// A command is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// E.g. `INSERT 0 3` or `CREATE TABLE`.
    pub tag: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("CommandComplete", body);
        let tag = reader.string()?;
        reader.end().map(|()| Self { tag })
    }

    /// The number of rows at the end of the tag; `None` for commands that count none.
    pub fn rows(&self) -> Option<u64> {
        let (_, digits) = self.split();
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Appends a whole message with this tag and another count; with this tag alone where it counts
    /// no rows.
    pub fn write_with_rows(&self, out: &mut BytesMut, rows: u64) {
        let (words, digits) = self.split();
        put::message(out, tag::COMMAND_COMPLETE, |out| {
            out.put_slice(words);
            if !digits.is_empty() {
                out.put_slice(rows.to_string().as_bytes());
            }
            out.put_u8(0);
        });
    }

    /// The tag up to its count, and the count's digits.
    fn split(&self) -> (&'a [u8], &'a [u8]) {
        let digits = self
            .tag
            .iter()
            .rev()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (words, digits) = self.tag.split_at(self.tag.len() - digits);
        if words.ends_with(b" ") {
            (words, digits)
        } else {
            (self.tag, &[])
        }
    }
}
