//! What others may see of a server connection, whoever uses it now: for SHOW SERVERS and the figures.
//! Counts the connection as closed when it goes. Must never know: messages, pools, sessions' insides.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use topology::ShardId;

use super::Server;
use super::connect::Account;
use crate::metrics::ShardMetrics;
use crate::worker::{ServerReport, SessionId};

#[derive(Debug)]
pub struct Card {
    shard: ShardId,
    account: Rc<Account>,
    process_id: u32,
    tls: bool,
    opened: Instant,
    /// Who uses it; none: it is idle.
    session: Cell<Option<SessionId>>,
    idle_since: Cell<Instant>,
    metrics: Arc<ShardMetrics>,
}

impl Card {
    /// Counts a connection that was just opened.
    pub fn new(server: &Server, metrics: Arc<ShardMetrics>) -> Self {
        metrics.connections_opened.increment();
        Self {
            shard: server.shard,
            account: Rc::clone(&server.account),
            process_id: server.process_id,
            tls: server.stream.is_tls(),
            opened: server.opened,
            session: Cell::new(None),
            idle_since: Cell::new(server.idle_since),
            metrics,
        }
    }

    pub fn lease(&self, session: SessionId) {
        self.session.set(Some(session));
    }

    pub fn give_back(&self, now: Instant) {
        self.session.set(None);
        self.idle_since.set(now);
    }

    /// One statement of a client's goes there.
    pub fn count_statement(&self) {
        self.metrics.statements.increment();
    }

    pub fn report(&self) -> ServerReport {
        let session = self.session.get();
        ServerReport {
            shard: self.shard,
            user: self.account.user.clone(),
            database: self.account.database.clone(),
            process_id: self.process_id,
            tls: self.tls,
            session,
            connected: self.opened.elapsed(),
            idle: match session {
                Some(_) => Duration::ZERO,
                None => self.idle_since.get().elapsed(),
            },
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        self.metrics.connections_closed.increment();
    }
}
