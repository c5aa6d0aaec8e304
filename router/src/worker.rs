//! What a worker thread is told: its inbox, and the handle that others hold of it.
//!
//! Owns the messages and the count of connections on each worker; must never know what a worker
//! does with them. The loop that reads the inbox is the worker's own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::stream::ClientStream;
use topology::ShardId;

/// A session's name within the process: the process id that its client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// The other end of a client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    Unix,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("[local]"),
        }
    }
}

/// An accepted socket on its way to a worker, bound to no runtime; non-blocking.
#[derive(Debug)]
pub enum ClientSocket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl ClientSocket {
    /// Binds the socket to the runtime of the calling thread.
    pub fn into_stream(self) -> io::Result<ClientStream> {
        Ok(match self {
            Self::Tcp(socket) => ClientStream::Tcp(TcpStream::from_std(socket)?),
            Self::Unix(socket) => ClientStream::Unix(UnixStream::from_std(socket)?),
        })
    }
}

/// A connection, before its handshake.
#[derive(Debug)]
pub struct NewClient {
    pub socket: ClientSocket,
    pub peer: Peer,
    /// To be kept as long as the connection is open.
    pub place: Place,
}

/// Counts a connection on its worker and in the process; uncounted when dropped.
#[derive(Debug)]
pub struct Place {
    on_worker: Arc<AtomicUsize>,
    in_process: Arc<AtomicUsize>,
}

impl Place {
    fn take(on_worker: &Arc<AtomicUsize>, in_process: &Arc<AtomicUsize>) -> Self {
        on_worker.fetch_add(1, Ordering::Relaxed);
        in_process.fetch_add(1, Ordering::Relaxed);
        Self {
            on_worker: Arc::clone(on_worker),
            in_process: Arc::clone(in_process),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.on_worker.fetch_sub(1, Ordering::Relaxed);
        self.in_process.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a worker is asked to do.
#[derive(Debug)]
pub enum WorkerMessage {
    NewClient(NewClient),
    /// Cancel what `session` runs on its shards. The session must keep its server connections until
    /// every cancel was delivered ([`crate::cancel::deliver`]), so that none can hit the statement
    /// of the next client; then `delivered` is sent or dropped.
    Cancel {
        session: SessionId,
        delivered: oneshot::Sender<()>,
    },
    /// Close the idle server connections to a database that is about to be dropped.
    CloseIdle {
        database: String,
    },
    /// Which sessions wait for more than one shard, and for long: perhaps for one another.
    Stalled(oneshot::Sender<Vec<StalledSession>>),
    /// End a deadlock: cancel what the session runs, as far as it still does.
    BreakDeadlock(DeadlockVictim),
    /// Whether nothing of a database can be on its way to a shard whose buckets are about to move. Once it is so, what its
    /// sessions would begin waits, until the database lets go.
    Drained {
        database: Arc<str>,
        shard: ShardId,
        answer: oneshot::Sender<bool>,
    },
    /// The figures behind SHOW CLIENTS, POOLS, SERVERS and TRANSACTIONS.
    Report(oneshot::Sender<WorkerReport>),
    /// End idle sessions now, the others after their transaction; then the worker.
    Shutdown,
}

/// A session that uses several server connections and got no answer for a while.
#[derive(Debug, Clone)]
pub struct StalledSession {
    pub session: SessionId,
    /// Since when its transaction is open, or its statement runs.
    pub since: Instant,
    /// Server processes in use: shard, and `pg_stat_activity.pid`.
    pub backends: Vec<(ShardId, u32)>,
    /// Of its two-phase commit, once that is under way.
    pub gid: Option<String>,
}

/// The session that is to end a deadlock.
#[derive(Debug)]
pub struct DeadlockVictim {
    pub session: SessionId,
    /// Where it waits.
    pub waits: Vec<(ShardId, u32)>,
    /// DETAIL of the error.
    pub detail: String,
    /// Whether the session was found, and not chosen before.
    pub chosen: oneshot::Sender<bool>,
}

/// One worker's sessions and server connections.
#[derive(Debug, Clone, Default)]
pub struct WorkerReport {
    pub clients: Vec<ClientReport>,
    pub pools: Vec<PoolReport>,
    pub servers: Vec<ServerReport>,
    pub transactions: Vec<TransactionReport>,
}

/// A line of SHOW CLIENTS.
#[derive(Debug, Clone)]
pub struct ClientReport {
    pub session: SessionId,
    pub user: String,
    pub database: String,
    pub application_name: String,
    pub peer: Peer,
    pub tls: bool,
    /// `idle`, `active`, `idle in transaction`, `waiting`.
    pub state: &'static str,
    pub connected: Duration,
    pub shards: Vec<ShardId>,
}

/// A line of SHOW POOLS: one shard's server connections on one worker.
#[derive(Debug, Clone)]
pub struct PoolReport {
    pub shard: ShardId,
    pub idle: usize,
    pub leased: usize,
    pub waiting: usize,
}

/// A line of SHOW SERVERS: one server connection.
#[derive(Debug, Clone)]
pub struct ServerReport {
    pub shard: ShardId,
    pub user: String,
    pub database: String,
    /// Of the server's process, as in `pg_stat_activity.pid`.
    pub process_id: u32,
    pub tls: bool,
    /// Who leases it; none: it is idle.
    pub session: Option<SessionId>,
    pub connected: Duration,
    /// Since it was last given back; zero while it is leased.
    pub idle: Duration,
}

/// A line of SHOW TRANSACTIONS: a transaction open at a session.
#[derive(Debug, Clone)]
pub struct TransactionReport {
    pub session: SessionId,
    pub user: String,
    pub database: String,
    /// `open`, `failed`, `preparing`, `committing`.
    pub state: &'static str,
    /// Once it is committed by two-phase commit.
    pub gid: Option<String>,
    pub shards: Vec<ShardId>,
    pub age: Duration,
}

/// The worker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker has ended")]
pub struct WorkerGone;

/// Where others reach a worker. The queue has no length of its own: a client's connection puts at
/// most one message into it, and connections are bounded.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    inbox: mpsc::UnboundedSender<WorkerMessage>,
    connections: Arc<AtomicUsize>,
}

/// The worker's own end.
pub type WorkerInbox = mpsc::UnboundedReceiver<WorkerMessage>;

impl WorkerHandle {
    pub fn new() -> (Self, WorkerInbox) {
        let (inbox, messages) = mpsc::unbounded_channel();
        (
            Self {
                inbox,
                connections: Arc::default(),
            },
            messages,
        )
    }

    pub fn send(&self, message: WorkerMessage) -> Result<(), WorkerGone> {
        self.inbox.send(message).map_err(|_| WorkerGone)
    }

    /// Hands a connection over; `in_process` counts all connections.
    pub fn hand_over(
        &self,
        socket: ClientSocket,
        peer: Peer,
        in_process: &Arc<AtomicUsize>,
    ) -> Result<(), WorkerGone> {
        let place = Place::take(&self.connections, in_process);
        self.send(WorkerMessage::NewClient(NewClient {
            socket,
            peer,
            place,
        }))
    }

    /// Connections on this worker, those in handshake included.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
