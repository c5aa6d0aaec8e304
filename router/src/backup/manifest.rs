//! `backup.json`: what a backup is of. Written last, so a directory without it is no backup.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

const FILE: &str = "backup.json";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) cluster: String,
    /// The same on all shards.
    pub(super) restore_point: String,
    /// Major version of the programs that made it.
    pub(super) postgresql: u32,
    pub(super) shards: Vec<ShardManifest>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ShardManifest {
    pub(super) shard: u16,
    /// Where it was.
    pub(super) host: String,
    pub(super) port: u16,
    /// A position in its WAL.
    pub(super) end_of_wal: String,
}

impl Manifest {
    pub(super) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join(FILE);
        let text = serde_json::to_string_pretty(self)? + "\n";
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(text.as_bytes())?;
        Ok(file.sync_all()?)
    }

    pub(super) fn read(directory: &Path) -> anyhow::Result<Manifest> {
        let path = directory.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| {
            format!(
                "{} is no whole backup: cannot read {FILE}",
                directory.display()
            )
        })?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// Makes the directory, for its owner alone: the shards' password verifiers will be in it.
pub(super) fn prepare(directory: &Path) -> anyhow::Result<()> {
    let is_used = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    if is_used {
        bail!("{} is not empty", directory.display());
    }
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make {}", directory.display()))
}

/// Since 1970.
pub(super) fn seconds_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
