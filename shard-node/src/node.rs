//! One PostgreSQL server at rest: where its files are and what it is told at its start.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use crate::{Binaries, Owner};

/// Bytes read of each log for its last lines.
const TAIL: u64 = 64 << 10;

/// Describes a server; [`ShardNode::init`] makes it, [`ShardNode::start`] runs it.
#[derive(Clone)]
pub struct ShardNode {
    /// For log lines and file names, such as `shard-0`.
    pub name: String,
    pub data_directory: PathBuf,
    /// Of 127.0.0.1, and of the Unix socket's name.
    pub port: u16,
    /// Holds the Unix socket; its path has at most about 90 bytes (sun_path of unix(7) has 108).
    pub socket_directory: PathBuf,
    pub log_directory: PathBuf,
    /// Of the superuser.
    pub password: String,
    pub owner: Owner,
    pub binaries: Binaries,
    /// Settings beyond ours, or instead of them.
    pub settings: Vec<(String, String)>,
    /// What the kernel sends to the server when the thread that looks after it dies, as `setpriv` names it:
    /// INT lets the server write a checkpoint, QUIT and KILL do not.
    pub signal_at_our_death: &'static str,
}

impl std::fmt::Debug for ShardNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut fields = f.debug_struct("ShardNode");
        fields
            .field("name", &self.name)
            .field("data_directory", &self.data_directory);
        fields.field("port", &self.port).finish_non_exhaustive()
    }
}

impl ShardNode {
    /// What the server writes before (or without) its own log collector.
    pub fn start_log(&self) -> PathBuf {
        self.log_directory.join(format!("{}-start.log", self.name))
    }

    /// The last lines of the newest of its logs, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        let mut texts: Vec<(std::time::SystemTime, String)> =
            self.logs().into_iter().filter_map(read).collect();
        texts.sort();
        let joined: Vec<&str> = texts.iter().flat_map(|(_, text)| text.lines()).collect();
        joined[joined.len().saturating_sub(lines)..].join("\n")
    }

    fn logs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.log_directory)
            .into_iter()
            .flatten()
            .flatten();
        let prefix = format!("{}-", self.name);
        entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .map(|entry| entry.path())
            .collect()
    }
}

fn read(path: PathBuf) -> Option<(std::time::SystemTime, String)> {
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL)))
        .ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some((
        metadata.modified().ok()?,
        String::from_utf8_lossy(&bytes).into_owned(),
    ))
}
