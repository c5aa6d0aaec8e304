//! Accepts connections and hands each to the worker that has the fewest.
//!
//! Owns the listening sockets. Takes [`ListenConfig`], workers and a shutdown signal. Reads not a
//! byte: the handshake is the worker's, and so is saying "too many clients", which must wait for the
//! startup packet, because a CancelRequest is welcome even then. Must never know a protocol.

mod unix;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpListener;

use crate::config::ListenConfig;
use crate::shutdown::Shutdown;
use crate::worker::{ClientSocket, Peer, WorkerHandle};
use unix::UnixSocket;

/// Connections that the kernel may hold for us; it lowers this to net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// Silence after which a client's host is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Pauses after an error that is not of one connection (no file descriptors, no memory).
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Connections beyond twice `max_clients`: handshakes, cancel requests, and refusals under way.
const SPARE_CONNECTIONS: usize = 100;

/// Why an address cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {source}")]
    Tcp {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("cannot listen on the Unix socket {}: {source}", path.display())]
    Unix { path: PathBuf, source: io::Error },
    #[error("no address to listen on")]
    Nothing,
}

/// Bound sockets: clients that come now wait until [`Listeners::serve`] runs.
#[derive(Debug)]
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<UnixSocket>,
    limit: usize,
}

/// Binds and serves until shutdown is requested; see [`bind`] and [`Listeners::serve`].
pub async fn listen(
    config: &ListenConfig,
    workers: &[WorkerHandle],
    shutdown: Shutdown,
) -> Result<(), ListenError> {
    bind(config)?.serve(workers, shutdown).await;
    Ok(())
}

/// Binds all addresses of `config`; needs a tokio runtime. A Unix socket is named by the port of
/// the first address that was bound.
pub fn bind(config: &ListenConfig) -> Result<Listeners, ListenError> {
    let bound: Result<Vec<_>, _> = config.addresses.iter().copied().map(bind_tcp).collect();
    let tcp = bound?;
    let port = tcp
        .first()
        .and_then(|first| first.local_addr().ok())
        .map(|a| a.port());
    let unix = match (&config.unix_socket_directory, port) {
        (Some(directory), Some(port)) => Some(UnixSocket::bind(directory, port)?),
        _ => None,
    };
    if tcp.is_empty() && unix.is_none() {
        return Err(ListenError::Nothing);
    }
    let limit = config
        .max_clients
        .saturating_mul(2)
        .saturating_add(SPARE_CONNECTIONS);
    Ok(Listeners { tcp, unix, limit })
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            // `[::]` and `0.0.0.0` may stand side by side, as in PostgreSQL.
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source| ListenError::Tcp { address, source })
}

impl Listeners {
    /// The addresses that were bound; with the port that the system chose for port 0.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Accepts until shutdown is requested; then closes the sockets.
    pub async fn serve(self, workers: &[WorkerHandle], mut shutdown: Shutdown) {
        let accepting = self.accept_all(workers);
        tokio::select! {
            () = accepting => {}
            () = shutdown.requested() => {}
        }
    }

    async fn accept_all(&self, workers: &[WorkerHandle]) {
        let connections = Arc::new(AtomicUsize::new(0));
        let mut pause = FIRST_PAUSE;
        loop {
            match poll_fn(|cx| self.poll_accept(cx)).await {
                Ok((socket, peer)) => {
                    pause = FIRST_PAUSE;
                    self.hand_over(socket, peer, workers, &connections);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(ClientSocket, Peer)>> {
        for listener in &self.tcp {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.and_then(|(stream, address)| {
                    tune(&stream);
                    Ok((ClientSocket::Tcp(stream.into_std()?), Peer::Tcp(address)))
                }));
            }
        }
        match &self.unix {
            Some(unix) => unix.poll_accept(cx),
            None => Poll::Pending,
        }
    }

    fn hand_over(
        &self,
        socket: ClientSocket,
        peer: Peer,
        workers: &[WorkerHandle],
        connections: &Arc<AtomicUsize>,
    ) {
        if connections.load(Ordering::Relaxed) >= self.limit {
            tracing::warn!(%peer, limit = self.limit, "too many connections: closed unanswered");
            return;
        }
        let Some(worker) = workers.iter().min_by_key(|worker| worker.connections()) else {
            return;
        };
        if worker.hand_over(socket, peer, connections).is_err() {
            tracing::warn!(%peer, "the worker has ended: connection closed");
        }
    }
}

/// What cannot be set is not worth a connection.
fn tune(stream: &tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
}

/// Errors of a connection that died in the queue; accept(2) says to go on with the next.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::Interrupted
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::HostUnreachable
            | Kind::TimedOut
            | Kind::InvalidInput
    )
}

#[cfg(test)]
mod tests;
