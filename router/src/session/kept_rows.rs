//! Rows of a statement that wait in the router until the client asks for them: those of cursors and
//! of portals that are fetched in parts.
//!
//! Owns where they wait: in memory up to a bound, beyond it in a temporary file without a name, so
//! that the shards' connections are free meanwhile. Takes and gives whole DataRow messages, by
//! number. Must never know what is in a row.

mod file;

use bytes::{Bytes, BytesMut};

use crate::error::RouterError;
use file::File;

/// Bytes of rows that are kept together: what one read of the file brings back.
const CHUNK_BYTES: usize = 64 * 1024;

/// A list of rows: first written, then read in any order.
#[derive(Debug)]
pub(super) struct KeptRows {
    chunks: Vec<Chunk>,
    /// The rows that are in no chunk yet.
    tail: BytesMut,
    tail_rows: u64,
    /// Bytes of the chunks in memory.
    memory: usize,
    limits: KeptLimits,
    file: Option<File>,
    /// So many chunks are gone.
    forgotten: usize,
    opened: Option<Opened>,
}

/// Bounds in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeptLimits {
    /// In memory, for each list of rows: at most `limits.merge`.
    pub memory: usize,
    /// In files, for all of the process together: `limits.cursor`.
    pub files: usize,
}

#[derive(Debug)]
struct Chunk {
    /// Number of its first row, from 0.
    first: u64,
    rows: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Bytes),
    File {
        offset: u64,
        length: usize,
    },
    /// Read, and not to be read again.
    Gone,
}

/// The chunk read last, and where in it each row begins.
#[derive(Debug)]
struct Opened {
    chunk: usize,
    bytes: Bytes,
    starts: Vec<u32>,
}

impl KeptRows {
    pub fn new(limits: KeptLimits) -> Self {
        Self {
            chunks: Vec::new(),
            tail: BytesMut::new(),
            tail_rows: 0,
            memory: 0,
            limits,
            file: None,
            forgotten: 0,
            opened: None,
        }
    }

    pub fn len(&self) -> u64 {
        let closed = self.chunks.last().map_or(0, |last| last.first + last.rows);
        closed + self.tail_rows
    }

    /// Where the next row is to be written, as a whole DataRow message; [`Self::added`] must follow.
    pub fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// One row has been written.
    ///
    /// # Errors
    /// 53400: beyond `limits.cursor`; 53100: the file cannot be written.
    pub async fn added(&mut self) -> Result<(), RouterError> {
        self.tail_rows += 1;
        if self.tail.len() >= CHUNK_BYTES {
            self.close_tail().await?;
        }
        Ok(())
    }

    async fn close_tail(&mut self) -> Result<(), RouterError> {
        if self.tail_rows == 0 {
            return Ok(());
        }
        let first = self.len() - self.tail_rows;
        let rows = std::mem::take(&mut self.tail_rows);
        let bytes = self.tail.split().freeze();
        let place = if self.memory + bytes.len() <= self.limits.memory {
            self.memory += bytes.len();
            Place::Memory(bytes)
        } else {
            self.write(bytes).await?
        };
        self.chunks.push(Chunk { first, rows, place });
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<Place, RouterError> {
        let length = bytes.len();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::new(self.limits.files as u64)?),
        };
        let offset = file.append(bytes).await?;
        Ok(Place::File { offset, length })
    }

    /// The row of this number, from 0: a whole DataRow message. `None`: there is no such row.
    ///
    /// # Errors
    /// 58030: the file cannot be read.
    pub async fn row(&mut self, number: u64) -> Result<Option<Bytes>, RouterError> {
        if number >= self.len() {
            return Ok(None);
        }
        if self
            .chunks
            .last()
            .is_none_or(|last| number >= last.first + last.rows)
        {
            self.close_tail().await?;
        }
        let chunk = self.chunks.partition_point(|chunk| chunk.first <= number) - 1;
        self.open(chunk).await?;
        let within = (number - self.chunks[chunk].first) as usize;
        Ok(self.opened.as_ref().and_then(|opened| opened.row(within)))
    }

    async fn open(&mut self, chunk: usize) -> Result<(), RouterError> {
        if self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.chunk == chunk)
        {
            return Ok(());
        }
        let bytes = match (&self.chunks[chunk].place, &self.file) {
            (Place::Memory(bytes), _) => bytes.clone(),
            (Place::File { offset, length }, Some(file)) => file.read(*offset, *length).await?,
            (Place::File { .. } | Place::Gone, _) => Bytes::new(),
        };
        self.opened = Some(Opened {
            chunk,
            starts: starts(&bytes),
            bytes,
        });
        Ok(())
    }

    /// Rows before this number will not be asked for again.
    pub fn forget_before(&mut self, number: u64) {
        while let Some(chunk) = self.chunks.get_mut(self.forgotten)
            && chunk.first + chunk.rows <= number
        {
            if let Place::Memory(bytes) = std::mem::replace(&mut chunk.place, Place::Gone) {
                self.memory -= bytes.len();
            }
            self.forgotten += 1;
        }
    }
}

impl Opened {
    fn row(&self, within: usize) -> Option<Bytes> {
        let start = *self.starts.get(within)? as usize;
        let end = self
            .starts
            .get(within + 1)
            .map_or(self.bytes.len(), |end| *end as usize);
        Some(self.bytes.slice(start..end))
    }
}

/// Where each message begins. A chunk is shorter than one message may be and one chunk more, so 32
/// bits hold its length.
fn starts(bytes: &[u8]) -> Vec<u32> {
    let mut starts = Vec::new();
    let mut position = 0;
    while let Ok(Some(header)) = wire::header::peek(&bytes[position..], wire::header::MAX_MESSAGE) {
        starts.push(position as u32);
        position = (position + header.length).min(bytes.len());
    }
    starts
}

#[cfg(test)]
mod tests;
