//! SHOW SHARDS, BUCKETS.

use super::Rows;
use crate::admin::AdminState;
use crate::admin::table::{Column, boolean, number, row, text};
use crate::config::ShardConfig;

pub const SHARDS: &[Column] = &[
    number("shard"),
    text("host"),
    number("port"),
    text("state"),
    number("since_seconds"),
    text("version"),
    boolean("home"),
    text("weight"),
    number("buckets"),
    number("sv_active"),
    number("sv_idle"),
    number("cl_waiting"),
    text("fault"),
];

pub const BUCKETS: &[Column] = &[number("bucket"), number("shard"), number("epoch")];

pub fn shards(state: &AdminState) -> Rows {
    let (statuses, map, total) = (
        state.board.shards(),
        state.board.map(),
        state.metrics.total(),
    );
    let home = map
        .as_ref()
        .map_or(state.config.cluster.home, |map| map.home());
    let row = |shard: &ShardConfig| {
        let status = statuses.get(&shard.id);
        let fault = state.board.fault(shard.id);
        let figures = total.shards.get(&shard.id).cloned().unwrap_or_default();
        row![
            shard.id.0,
            shard.host.as_str(),
            shard.port,
            state_name(status.map(|status| status.fault.is_none()), fault.is_none()),
            status.map(|status| super::seconds(status.since.elapsed())),
            status.map(|status| status.version.as_str()),
            shard.id == home,
            shard.weight.to_string(),
            map.as_ref().map(|map| map.bucket_count(shard.id)),
            figures.active,
            figures.idle,
            figures.waiting,
            fault,
        ]
    };
    state.config.cluster.shards.all().iter().map(row).collect()
}

fn state_name(serves: Option<bool>, is_let_in: bool) -> &'static str {
    match serves {
        None => "unknown",
        Some(true) if !is_let_in => "kept out",
        Some(true) => "up",
        Some(false) => "down",
    }
}

pub fn buckets(state: &AdminState) -> Rows {
    let Some(map) = state.board.map() else {
        return Rows::new();
    };
    let owners = map.shards_by_bucket().iter().enumerate();
    owners
        .map(|(bucket, shard)| row![bucket, shard.0, map.epoch()])
        .collect()
}
