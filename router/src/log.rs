//! The log: where it goes, and what of a slow statement may stand in it.
//!
//! Takes a [`LogConfig`], once, at the start. Text or JSON to standard error. Never in it: parameters,
//! literals of a statement, passwords, statements that set a password.

pub mod statement;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogConfig;

pub use statement::{SlowStatement, masked};

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.level = {level:?}: {source}")]
    Level {
        level: String,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("the log cannot be started: {0}")]
    Start(String),
}

/// Starts the process's log; a terminal gets colours.
///
/// # Errors
/// The level cannot be read, or a log was started before.
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&config.level).map_err(|source| LogError::Level {
        level: config.level.clone(),
        source,
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if config.json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    };
    started.map_err(|error| LogError::Start(error.to_string()))
}
