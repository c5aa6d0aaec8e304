//! Command tags of several shards to one.

use bytes::{Bytes, BytesMut};
use wire::backend::CommandComplete;

use super::MergeError;

/// The first shard's tag, and the sum of all shards' row counts.
#[derive(Debug, Default)]
pub struct Tags {
    first: Option<Bytes>,
    rows: u64,
}

impl Tags {
    /// `body`: of a shard's CommandComplete.
    pub fn add(&mut self, body: &Bytes) -> Result<(), MergeError> {
        self.rows += CommandComplete::parse(body)?.rows().unwrap_or(0);
        if self.first.is_none() {
            self.first = Some(body.clone());
        }
        Ok(())
    }

    /// Rows that the shards counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends a CommandComplete with the sum: `UPDATE 7`.
    pub fn write(&self, out: &mut BytesMut) -> Result<(), MergeError> {
        self.write_with_rows(self.rows, out)
    }

    /// Appends a CommandComplete with another count: for SELECT, the rows that the client was given.
    pub fn write_with_rows(&self, rows: u64, out: &mut BytesMut) -> Result<(), MergeError> {
        let body = self
            .first
            .as_ref()
            .ok_or(MergeError::Unreadable("a command tag"))?;
        CommandComplete::parse(body)?.write_with_rows(out, rows);
        Ok(())
    }
}
