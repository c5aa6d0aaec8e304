//! A temporary file without a name: it is gone when its last handle is, however the router ends.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::config::units;
use crate::error::RouterError;

/// Bytes in all such files of this process: `limits.cursor` is for all together.
static IN_FILES: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
pub(super) struct File {
    file: Arc<std::fs::File>,
    length: u64,
    limit: u64,
}

impl File {
    /// In the directory for temporary files (`TMPDIR`). `limit`: of all files together, in bytes.
    pub fn new(limit: u64) -> Result<Self, RouterError> {
        let file = tempfile::tempfile().map_err(|error| failed("written", &error))?;
        Ok(Self {
            file: Arc::new(file),
            length: 0,
            limit,
        })
    }

    /// Gives the offset that the bytes were written at. The disk is not waited for on this thread.
    pub async fn append(&mut self, bytes: Bytes) -> Result<u64, RouterError> {
        let added = bytes.len() as u64;
        if IN_FILES.fetch_add(added, Ordering::Relaxed) + added > self.limit {
            IN_FILES.fetch_sub(added, Ordering::Relaxed);
            return Err(too_much(self.limit));
        }
        let offset = self.length;
        self.length += added;
        let file = Arc::clone(&self.file);
        run(move || file.write_all_at(&bytes, offset))
            .await
            .map_err(|error| failed("written", &error))?;
        Ok(offset)
    }

    pub async fn read(&self, offset: u64, length: usize) -> Result<Bytes, RouterError> {
        let file = Arc::clone(&self.file);
        run(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(Bytes::from(bytes))
        })
        .await
        .map_err(|error| failed("read", &error))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        IN_FILES.fetch_sub(self.length, Ordering::Relaxed);
    }
}

/// On a thread that may wait for a disk.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn too_much(limit: u64) -> RouterError {
    let size = units::print_size(usize::try_from(limit).unwrap_or(usize::MAX));
    RouterError::new(
        wire::sqlstate::CONFIGURATION_LIMIT_EXCEEDED,
        format!("rows that wait for their clients take more than {size} of temporary files"),
    )
    .detail("The rows of a cursor or portal over several shards wait in the router.")
    .hint("Close cursors, fetch all rows at once, or raise limits.cursor in the router's configuration.")
}

fn failed(what: &str, error: &io::Error) -> RouterError {
    let sqlstate = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => wire::sqlstate::DISK_FULL,
        _ => wire::sqlstate::IO_ERROR,
    };
    RouterError::new(
        sqlstate,
        format!("a temporary file of the router could not be {what}: {error}"),
    )
    .detail("The rows of a cursor or portal over several shards wait there.")
    .hint("Temporary files are in the directory that TMPDIR names to the router.")
}
