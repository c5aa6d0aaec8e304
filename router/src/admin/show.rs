//! The tables of the admin database. Names of columns are PgBouncer's where it has the same thing.

pub mod about;
pub mod catalog;
pub mod cluster;
pub mod locks;
pub mod servers;
pub mod sessions;
pub mod standbys;
pub mod stats;

use std::time::Duration;

use topology::ShardId;

type Rows = Vec<Vec<Option<String>>>;

/// Whole seconds.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs()
}

/// `0,2,3`
fn list(shards: &[ShardId]) -> String {
    let ids: Vec<String> = shards.iter().map(ShardId::to_string).collect();
    ids.join(",")
}
