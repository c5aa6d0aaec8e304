//! Work on a cluster whose routers and shards are killed at random meanwhile: a bank, and lists that are appended to.
//!
//! [`bank`] moves money and counts it the whole time, [`appends`] records a history for [`crate::history`], [`constraints`] writes
//! rows with unique and foreign keys over shards. All run for a given time, in `cargo test` for some seconds; long runs: CONTRIBUTING.md.

pub mod appends;
pub mod bank;
pub mod constraints;
mod ground;
mod killer;

pub use killer::Kills;

use std::time::Duration;

/// What all runs are told.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub time: Duration,
    pub clients: usize,
    /// Whether anything is killed.
    pub kills: bool,
    /// Of a line on standard error each ten seconds.
    pub progress: bool,
}
