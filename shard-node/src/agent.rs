//! The agent: looks after one server in the foreground. Makes or adopts its data, runs it, tells how it is over HTTP,
//! takes it into a cluster, and stops it in order.
//!
//! Takes an [`Agent`] and a future that ends when it shall stop. It knows one thing of the cluster: the address at
//! which a shard is announced. It must never know what a router does with it.

mod board;
pub mod call;
mod http;
mod join;
mod membership;
mod metrics;
mod watch;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};

pub use board::{JoinState, Phase};
pub use call::{CallError, Endpoint};
pub use join::{Announcement, ClusterAccess, JoinError, leave};
pub use membership::{Membership, Record, State};

use crate::access;
use crate::{Error, InitOptions, Result, Server, ShardNode, Stop};
use board::Board;

/// Recovery after a crash reads up to max_wal_size and more.
const START_PATIENCE: Duration = Duration::from_secs(600);
const FIRST_ANSWER: Duration = Duration::from_secs(30);

/// What to look after, and how.
#[derive(Debug, Clone)]
pub struct Agent {
    pub node: ShardNode,
    pub init: InitOptions,
    /// Networks whose clients may log in, as `pg_hba.conf` names them: `10.0.0.0/8`, `samenet`, `all`.
    pub allow: Vec<String>,
    /// Of `/health` and `/metrics`; none: not served.
    pub health_address: Option<SocketAddr>,
    /// The cluster to join; none: the server stays by itself.
    pub cluster: Option<(ClusterAccess, Announcement)>,
    /// Where it is kept whether the server belongs to a cluster.
    pub membership: Membership,
}

impl Agent {
    /// Runs until `stop` ends; then the server has been stopped in order. `ready` is called once the server accepts
    /// connections.
    ///
    /// # Errors
    /// The health address cannot be had, the data directory cannot be made or adopted, or the server does not start.
    /// After the start no error ends the agent: a server that dies is started again, a router is asked again.
    pub async fn run(self, stop: impl Future<Output = ()>, ready: impl FnOnce()) -> Result<()> {
        let board = Arc::new(Board::new(&self));
        let mut helpers = Helpers::default();
        if let Some(address) = self.health_address {
            let listener = http::bind(address).await?;
            helpers.spawn(http::serve(listener, Arc::clone(&board)));
        }
        tokio::pin!(stop);
        let server = tokio::select! {
            server = self.start() => server?,
            // Nothing runs yet that could be asked to stop; the kernel signals the server at our end.
            () = &mut stop => return Ok(()),
        };
        board.runs(server);
        ready();
        helpers.spawn(watch::watch(self.node.clone(), Arc::clone(&board)));
        if let Some((access, announcement)) = self.cluster {
            let joining = join::join(access, announcement, self.membership, Arc::clone(&board));
            helpers.spawn(joining);
        }
        stop.await;
        board.set_phase(Phase::Stopping);
        if let Some(server) = board.take_server() {
            // A panic there has been printed, and the server gets the signal of its parent's death.
            let _ = spawn_blocking(move || server.stop(Stop::Fast)).await;
        }
        Ok(())
    }

    async fn start(&self) -> Result<Server> {
        let (node, init, allow) = (self.node.clone(), self.init.clone(), self.allow.clone());
        let started = spawn_blocking(move || {
            node.make_or_adopt(&init)?;
            access::write(&node, &allow)?;
            node.start(START_PATIENCE)
        });
        let server = started.await.map_err(|panic| Error::NotStarted {
            name: self.node.name.clone(),
            log: panic.to_string(),
        })??;
        self.check_password().await.map(|()| server)
    }

    /// An adopted server may have another password than the one that was given.
    async fn check_password(&self) -> Result<()> {
        match self.node.health(FIRST_ANSWER).await {
            Err(Error::NoAnswer { source, .. }) if is_wrong_password(&source) => {
                Err(Error::WrongPassword {
                    path: self.node.data_directory.clone(),
                })
            }
            // Anything else is told by the health page, and may pass.
            _ => Ok(()),
        }
    }
}

fn is_wrong_password(error: &tokio_postgres::Error) -> bool {
    use tokio_postgres::error::SqlState;
    let code = error.code();
    code == Some(&SqlState::INVALID_PASSWORD)
        || code == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
}

/// Tasks that end with their owner.
#[derive(Default)]
struct Helpers(Vec<JoinHandle<()>>);

impl Helpers {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.push(tokio::spawn(task));
    }
}

impl Drop for Helpers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}
