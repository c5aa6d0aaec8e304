//! SHOW LOCKS.

use std::collections::HashMap;

use topology::ShardId;

use super::{Rows, seconds};
use crate::admin::locks::{LockParty, LockWait};
use crate::admin::table::{Column, number, row, text};
use crate::log::statement::masked;
use crate::worker::WorkerReport;

pub const LOCKS: &[Column] = &[
    number("shard"),
    text("database"),
    number("wait_seconds"),
    text("lock"),
    number("waiting_pid"),
    number("waiting_client"),
    text("waiting_user"),
    number("waiting_statement_seconds"),
    text("waiting_statement"),
    number("blocking_pid"),
    number("blocking_client"),
    text("blocking_user"),
    text("blocking_state"),
    number("blocking_transaction_seconds"),
    text("blocking_statement"),
    text("blocking_gid"),
];

/// One row for each pair of a waiting and a blocking backend. Clients are those of this router.
pub fn locks(reports: &[WorkerReport], waits: &[LockWait]) -> Rows {
    let servers = reports.iter().flat_map(|report| &report.servers);
    let clients: HashMap<(ShardId, u32), u32> = servers
        .filter_map(|server| {
            let session = server.session?;
            Some(((server.shard, server.process_id), session.0))
        })
        .collect();
    let client = |shard, party: &LockParty| clients.get(&(shard, party.process_id?)).copied();
    let row = |wait: &LockWait| {
        let (waiter, blocker) = (&wait.waiter, &wait.blocker);
        row![
            wait.shard.0,
            wait.database.as_str(),
            seconds(wait.waited),
            wait.lock.as_str(),
            waiter.process_id,
            client(wait.shard, waiter),
            waiter.user.as_deref(),
            waiter.age.map(seconds),
            waiter.statement.as_deref().map(masked),
            blocker.process_id,
            client(wait.shard, blocker),
            blocker.user.as_deref(),
            blocker.state.as_deref(),
            blocker.age.map(seconds),
            blocker.statement.as_deref().map(masked),
            blocker.gid.as_deref(),
        ]
    };
    waits.iter().map(row).collect()
}
