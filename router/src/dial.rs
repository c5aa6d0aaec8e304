//! Opens byte streams to shards: TCP or Unix socket, and TLS as libpq's `sslmode` says.
//!
//! Takes: a [`ShardConfig`] of one host, [`ShardTls`] and a time limit. Gives: a [`Stream`] on which the startup
//! message comes next. Must never know: users, passwords, what is said on the stream.

mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{ClusterConfig, ShardConfig, ShardTls, SslMode};
use crate::failover::Primaries;
pub use crate::stream::Stream;

/// "SSLRequest", PostgreSQL manual, section 55.7: length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What is sent and not acknowledged for so long has a dead peer. Keepalive does not see that: it is for idle
/// connections, and the kernel by itself sends again for a quarter of an hour, in which locks would be held and
/// transactions left in doubt.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// A silent peer is found dead after about two minutes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// Why a shard cannot be reached. Messages name the address, never a secret.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("cannot resolve {address}: {source}")]
    Resolve { address: String, source: io::Error },
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("no connection to {address} within {} ms", .limit.as_millis())]
    Timeout { address: String, limit: Duration },
    #[error("{address} does not accept TLS, and the TLS mode asks for it")]
    TlsRefused { address: String },
    #[error("TLS with {address} failed: {source}")]
    Tls { address: String, source: io::Error },
    #[error("TLS is not usable: {0}")]
    TlsSetup(String),
}

/// Opens streams to the shards of one cluster; reads certificates once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Dialer {
    mode: SslMode,
    /// `None`: the mode is `Disable`.
    tls: Option<Arc<ClientConfig>>,
    limit: Duration,
    /// Of shards with several hosts.
    primaries: Primaries,
}

impl Dialer {
    /// # Errors
    /// [`DialError::TlsSetup`]: the root certificates cannot be read.
    pub fn new(cluster: &ClusterConfig) -> Result<Self, DialError> {
        Self::with(&cluster.tls, cluster.connect_timeout)
    }

    fn with(tls: &ShardTls, limit: Duration) -> Result<Self, DialError> {
        let client = match tls.mode {
            SslMode::Disable => None,
            _ => Some(tls::client_config(tls)?),
        };
        Ok(Self {
            mode: tls.mode,
            tls: client,
            limit,
            primaries: Primaries::default(),
        })
    }

    /// Which host of a shard to dial.
    pub(crate) fn primaries(&self) -> &Primaries {
        &self.primaries
    }

    /// Connects, and does TLS where the mode asks for it, all within the limit. On a Unix socket the
    /// mode does not matter, as with libpq.
    pub async fn dial(&self, shard: &ShardConfig) -> Result<Stream, DialError> {
        let elapsed = |_| DialError::Timeout {
            address: address(shard),
            limit: self.limit,
        };
        tokio::time::timeout(self.limit, self.open(shard))
            .await
            .map_err(elapsed)?
    }

    async fn open(&self, shard: &ShardConfig) -> Result<Stream, DialError> {
        if shard.host.starts_with('/') {
            return open_unix(shard).await.map(Stream::Unix);
        }
        let mut stream = open_tcp(shard).await?;
        let Some(tls) = &self.tls else {
            return Ok(Stream::Tcp(stream));
        };
        if !accepts_tls(&mut stream, shard).await? {
            return match self.mode {
                SslMode::Prefer => Ok(Stream::Tcp(stream)),
                _ => Err(DialError::TlsRefused {
                    address: address(shard),
                }),
            };
        }
        match (start_tls(stream, shard, Arc::clone(tls)).await, self.mode) {
            (Ok(stream), _) => Ok(Stream::TlsClient(Box::new(stream))),
            // A stream cannot be used again after a failed handshake; a new one can.
            (Err(_), SslMode::Prefer) => open_tcp(shard).await.map(Stream::Tcp),
            (Err(error), _) => Err(error),
        }
    }
}

/// One connection to a shard; see [`Dialer::dial`], which is the cheaper way to open many.
pub async fn dial(
    shard: &ShardConfig,
    tls: &ShardTls,
    timeout: Duration,
) -> Result<Stream, DialError> {
    Dialer::with(tls, timeout)?.dial(shard).await
}

/// Where a shard is, for messages: `host:port`, or the path of its socket.
#[must_use]
pub fn address(shard: &ShardConfig) -> String {
    if shard.host.starts_with('/') {
        return format!(
            "{}/.s.PGSQL.{}",
            shard.host.trim_end_matches('/'),
            shard.port
        );
    }
    format!("{}:{}", shard.host, shard.port)
}

async fn open_unix(shard: &ShardConfig) -> Result<UnixStream, DialError> {
    let address = address(shard);
    UnixStream::connect(&address)
        .await
        .map_err(|source| DialError::Connect { address, source })
}

async fn open_tcp(shard: &ShardConfig) -> Result<TcpStream, DialError> {
    let host = (shard.host.as_str(), shard.port);
    let resolve = |source| DialError::Resolve {
        address: address(shard),
        source,
    };
    let mut failure = io::Error::other("the name has no address");
    for candidate in tokio::net::lookup_host(host).await.map_err(resolve)? {
        match TcpStream::connect(candidate).await.and_then(tuned) {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(DialError::Connect {
        address: address(shard),
        source: failure,
    })
}

fn tuned(stream: TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(stream)
}

async fn accepts_tls(stream: &mut TcpStream, shard: &ShardConfig) -> Result<bool, DialError> {
    let failed = |source| DialError::Tls {
        address: address(shard),
        source,
    };
    stream.write_all(&SSL_REQUEST).await.map_err(failed)?;
    // Exactly one byte is read: bytes sent ahead of the handshake by someone in between must meet the
    // TLS decoder and fail there (CVE-2021-23222).
    Ok(stream.read_u8().await.map_err(failed)? == b'S')
}

async fn start_tls(
    stream: TcpStream,
    shard: &ShardConfig,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, DialError> {
    let failed = |source| DialError::Tls {
        address: address(shard),
        source,
    };
    let name = tls::server_name(&shard.host)?;
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .map_err(failed)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_acknowledges_nothing_is_given_up() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener.expect("a free port");
        let shard = ShardConfig {
            id: topology::ShardId(0),
            host: "127.0.0.1".into(),
            port: listener.local_addr().expect("bound").port(),
            weight: 1.0,
            patroni: None,
        };
        let stream = open_tcp(&shard).await.expect("somebody listens");
        let limit = SockRef::from(&stream).tcp_user_timeout();
        assert_eq!(limit.expect("an option"), Some(UNACKNOWLEDGED));
    }
}
