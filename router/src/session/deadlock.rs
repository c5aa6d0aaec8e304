//! Errors of shards that mean something else to the client: a session that was chosen to end a deadlock over several shards,
//! and whose statement was cancelled, is told why; a row that was written to a shard that its bucket has left, by this router,
//! which has not heard of it yet, is a reason to try again.

use bytes::BytesMut;
use wire::backend::{ErrorResponse, Severity};

use super::answer::error_response;
use super::fault::Fault;
use super::shared::SessionShared;
use crate::error::RouterError;

const CANCELLED: &str = "57014";
/// Of `oskol.refuse_moved`.
const MOVED: &[u8] = b"COSK01\0";

/// In place of the shard's "canceling statement due to user request"; `None`: the error is another one.
pub(super) fn told_instead(session: &SessionShared, message: &[u8]) -> Option<BytesMut> {
    if session.deadlock.borrow().is_none() {
        let is_moved = message.windows(MOVED.len()).any(|bytes| bytes == MOVED);
        return is_moved.then(|| {
            let mut out = BytesMut::new();
            error_response(&mut out, Severity::Error, &moved());
            out
        });
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

/// The fault as the client is to be told of it: for those who end the transaction, and with it what is known of the
/// deadlock, before they tell.
pub(super) fn told(session: &SessionShared, fault: Fault) -> Fault {
    match fault {
        Fault::Shard(message) => {
            let instead = told_instead(session, &message);
            Fault::Shard(instead.map_or(message, BytesMut::freeze))
        }
        other => other,
    }
}

const IS_MOVED: &str = "the row is being moved to another shard";

/// Whether the error is that of [`moved`].
pub(super) fn is_moved(error: &RouterError) -> bool {
    error.sqlstate == "40001" && error.message == IS_MOVED
}

pub(super) fn moved() -> RouterError {
    RouterError::new("40001", IS_MOVED).hint("Run the transaction again.")
}
