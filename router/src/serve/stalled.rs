//! Sessions of one worker that wait for several shards, and may so be part of a deadlock that no shard sees whole;
//! and the end of one that is. Knows no lock and no other session: the control thread does.

use std::rc::Rc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::worker_loop::deliver_cancels;
use crate::session::shared::{CancelTarget, CancelsUnderWay, SessionShared, TICK, WorkerState};
use crate::worker::{DeadlockVictim, StalledSession};

/// A statement that runs longer may be waiting for a lock, in ticks of the worker.
const STALLED_TICKS: u32 = 3;

/// Has the control thread look for deadlocks, if there is a reason to. Costs one load while no session uses two shards.
pub(super) fn tell(state: &WorkerState) {
    if state.spread.get() > 0 && sessions(state).next().is_some() {
        state.control.may_be_deadlocked();
    }
}

pub(super) fn list(state: &WorkerState) -> Vec<StalledSession> {
    let stalled = sessions(state);
    stalled.map(|session| describe(state, &session)).collect()
}

fn sessions(state: &WorkerState) -> impl Iterator<Item = Rc<SessionShared>> {
    let now = state.ticks.get();
    let is_stalled = move |session: &&Rc<SessionShared>| {
        let busy = now.wrapping_sub(session.busy_since.get());
        session.status.get() == 0 && busy >= STALLED_TICKS && session.targets.borrow().len() > 1
    };
    let sessions = state.sessions.borrow();
    let stalled: Vec<_> = sessions.values().filter(is_stalled).cloned().collect();
    stalled.into_iter()
}

fn describe(state: &WorkerState, session: &SessionShared) -> StalledSession {
    let targets = session.targets.borrow();
    let two_phase = session.two_phase.borrow();
    StalledSession {
        session: session.id,
        since: session
            .transaction_since
            .get()
            .unwrap_or_else(|| statement_since(state, session)),
        backends: targets
            .iter()
            .map(|target| (target.shard, target.process_id))
            .collect(),
        gid: two_phase.as_ref().map(|commit| commit.gid.clone()),
    }
}

/// To within a tick.
fn statement_since(state: &WorkerState, session: &SessionShared) -> Instant {
    let ticks = state.ticks.get().wrapping_sub(session.busy_since.get());
    let ago = TICK * ticks;
    let now = Instant::now();
    now.checked_sub(ago.max(Duration::ZERO)).unwrap_or(now)
}

/// Only a session that still waits there is cancelled.
pub(super) fn break_deadlock(state: &Rc<WorkerState>, victim: DeadlockVictim) {
    let DeadlockVictim {
        session,
        waits,
        detail,
        chosen,
    } = victim;
    let found = state.sessions.borrow().get(&session).cloned();
    let Some(session) = found.filter(|session| session.status.get() == 0) else {
        let _ = chosen.send(false);
        return;
    };
    let targets: SmallVec<[CancelTarget; 1]> = {
        let targets = session.targets.borrow();
        let waiting = targets
            .iter()
            .filter(|target| waits.contains(&(target.shard, target.process_id)));
        waiting.cloned().collect()
    };
    let is_new = !targets.is_empty() && session.deadlock.borrow().is_none();
    if !targets.is_empty() {
        session.deadlock.replace(Some(detail.into()));
        let state = Rc::clone(state);
        // From now on, not from when the task first runs: the session could have given a connection back by then, and the
        // cancel would meet somebody else's statement.
        let under_way = CancelsUnderWay::of(session);
        tokio::task::spawn_local(async move { deliver_cancels(&state, &targets, under_way).await });
    }
    let _ = chosen.send(is_new);
}
