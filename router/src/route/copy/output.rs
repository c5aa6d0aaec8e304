//! COPY TO of several shards as one: one header line, one binary signature, one trailer.

use super::binary::{TRAILER, header_length};
use crate::plan::{CopyFormat, CopyOptions};

/// Takes each shard's CopyData messages as PostgreSQL sends them (one row in each; the header in its own or,
/// in binary format, before the first row) and gives what the client gets.
#[derive(Debug)]
pub struct Concatenation {
    format: CopyFormat,
    header: bool,
    /// By shard: its first message has come.
    begun: Vec<bool>,
    /// A header has been given.
    given: bool,
}

impl Concatenation {
    pub fn new(options: &CopyOptions, shards: usize) -> Self {
        let header = options.header && options.format != CopyFormat::Binary;
        Self {
            format: options.format,
            header,
            begun: vec![false; shards],
            given: false,
        }
    }

    /// The part of the message of shard number `shard` (0-based, of those copied from) that the client gets;
    /// empty: send nothing.
    pub fn message<'a>(&mut self, shard: usize, message: &'a [u8]) -> &'a [u8] {
        let first = self
            .begun
            .get_mut(shard)
            .is_some_and(|begun| !std::mem::replace(begun, true));
        match self.format {
            CopyFormat::Binary => self.binary(message, first),
            CopyFormat::Text | CopyFormat::Csv if first && self.header => {
                if std::mem::replace(&mut self.given, true) {
                    &[]
                } else {
                    message
                }
            }
            CopyFormat::Text | CopyFormat::Csv => message,
        }
    }

    fn binary<'a>(&mut self, message: &'a [u8], first: bool) -> &'a [u8] {
        let header = match (first, header_length(message)) {
            (true, Ok(Some(length))) => length,
            _ => 0,
        };
        // No tuple has -1 fields.
        let has_trailer = message[header..] == TRAILER;
        let end = if has_trailer { header } else { message.len() };
        let start = if header > 0 && std::mem::replace(&mut self.given, true) {
            header
        } else {
            0
        };
        &message[start..end]
    }

    /// What ends the whole: the binary trailer, or nothing.
    pub fn end(&self) -> &'static [u8] {
        match self.format {
            CopyFormat::Binary => &TRAILER,
            CopyFormat::Text | CopyFormat::Csv => &[],
        }
    }
}
