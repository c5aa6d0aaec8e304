//! SHOW STANDBYS.

use std::sync::Arc;

use super::Rows;
use crate::admin::AdminState;
use crate::admin::table::{Column, number, row, text};
use crate::standbys::Standby;

pub const STANDBYS: &[Column] = &[
    number("shard"),
    text("host"),
    number("port"),
    text("state"),
    number("lag_ms"),
    number("lag_bytes"),
    number("reads"),
    text("fault"),
];

pub fn standbys(state: &AdminState) -> Rows {
    let row = |standby: &Arc<Standby>| {
        let (host, seen) = (&standby.host, standby.seen());
        row![
            host.id.0,
            host.host.as_str(),
            host.port,
            seen.state(),
            seen.lag
                .map(|lag| u64::try_from(lag.as_millis()).unwrap_or(u64::MAX)),
            seen.bytes.filter(|_| !seen.is_primary),
            seen.reads,
            seen.fault.as_deref().filter(|_| !seen.is_primary),
        ]
    };
    state.board.standbys().all().iter().map(row).collect()
}
