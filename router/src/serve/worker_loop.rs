//! One worker: a current-thread runtime with its sessions and server connections.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::LocalOptions;
use tokio::sync::oneshot;
use topology::ShardId;

use super::{Shared, report, stalled};
use crate::backend::connect::Connector;
use crate::handshake::{self, Accepted};
use crate::pool::Pools;
use crate::session::shared::{
    CancelTarget, CancelsUnderWay, SessionShared, StopReason, WorkerState,
};
use crate::worker::{NewClient, SessionId, WorkerInbox, WorkerMessage};

/// How often waiters are woken for permits of other workers, and old connections closed.
const TICK: Duration = crate::session::shared::TICK;
/// How long open transactions may go on after the wish to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Runs until told to stop; blocks its thread.
pub(super) fn run(index: usize, shared: Shared, inbox: WorkerInbox) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime of a worker");
            return;
        }
    };
    let state = match worker_state(index, &shared) {
        Ok(state) => Rc::new(state),
        Err(error) => {
            tracing::error!(%error, "cannot start a worker");
            return;
        }
    };
    // Not a LocalSet: each wake of a task inside one wakes its outer task through an eventfd.
    runtime.block_on(serve(state, shared, inbox));
}

fn worker_state(index: usize, shared: &Shared) -> Result<WorkerState, crate::dial::DialError> {
    let parameters = Rc::default();
    let plain = Rc::default();
    let config = Arc::clone(&shared.config);
    let connector = Connector::new(
        Arc::clone(&config),
        shared.control.router_id(),
        Rc::clone(&parameters),
        Rc::clone(&plain),
    )?;
    let metrics = shared.metrics.add_worker();
    let pools = Pools::new(
        Arc::clone(&config),
        Arc::clone(&shared.permits),
        connector,
        Arc::clone(&metrics),
    );
    let control = shared.control.clone();
    Ok(WorkerState::new(
        index, config, control, pools, metrics, parameters, plain,
    ))
}

async fn serve(state: Rc<WorkerState>, shared: Shared, mut inbox: WorkerInbox) {
    let mut tick = tokio::time::interval(TICK);
    let mut ticks = 0u32;
    loop {
        tokio::select! {
            message = inbox.recv() => match message {
                None | Some(WorkerMessage::Shutdown) => break,
                Some(message) => take(&state, &shared, message),
            },
            () = state.pools.rung() => state.pools.tend(),
            _ = tick.tick() => {
                ticks = ticks.wrapping_add(1);
                state.pools.tend();
                state.ticks.set(ticks);
                stalled::tell(&state);
                end_idle_transactions(&state);
                if ticks.is_multiple_of(10) {
                    state.pools.sweep();
                    end_idle_sessions(&state);
                }
            }
        }
    }
    stop(&state).await;
}

/// Asks sessions to end whose client was silent for longer than `limits.idle_client_timeout`.
fn end_idle_sessions(state: &WorkerState) {
    let limit = state.config.limits.idle_client_timeout;
    if limit.is_zero() {
        return;
    }
    let limit = u32::try_from(limit.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX);
    for session in state.sessions.borrow().values() {
        let waited = state.ticks.get().wrapping_sub(session.waits_since.get());
        if session.status.get() == b'I' && waited > limit {
            session.stop_reason.set(StopReason::IdleTooLong);
            session.stop.notify_one();
        }
    }
}

/// Asks sessions to end whose client was silent within a transaction for longer than
/// `limits.idle_in_transaction_timeout`. Not left to the shards: to each of them a transaction is idle while another one
/// works on it.
fn end_idle_transactions(state: &WorkerState) {
    let limit = state.config.limits.idle_in_transaction_timeout;
    if limit.is_zero() {
        return;
    }
    for session in state.sessions.borrow().values() {
        if session.is_idle_in_transaction(state.ticks.get(), limit) {
            session.stop_reason.set(StopReason::IdleInTransaction);
            session.stop.notify_one();
        }
    }
}

