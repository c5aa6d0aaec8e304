//! SHOW POOLS, SERVERS.

use std::collections::BTreeMap;

use super::{Rows, seconds};
use crate::admin::table::{Column, boolean, number, row, text};
use crate::config::{Config, PoolMode};
use crate::worker::{ServerReport, WorkerReport};

pub const POOLS: &[Column] = &[
    number("shard"),
    number("cl_waiting"),
    number("sv_active"),
    number("sv_idle"),
    number("pool_size"),
    number("queue"),
    text("pool_mode"),
];

pub const SERVERS: &[Column] = &[
    text("type"),
    number("shard"),
    text("user"),
    text("database"),
    text("state"),
    number("remote_pid"),
    number("link"),
    number("connected_seconds"),
    number("idle_seconds"),
    number("worker"),
    boolean("tls"),
];

/// One row a shard, all workers together.
pub fn pools(config: &Config, reports: &[WorkerReport]) -> Rows {
    let shards = config.cluster.shards.all();
    let shards = shards.iter().map(|shard| (shard.id, [0; 3]));
    let mut sums: BTreeMap<_, [usize; 3]> = shards.collect();
    for pool in reports.iter().flat_map(|report| &report.pools) {
        let sum = sums.entry(pool.shard).or_default();
        let figures = [pool.waiting, pool.leased, pool.idle];
        sum.iter_mut()
            .zip(figures)
            .for_each(|(sum, figure)| *sum += figure);
    }
    let mode = match config.pool.mode {
        PoolMode::Transaction => "transaction",
        PoolMode::Session => "session",
    };
    let (size, queue) = (config.pool.size, config.pool.queue);
    let row = |(shard, [waiting, active, idle]): (topology::ShardId, [usize; 3])| {
        row![shard.0, waiting, active, idle, size, queue, mode]
    };
    sums.into_iter().map(row).collect()
}

pub fn servers(reports: &[WorkerReport]) -> Rows {
    let row = |(worker, server): (usize, &ServerReport)| {
        let state = if server.session.is_some() {
            "active"
        } else {
            "idle"
        };
        row![
            "S",
            server.shard.0,
            server.user.as_str(),
            server.database.as_str(),
            state,
            server.process_id,
            server.session.map(|session| session.0),
            seconds(server.connected),
            seconds(server.idle),
            worker,
            server.tls,
        ]
    };
    let all = reports.iter().enumerate();
    all.flat_map(|(worker, report)| report.servers.iter().map(move |server| (worker, server)))
        .map(row)
        .collect()
}
