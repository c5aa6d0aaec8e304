//! SHOW CONFIG, HELP, VERSION.

use super::Rows;
use crate::admin::Command;
use crate::admin::operations::STATEMENTS;
use crate::admin::table::{Column, boolean, row, text};
use crate::config::{Config, listing};

pub const CONFIG: &[Column] = &[
    text("key"),
    text("value"),
    text("default"),
    boolean("changed"),
];
pub const HELP: &[Column] = &[text("command"), text("shows")];
pub const VERSION: &[Column] = &[text("version")];

pub fn config(config: &Config) -> Rows {
    let defaults = listing(&Config::default());
    let row = |((key, value), (_, default)): ((&'static str, String), (_, String))| {
        let changed = value != default;
        row![key, value, default, changed]
    };
    listing(config).into_iter().zip(defaults).map(row).collect()
}

pub fn help() -> Rows {
    let row = |command: Command| row![format!("SHOW {}", command.name()), command.purpose()];
    let shows = Command::ALL.into_iter().map(row);
    let does = STATEMENTS
        .into_iter()
        .map(|(statement, purpose)| row![statement, purpose]);
    shows.chain(does).collect()
}

pub fn version() -> Rows {
    vec![row![format!("Oskol {}", env!("CARGO_PKG_VERSION"))]]
}
