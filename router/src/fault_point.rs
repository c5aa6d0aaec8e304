//! Places in a two-phase commit, and in a move of buckets, where a test may stop a session, to kill or cut off what it likes meanwhile.
//!
//! Off unless `OSKOL_FAULT_POINTS` names a directory when the first two-phase commit runs: then a session that comes to a
//! point takes the file of that point's name, if there is one, by renaming it to `<point>.reached`, and waits until that
//! is removed. Takes nothing but the point; must never be on the way of a transaction of one shard.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

const VARIABLE: &str = "OSKOL_FAULT_POINTS";
const LOOK: Duration = Duration::from_millis(2);
/// A test that has forgotten its session.
const LIMIT: Duration = Duration::from_secs(60);

/// A place in a two-phase commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultPoint {
    /// PREPARE TRANSACTION has gone to so many shards; with all of them, each has answered.
    Prepared(usize),
    /// The decision has been sent, and the answer is not read.
    DecisionSent,
    /// The decision is known, and COMMIT PREPARED has gone to so many shards; with all, each has answered.
    Finished(usize),
    /// As `Finished`, of ROLLBACK PREPARED.
    RolledBack(usize),
    /// In a move of buckets: `followed`, `copied`, `held`, `ready`, `prepared`, `decided`.
    Move(&'static str),
}

impl fmt::Display for FaultPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepared(shards) => write!(f, "prepared-{shards}"),
            Self::DecisionSent => write!(f, "decision-sent"),
            Self::Finished(shards) => write!(f, "finished-{shards}"),
            Self::RolledBack(shards) => write!(f, "rolled-back-{shards}"),
            Self::Move(phase) => write!(f, "move-{phase}"),
        }
    }
}

/// Goes on at once, unless a test has armed `point`.
pub(crate) async fn pass(point: FaultPoint) {
    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    if let Some(directory) = directory {
        Box::pin(stop(directory, point)).await;
    }
}

async fn stop(directory: &Path, point: FaultPoint) {
    let armed = directory.join(point.to_string());
    let reached = directory.join(format!("{point}.reached"));
    if std::fs::rename(armed, &reached).is_err() {
        return;
    }
    tracing::warn!(%point, "stopped by a test");
    let deadline = tokio::time::Instant::now() + LIMIT;
    while reached.exists() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}
