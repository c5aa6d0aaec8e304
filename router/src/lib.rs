//! The router: one PostgreSQL address in front of N shards. See ARCHITECTURE.md for the order in
//! which a query flows through these modules.

pub mod admin;
pub mod backend {
    //! Connections to shards.
    pub mod login;
}
pub mod cancel;
pub mod check;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod dial;
pub mod error;
pub mod handshake;
pub mod listen;
pub mod log;
pub mod management;
pub mod merge;
pub mod metrics;
pub mod parse;
pub mod plan;
pub mod route;
pub mod scram;
pub mod seats;
pub mod shutdown;
mod signals;
pub mod stream;
pub mod up;
pub mod worker;

use std::sync::Arc;

/// Serves clients until `shutdown` is uttered; blocks. An error where it cannot begin or cannot go on.
pub fn run(config: Arc<config::Config>, shutdown: shutdown::Shutdown) -> anyhow::Result<()> {
    drop((config, shutdown));
    anyhow::bail!("this build has no sessions yet")
}
