//! The Unix socket `.s.PGSQL.<port>`: where libpq looks for it.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use tokio::net::UnixListener;

use super::ListenError;
use crate::worker::{ClientSocket, Peer};

/// PostgreSQL's default `unix_socket_permissions`: passwords decide, not the file system.
const MODE: u32 = 0o777;

/// A bound socket and its file, which goes with it.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Of the file that we made: somebody may put another in its place.
    inode: u64,
}

impl UnixSocket {
    pub(super) fn bind(directory: &Path, port: u16) -> Result<Self, ListenError> {
        let path = directory.join(format!(".s.PGSQL.{port}"));
        Self::open(&path).map_err(|source| ListenError::Unix { path, source })
    }

    fn open(path: &Path) -> io::Result<Self> {
        remove_stale(path)?;
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, Permissions::from_mode(MODE))?;
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok(Self {
            listener,
            path: path.to_owned(),
            inode,
        })
    }

    pub(super) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(ClientSocket, Peer)>> {
        self.listener.poll_accept(cx).map(|accepted| {
            let (stream, _) = accepted?;
            Ok((ClientSocket::Unix(stream.into_std()?), Peer::Unix))
        })
    }
}

/// Removes the socket of a server that was killed; one that answers stays, and binding fails.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    let refused = || {
        let attempt = std::os::unix::net::UnixStream::connect(path);
        attempt.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if metadata.file_type().is_socket() && refused() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let ours = |metadata: std::fs::Metadata| metadata.ino() == self.inode;
        if std::fs::symlink_metadata(&self.path).is_ok_and(ours) {
            // At worst the next start finds it stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
