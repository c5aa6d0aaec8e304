//! A session that was chosen to end a deadlock over several shards: its statement was cancelled, and the client is told
//! why, as PostgreSQL tells it of its own.

use bytes::BytesMut;
use wire::backend::{ErrorResponse, Severity};

use super::answer::error_response;
use super::shared::SessionShared;
use crate::error::RouterError;

const CANCELLED: &str = "57014";

/// In place of the shard's "canceling statement due to user request"; `None`: the error is another one.
pub(super) fn told_instead(session: &SessionShared, message: &[u8]) -> Option<BytesMut> {
    if session.deadlock.borrow().is_none() {
        return None;
    }
    let error = ErrorResponse::parse(message.get(5..)?).ok()?;
    if error.sqlstate() != CANCELLED {
        return None;
    }
    let detail = session.deadlock.take()?;
    let deadlock = RouterError::new("40P01", "deadlock detected")
        .detail(detail)
        .hint("Run the transaction again.");
    let mut out = BytesMut::new();
    error_response(&mut out, Severity::Error, &deadlock);
    Some(out)
}
