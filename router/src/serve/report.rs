//! One worker's figures behind SHOW CLIENTS, POOLS, SERVERS and TRANSACTIONS.

use crate::session::shared::{SessionShared, WAITING, WorkerState};
use crate::worker::{ClientReport, TransactionReport, WorkerReport};

pub(super) fn of(state: &WorkerState) -> WorkerReport {
    let sessions = state.sessions.borrow();
    let sessions = sessions.values();
    WorkerReport {
        clients: sessions.clone().map(|session| client(session)).collect(),
        transactions: sessions
            .filter_map(|session| transaction(session))
            .collect(),
        pools: state.pools.figures(),
        servers: state.pools.servers(),
    }
}

fn client(session: &SessionShared) -> ClientReport {
    ClientReport {
        session: session.id,
        user: session.user.to_string(),
        database: session.database.to_string(),
        application_name: session.application_name.borrow().to_string(),
        peer: session.peer,
        tls: session.tls,
        state: match session.status.get() {
            b'I' => "idle",
            b'T' | b'E' => "idle in transaction",
            WAITING => "waiting",
            _ => "active",
        },
        connected: session.connected_at.elapsed(),
        shards: session.shards(),
    }
}

/// None: no transaction is open, but perhaps one around a single statement.
fn transaction(session: &SessionShared) -> Option<TransactionReport> {
    let since = session.transaction_since.get()?;
    let two_phase = session.two_phase.borrow();
    let stage = two_phase.as_ref().map(|commit| commit.stage);
    Some(TransactionReport {
        session: session.id,
        user: session.user.to_string(),
        database: session.database.to_string(),
        state: stage.unwrap_or(match session.status.get() {
            b'E' => "failed",
            _ => "open",
        }),
        gid: two_phase.as_ref().map(|commit| commit.gid.clone()),
        shards: session.shards(),
        age: since.elapsed(),
    })
}
