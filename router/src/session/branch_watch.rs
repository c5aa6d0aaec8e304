//! A client that is silent within a transaction: its shards are listened to meanwhile, as one of them may end the
//! connection, and with it the transaction.

use std::future::poll_fn;
use std::task::{Context, Poll};

use wire::backend::{ErrorResponse, tag};

use super::fault::{Fault, shard_lost};
use super::shared::StopReason;
use super::state::Session;
use super::transaction::{Branch, State};
use crate::backend::Server;
use crate::error::RouterError;
use crate::stream::Stream;

const IDLE_IN_TRANSACTION: &str = "25P03";

/// Ready when a shard has sent something, or has closed. Costs no system call while none has.
pub(super) async fn any_speaks(branches: &[Branch]) {
    poll_fn(|cx| {
        let speaks = |branch: &Branch| poll_readable(&branch.server.stream, cx).is_ready();
        // All are polled, so that each wakes the session.
        match branches
            .iter()
            .map(speaks)
            .fold(false, |any, one| any | one)
        {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

fn poll_readable(stream: &Stream, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
    match (stream, stream.tcp()) {
        (Stream::Unix(unix), _) => unix.poll_read_ready(cx),
        (_, Some(tcp)) => tcp.poll_read_ready(cx),
        (_, None) => Poll::Pending,
    }
}

/// What a shard has said while nobody asked.
enum Said {
    /// A notice, a setting, or nothing: it waits in the read buffer for the next reply.
    Nothing,
    Ended(RouterError),
}

impl Session {
    /// A shard that has ended its branch ends the transaction on all others, at once.
    ///
    /// # Errors
    /// FATAL where PostgreSQL ends the session for it (`idle_in_transaction_session_timeout`). Otherwise the client is
    /// told at its next statement.
    pub(super) async fn hear_branches(&mut self) -> Result<(), Fault> {
        let mut ended = None;
        for branch in &mut self.transaction.branches {
            if let Said::Ended(error) = hear(&mut branch.server) {
                branch.server.broken = true;
                ended = ended.or(Some(error));
            }
        }
        let Some(error) = ended else { return Ok(()) };
        if error.sqlstate == IDLE_IN_TRANSACTION {
            return Err(Fault::Fatal(error));
        }
        self.drop_broken_branches();
        // In the middle of a pipeline, or after a failure, something else is told.
        if self.transaction.state == State::Failed && !self.transaction.has_let_go {
            self.transaction.lost.replace(Some(Box::new(error)));
            self.let_go_of_locks().await;
        }
        Ok(())
    }

    /// `limits.idle_in_transaction_timeout`; the client may have spoken since it was noticed.
    pub(super) fn asked_to_leave_transaction(&self) -> Result<(), Fault> {
        let limit = self.worker.config.limits.idle_in_transaction_timeout;
        let ticks = self.worker.ticks.get();
        if !self.shared.is_idle_in_transaction(ticks, limit) {
            self.shared.stop_reason.set(StopReason::default());
            return Ok(());
        }
        let text = "terminating connection due to idle-in-transaction timeout";
        Err(Fault::Fatal(RouterError::new(IDLE_IN_TRANSACTION, text)))
    }
}

fn hear(server: &mut Server) -> Said {
    loop {
        server.inbuf.reserve(1024);
        match server.stream.try_read_buf(&mut server.inbuf) {
            Ok(0) => return Said::Ended(farewell(server, "the server closed the connection")),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => return Said::Ended(farewell(server, &error.to_string())),
        }
    }
    match last_words(server) {
        Some(error) => Said::Ended(error),
        None => Said::Nothing,
    }
}

fn farewell(server: &Server, why: &str) -> RouterError {
    last_words(server).unwrap_or_else(|| shard_lost(server.shard, why))
}

/// The FATAL error in the read buffer, if there is one.
fn last_words(server: &Server) -> Option<RouterError> {
    let mut position = 0;
    while let Ok(Some(header)) =
        wire::header::peek(&server.inbuf[position..], wire::header::MAX_MESSAGE)
    {
        let message = server.inbuf.get(position..position + header.length)?;
        let error = ErrorResponse::parse(&message[5..]);
        if let (tag::ERROR_RESPONSE, Ok(error)) = (header.tag, error)
            && error.is_fatal()
        {
            return Some(told(server, &error));
        }
        position += header.length;
    }
    None
}

fn told(server: &Server, error: &ErrorResponse<'_>) -> RouterError {
    if error.sqlstate() == IDLE_IN_TRANSACTION {
        return RouterError::new(IDLE_IN_TRANSACTION, error.message());
    }
    shard_lost(server.shard, &error.message())
}
