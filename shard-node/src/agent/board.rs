//! What is known at this moment: written by the agent's tasks, read by its pages.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Agent;
use crate::Server;
use crate::status::{Disk, Status};

/// A look older than this says nothing about now.
const STALE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The data is made, or the server recovers.
    Starting,
    Running,
    Stopping,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinState {
    /// No cluster was named.
    Alone,
    /// A standby does not join: its primary does.
    Standby,
    /// Not yet; what went wrong last, if anything did.
    Joining(Option<String>),
    Joined(u16),
    /// Left the cluster; joins again only when told so.
    Left,
}

/// One look at the server.
#[derive(Debug, Clone)]
pub struct Look {
    pub at: Instant,
    pub found: Result<Status, String>,
    pub disk: Option<Disk>,
}

/// A copy of all that is known.
#[derive(Debug, Clone)]
pub struct View {
    pub name: String,
    /// Path of its file.
    pub membership: PathBuf,
    pub phase: Phase,
    pub restarts: u64,
    pub join: JoinState,
    pub look: Option<Look>,
}

impl View {
    /// What the server said, or why there is nothing to be said.
    pub fn status(&self) -> Result<&Status, &str> {
        match (&self.look, self.phase) {
            (_, Phase::Starting) => Err("starting"),
            (_, Phase::Stopping) => Err("stopping"),
            (None, _) => Err("not looked at yet"),
            (Some(look), _) if look.at.elapsed() > STALE => Err("no look at the server lately"),
            (Some(look), _) => look.found.as_ref().map_err(String::as_str),
        }
    }
}

struct State {
    phase: Phase,
    join: JoinState,
    look: Option<Look>,
    server: Option<Server>,
}

pub struct Board {
    name: String,
    membership: PathBuf,
    state: Mutex<State>,
}

impl Board {
    pub fn new(agent: &Agent) -> Board {
        let join = match &agent.cluster {
            Some(_) => JoinState::Joining(None),
            None => JoinState::Alone,
        };
        let state = State {
            phase: Phase::Starting,
            join,
            look: None,
            server: None,
        };
        Board {
            name: agent.node.name.clone(),
            membership: agent.membership.path.clone(),
            state: Mutex::new(state),
        }
    }

    /// The state is whole between any two statements, also after a panic elsewhere.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn runs(&self, server: Server) {
        let mut state = self.lock();
        state.server = Some(server);
        state.phase = Phase::Running;
    }

    pub fn take_server(&self) -> Option<Server> {
        self.lock().server.take()
    }

    pub fn set_phase(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    pub fn set_look(&self, look: Look) {
        self.lock().look = Some(look);
    }

    pub fn set_join(&self, join: JoinState) {
        self.lock().join = join;
    }

    pub fn view(&self) -> View {
        let state = self.lock();
        View {
            name: self.name.clone(),
            membership: self.membership.clone(),
            phase: state.phase,
            restarts: state.server.as_ref().map_or(0, Server::restarts),
            join: state.join.clone(),
            look: state.look.clone(),
        }
    }

    /// Whether the last look found a server that takes writes; none: not known.
    pub fn is_primary(&self) -> Option<bool> {
        let view = self.view();
        view.status().ok().map(Status::is_primary)
    }
}
