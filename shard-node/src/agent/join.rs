//! Takes a server into a cluster, and out of it, by asking a router's admin port.
//!
//! `POST /shards` with the announcement gives `{"shard_id": n}`, the same for the same name however often it is asked.
//! `DELETE /shards/n` gives 202 while the shard's buckets move to others, and 200 once it is out of the cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Method, StatusCode};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::board::{Board, JoinState};
use super::call::{Call, CallError, Endpoint};
use super::membership::{Membership, Record, State};
use crate::Error;

/// The router copies schema, roles and reference tables before it answers.
const JOIN_LIMIT: Duration = Duration::from_secs(300);
const LEAVE_LIMIT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Between two looks at whether the server is a primary, or at how far a draining shard is.
const LOOK: Duration = Duration::from_secs(1);
/// Characters of an answer that are told in an error.
const TOLD: usize = 500;

/// How to reach the cluster.
#[derive(Clone)]
pub struct ClusterAccess {
    /// Admin ports of routers; asked in turn.
    pub routers: Vec<Endpoint>,
    /// What proves that this server may join.
    pub token: String,
}

impl std::fmt::Debug for ClusterAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterAccess")
            .field("routers", &self.routers)
            .finish_non_exhaustive()
    }
}

/// What routers are told of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announcement {
    /// Stays the same when the address changes.
    pub name: String,
    /// As routers reach it.
    pub host: String,
    pub port: u16,
    pub database: String,
    /// Share of the buckets relative to other shards.
    pub weight: f64,
}

#[derive(Deserialize)]
struct Answer {
    shard_id: u16,
}

/// Why a router was asked in vain.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("{router} refuses: {status}: {said}")]
    Refused {
        router: String,
        status: StatusCode,
        said: String,
    },
    #[error("{router} gave an answer that is not understood: {said}")]
    Answer { router: String, said: String },
    #[error("no router is named")]
    NoRouter,
    #[error("still {left} after {seconds} s; it goes on by itself, ask again to see its end")]
    NotYet { left: String, seconds: u64 },
    #[error(transparent)]
    Membership(#[from] Error),
}

/// Announces the server until a router has taken it, first at every start and with growing pauses, then never again.
pub async fn join(
    access: ClusterAccess,
    announcement: Announcement,
    membership: Membership,
    board: Arc<Board>,
) {
    if has_left(&membership) {
        tracing::info!(
            server = announcement.name,
            "has left the cluster; it does not join again"
        );
        return board.set_join(JoinState::Left);
    }
    until_primary(&board).await;
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    for router in access.routers.iter().cycle() {
        match announce(router, &access.token, &announcement, &membership).await {
            Ok(shard) => {
                tracing::info!(server = announcement.name, shard, "joined the cluster");
                board.set_join(JoinState::Joined(shard));
                return until_left(&membership, &board).await;
            }
            Err(error) => {
                let error = error.to_string();
                if error != told {
                    tracing::warn!(
                        server = announcement.name,
                        error,
                        "cannot join yet; trying on"
                    );
                }
                board.set_join(JoinState::Joining(Some(error.clone())));
                told = error;
            }
        }
        // Many servers that start together do not come back together.
        let share = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(pause.mul_f64(share)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn has_left(membership: &Membership) -> bool {
    match membership.read() {
        Ok(record) => record.is_some_and(|record| record.state == State::Left),
        Err(error) => {
            tracing::debug!(%error, "taken as not left");
            false
        }
    }
}

/// `shard-node leave` is another process, which writes the membership down.
async fn until_left(membership: &Membership, board: &Board) {
    while !has_left(membership) {
        tokio::time::sleep(LOOK).await;
    }
    board.set_join(JoinState::Left);
}

/// A standby waits for its promotion.
async fn until_primary(board: &Board) {
    loop {
        match board.is_primary() {
            Some(true) => return board.set_join(JoinState::Joining(None)),
            Some(false) => board.set_join(JoinState::Standby),
            None => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn announce(
    router: &Endpoint,
    token: &str,
    announcement: &Announcement,
    membership: &Membership,
) -> Result<u16, JoinError> {
    let body = serde_json::json!(announcement);
    let call = Call {
        method: Method::POST,
        path: "/shards",
        token: Some(token),
        body: Some(&body),
        limit: JOIN_LIMIT,
    };
    let (status, said) = router.call(&call).await?;
    if status != StatusCode::OK {
        return Err(refused(router, status, &said));
    }
    let answer: Answer = serde_json::from_slice(&said).map_err(|_| JoinError::Answer {
        router: router.authority.clone(),
        said: text(&said),
    })?;
    membership.write(&Record {
        state: State::Joined,
        shard: answer.shard_id,
        name: announcement.name.clone(),
    })?;
    Ok(answer.shard_id)
}

/// Asks the routers to drain the shard and to take it out of the cluster, and waits for the end, at most `patience`.
/// `progress` gets the router's words. What was begun goes on where this ends too early.
///
/// # Errors
/// A router refuses, none can be reached, or it takes longer.
pub async fn leave(
    access: &ClusterAccess,
    record: &Record,
    membership: &Membership,
    patience: Duration,
    mut progress: impl FnMut(&str),
) -> Result<(), JoinError> {
    let started = Instant::now();
    let path = format!("/shards/{}", record.shard);
    loop {
        let (router, status, said) = ask_any(access, &path).await?;
        match status {
            StatusCode::OK => break,
            StatusCode::ACCEPTED => progress(&text(&said)),
            _ => return Err(refused(router, status, &said)),
        }
        if started.elapsed() > patience {
            return Err(JoinError::NotYet {
                left: text(&said),
                seconds: patience.as_secs(),
            });
        }
        tokio::time::sleep(LOOK).await;
    }
    membership.write(&Record {
        state: State::Left,
        ..record.clone()
    })?;
    Ok(())
}

/// The first router that answers.
async fn ask_any<'a>(
    access: &'a ClusterAccess,
    path: &str,
) -> Result<(&'a Endpoint, StatusCode, Bytes), JoinError> {
    let call = Call {
        method: Method::DELETE,
        path,
        token: Some(&access.token),
        body: None,
        limit: LEAVE_LIMIT,
    };
    let mut failure = JoinError::NoRouter;
    for router in &access.routers {
        match router.call(&call).await {
            Ok((status, said)) => return Ok((router, status, said)),
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

fn refused(router: &Endpoint, status: StatusCode, said: &Bytes) -> JoinError {
    JoinError::Refused {
        router: router.authority.clone(),
        status,
        said: text(said),
    }
}

/// The beginning of an answer, for people.
fn text(said: &Bytes) -> String {
    String::from_utf8_lossy(said)
        .trim()
        .chars()
        .take(TOLD)
        .collect()
}
