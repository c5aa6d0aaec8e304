//! Gives the rows of a COPY to the buffers of their shards, with ids added where the data lacks them. Knows no
//! connection.

use std::collections::VecDeque;

use topology::{ShardId, ShardMap};

use crate::plan::{CopyFormat, CopyFrom};
use crate::route::Encoding;
use crate::route::copy::{Appender, CopyError, CopyKey, Record, shard_of};

/// Gives every row to its shard.
pub(super) struct Divider<'a> {
    pub from: &'a CopyFrom,
    pub appender: Appender<'a>,
    pub everywhere: bool,
    pub encoding: Encoding,
    pub map: &'a ShardMap,
    pub shards: &'a [(ShardId, usize)],
    pub outs: &'a mut [Vec<u8>],
    pub ids: &'a mut [VecDeque<i64>],
    pub last_ids: &'a mut [Option<i64>],
    /// Of the row at hand.
    pub row_ids: Vec<i64>,
    pub scratch: Vec<u8>,
}

impl Divider<'_> {
    pub fn record(&mut self, record: &Record<'_>) -> Result<(), CopyError> {
        match record {
            Record::Everywhere(bytes) if self.from.append_ids.is_empty() => {
                self.outs
                    .iter_mut()
                    .for_each(|out| out.extend_from_slice(bytes));
            }
            Record::Everywhere(_) => {
                self.scratch.clear();
                self.appender.everywhere(record, &mut self.scratch);
                let bytes = &self.scratch;
                self.outs
                    .iter_mut()
                    .for_each(|out| out.extend_from_slice(bytes));
            }
            Record::Row { bytes, key } => self.row(bytes, *key)?,
        }
        Ok(())
    }

    fn row(&mut self, bytes: &[u8], key: CopyKey<'_>) -> Result<(), CopyError> {
        self.take_row_ids();
        if self.everywhere {
            return (0..self.outs.len()).try_for_each(|position| self.put(position, bytes));
        }
        let value = key.value(self.from.key_type, self.encoding, &self.row_ids)?;
        // Any shard has PostgreSQL's own error for a row without a key.
        let position = value.map_or(0, |key| self.position(shard_of(key, self.map)));
        self.put(position, bytes)
    }

    fn position(&self, shard: ShardId) -> usize {
        let found = self.shards.iter().position(|(known, _)| *known == shard);
        // The COPY was started on all shards of the map.
        found.unwrap_or(0)
    }

    /// One id for each column added. There are enough for all rows that have as many fields as they should.
    fn take_row_ids(&mut self) {
        self.row_ids.clear();
        for (ids, last) in self.ids.iter_mut().zip(self.last_ids.iter_mut()) {
            if let Some(id) = ids.pop_front() {
                *last = Some(id);
                self.row_ids.push(id);
            }
        }
    }

    fn put(&mut self, position: usize, bytes: &[u8]) -> Result<(), CopyError> {
        let out = &mut self.outs[position];
        if self.row_ids.is_empty() {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        self.appender.row(bytes, &self.row_ids, out)
    }
}

/// No more rows than this can be whole when `data` has come.
pub(super) fn most_rows(from: &CopyFrom, data: &[u8]) -> usize {
    if from.options.format == CopyFormat::Binary {
        // A count of fields, and the length of each.
        return data.len() / (2 + 4 * from.columns.len()) + 2;
    }
    let ends = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r'));
    ends.count() + 1
}