fn take(state: &Rc<WorkerState>, shared: &Shared, message: WorkerMessage) {
    match message {
        WorkerMessage::NewClient(client) => {
            let task = one_client(Rc::clone(state), shared.clone(), client);
            tokio::task::spawn_local(task);
        }
        WorkerMessage::Cancel { session, delivered } => {
            tokio::task::spawn_local(cancel(Rc::clone(state), session, delivered));
        }
        WorkerMessage::CloseIdle { database } => state.pools.close_idle(Some(&database)),
        WorkerMessage::Stalled(answer) => {
            let _ = answer.send(stalled::list(state));
        }
        WorkerMessage::BreakDeadlock(victim) => stalled::break_deadlock(state, victim),
        WorkerMessage::Drained {
            database,
            shard,
            answer,
        } => {
            let _ = answer.send(drained(state, &database, shard));
        }
        WorkerMessage::Report(answer) => {
            let _ = answer.send(report::of(state));
        }
        WorkerMessage::Shutdown => {}
    }
}

/// No session of `database` is on `shard`, or in the middle of a statement that may come there. Then all of them are shut:
/// one in a transaction on other shards goes on only when the database lets go.
fn drained(state: &WorkerState, database: &str, shard: ShardId) -> bool {
    let sessions = state.sessions.borrow();
    let of_database = || sessions.values().filter(|s| &*s.database == database);
    let drained = of_database().all(|session| session.is_away_from(shard));
    of_database().for_each(|session| session.shut.set(drained));
    drained
}

/// Handshake, then the session. Boxed in parts, so that an idle session keeps only what it needs.
async fn one_client(state: Rc<WorkerState>, shared: Shared, client: NewClient) {
    let NewClient {
        socket,
        peer,
        place,
    } = client;
    let Ok(stream) = socket.into_stream() else {
        return;
    };
    let accepted = Box::pin(handshake::accept(stream, peer, &shared.handshake)).await;
    let handshaken = match accepted {
        Ok(Accepted::Session(handshaken)) => handshaken,
        Ok(Accepted::Cancel) => {
            state.metrics.cancel_requests.increment();
            return;
        }
        Err(error) => {
            state.metrics.logins_failed.increment();
            tracing::debug!(%peer, %error, "no session");
            return;
        }
    };
    state.metrics.clients_accepted.increment();
    let cancel = shared.handshake.cancels.register(state.index);
    if handshaken.database == crate::admin::DATABASE {
        crate::session::admin::serve(Arc::clone(&shared.admin), handshaken, cancel).await;
        return;
    }
    drop(shared);
    let opened = Box::pin(crate::session::open(state, handshaken, cancel, peer)).await;
    if let Some((session, received)) = opened {
        session.run(received).await;
    }
    drop(place);
}

/// Sends a cancel request to every server connection that the session uses now. The session keeps
/// them until that is done.
async fn cancel(state: Rc<WorkerState>, session: SessionId, delivered: oneshot::Sender<()>) {
    let found = state.sessions.borrow().get(&session).cloned();
    if let Some(session) = found {
        session.cancels.set(session.cancels.get() + 1);
        session.cancelled.notify_waiters();
        let targets = session.targets.borrow().clone();
        deliver_cancels(&state, &targets, CancelsUnderWay::of(session)).await;
    }
    let _ = delivered.send(());
}

/// The session keeps its server connections until this is done. `_under_way` was made when the targets were looked up.
pub(super) async fn deliver_cancels(
    state: &WorkerState,
    targets: &[CancelTarget],
    _under_way: CancelsUnderWay,
) {
    for target in targets {
        state
            .pools
            .cancel(target.shard, target.process_id, &target.secret)
            .await;
    }
}

/// Idle sessions end now, the others at the end of their transaction or of the grace.
async fn stop(state: &Rc<WorkerState>) {
    let deadline = tokio::time::Instant::now() + GRACE;
    while tokio::time::Instant::now() < deadline {
        let sessions: Vec<Rc<SessionShared>> = state.sessions.borrow().values().cloned().collect();
        if sessions.is_empty() {
            break;
        }
        for session in sessions {
            session.stop_reason.set(StopReason::Shutdown);
            session.stop.notify_one();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    state.pools.close_idle(None);
    // Goodbyes to the shards are tasks of their own: let them be written.
    tokio::time::sleep(Duration::from_millis(20)).await;
}
