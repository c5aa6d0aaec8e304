//! A small lively town, made up.

use crate::App;
use crate::config::SeedOptions;

/// Fills an empty database.
pub async fn seed(_app: &App, _options: &SeedOptions) -> anyhow::Result<()> {
    Ok(())
}
