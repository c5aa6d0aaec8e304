//! SHOW STATS: traffic by database.

use std::time::Instant;

use super::Rows;
use crate::admin::AdminState;
use crate::admin::table::{Column, number, row, text};
use crate::metrics::DatabaseTotal;

/// Times in microseconds, as PgBouncer's.
pub const STATS: &[Column] = &[
    text("database"),
    number("total_xact_count"),
    number("total_query_count"),
    number("total_received"),
    number("total_sent"),
    number("total_xact_time"),
    number("total_query_time"),
    number("total_2pc_count"),
    number("total_errors"),
    number("avg_xact_count"),
    number("avg_query_count"),
    number("avg_recv"),
    number("avg_sent"),
    number("avg_xact_time"),
    number("avg_query_time"),
];

pub fn stats(state: &AdminState) -> Rows {
    let now = Instant::now();
    let since = state.averages.since(now, state.metrics.started);
    let row = |(name, total): (String, DatabaseTotal)| {
        let before = since
            .total
            .databases
            .get(&name)
            .cloned()
            .unwrap_or_default();
        stats_row(&name, &total, &before, since.seconds)
    };
    state
        .metrics
        .total()
        .databases
        .into_iter()
        .map(row)
        .collect()
}

fn stats_row(
    name: &str,
    total: &DatabaseTotal,
    before: &DatabaseTotal,
    seconds: f64,
) -> Vec<Option<String>> {
    let per_second = |now: u64, then: u64| (now.saturating_sub(then) as f64 / seconds) as u64;
    let each = |time: u64, count: u64| time.checked_div(count).unwrap_or(0);
    let (queries, queries_before) = (total.query_time.count(), before.query_time.count());
    let query_time = total.query_time.microseconds;
    row![
        name,
        total.transactions,
        queries,
        total.bytes_received,
        total.bytes_sent,
        total.transaction_microseconds,
        query_time,
        total.two_phase_commits,
        total.shard_errors + total.router_errors,
        per_second(total.transactions, before.transactions),
        per_second(queries, queries_before),
        per_second(total.bytes_received, before.bytes_received),
        per_second(total.bytes_sent, before.bytes_sent),
        each(
            total
                .transaction_microseconds
                .saturating_sub(before.transaction_microseconds),
            total.transactions.saturating_sub(before.transactions),
        ),
        each(
            query_time.saturating_sub(before.query_time.microseconds),
            queries.saturating_sub(queries_before),
        ),
    ]
}
