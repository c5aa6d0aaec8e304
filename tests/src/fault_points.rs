//! Stops a router's two-phase commit at a named place; see `router/src/fault_point.rs`.

use std::path::{Path, PathBuf};

use crate::eventually;

/// The points of one router.
pub struct FaultPoints {
    directory: PathBuf,
}

impl FaultPoints {
    pub(crate) fn new(directory: PathBuf) -> FaultPoints {
        FaultPoints { directory }
    }

    /// For the router's environment; made when it is first asked for.
    pub(crate) fn directory(&self) -> &Path {
        std::fs::create_dir_all(&self.directory).expect("the directory is ours");
        &self.directory
    }

    /// The next session that comes to `point` is stopped there.
    pub fn arm(&self, point: &str) {
        std::fs::write(self.directory().join(point), "").expect("the directory is ours");
    }

    /// Waits until a session has been stopped at `point`.
    pub async fn reached(&self, point: &str) {
        let file = self.file_when_reached(point);
        eventually(&format!("a session comes to {point}"), async || {
            file.exists()
        })
        .await;
    }

    /// Lets the session go on that was stopped at `point`; nothing where none is.
    pub fn release(&self, point: &str) {
        // A router that was killed has left the file, or it is not there.
        let _ = std::fs::remove_file(self.file_when_reached(point));
        let _ = std::fs::remove_file(self.directory.join(point));
    }

    fn file_when_reached(&self, point: &str) -> PathBuf {
        self.directory.join(format!("{point}.reached"))
    }
}
