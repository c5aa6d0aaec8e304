//! One byte stream to a client or a shard: TCP, Unix socket or TLS over TCP.
//!
//! Owns the socket and nothing else: no buffer, no protocol. Gives tokio's `AsyncRead` and
//! `AsyncWrite`, and the same thing without futures (`try_*`, `ready`) for loops that wait for
//! several sockets at once. Variants are public so that the hot path can use a socket's own
//! methods. Must never know a message or a setting.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// Bytes that one read of a TLS stream asks for: the longest TLS record.
const TLS_READ_BYTES: usize = 16 * 1024;

/// A stream to a client.
pub type ClientStream = Stream;

/// TCP, Unix or TLS; the TLS states are boxed so that a plain stream stays small.
#[derive(Debug)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// The router is the TLS client: a stream to a shard.
    TlsClient(Box<client::TlsStream<TcpStream>>),
    /// The router is the TLS server: a stream to a client.
    TlsServer(Box<server::TlsStream<TcpStream>>),
}

/// Runs `$body` with `$stream` bound to whatever the variant holds.
macro_rules! each {
    ($self:expr, $stream:ident => $body:expr) => {
        match $self {
            Stream::Tcp($stream) => $body,
            Stream::Unix($stream) => $body,
            Stream::TlsClient($stream) => $body,
            Stream::TlsServer($stream) => $body,
        }
    };
}

impl Stream {
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::TlsClient(_) | Self::TlsServer(_))
    }

    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// The certificate (DER) that the other side showed, if it showed one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let certificates = match self {
            Self::TlsClient(tls) => tls.get_ref().1.peer_certificates(),
            Self::TlsServer(tls) => tls.get_ref().1.peer_certificates(),
            Self::Tcp(_) | Self::Unix(_) => None,
        }?;
        certificates.first().map(AsRef::as_ref)
    }

    /// The TCP socket at the bottom; none for a Unix socket.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) => None,
            Self::TlsClient(tls) => Some(tls.get_ref().0),
            Self::TlsServer(tls) => Some(tls.get_ref().0),
        }
    }

    /// Sends small messages at once (no Nagle delay); nothing to do for a Unix socket.
    pub fn set_nodelay(&self) -> io::Result<()> {
        self.tcp().map_or(Ok(()), |tcp| tcp.set_nodelay(true))
    }

    /// Waits until the socket below may be ready. For TLS call it only after a `try_` method said
    /// `WouldBlock`: decrypted bytes may wait above the socket.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(tcp) => tcp.ready(interest).await,
            Self::Unix(unix) => unix.ready(interest).await,
            Self::TlsClient(tls) => tls.get_ref().0.ready(interest).await,
            Self::TlsServer(tls) => tls.get_ref().0.ready(interest).await,
        }
    }

    /// Appends what can be read without waiting; `Ok(0)` is the end, `WouldBlock` nothing yet.
    pub fn try_read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_read_buf(buffer),
            Self::Unix(unix) => unix.try_read_buf(buffer),
            Self::TlsClient(tls) => try_read_tls(tls.as_mut(), buffer),
            Self::TlsServer(tls) => try_read_tls(tls.as_mut(), buffer),
        }
    }

    /// Writes what can be written without waiting. TLS may keep the bytes until
    /// [`Self::try_flush`].
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_write(bytes),
            Self::Unix(unix) => unix.try_write(bytes),
            Self::TlsClient(tls) => now(|cx| Pin::new(tls.as_mut()).poll_write(cx, bytes)),
            Self::TlsServer(tls) => now(|cx| Pin::new(tls.as_mut()).poll_write(cx, bytes)),
        }
    }

    /// Pushes out what TLS has kept; `WouldBlock` when the socket takes no more.
    pub fn try_flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::TlsClient(tls) => now(|cx| Pin::new(tls.as_mut()).poll_flush(cx)),
            Self::TlsServer(tls) => now(|cx| Pin::new(tls.as_mut()).poll_flush(cx)),
        }
    }

    /// Writes all of `bytes` and flushes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        use tokio::io::AsyncWriteExt as _;
        self.write_all(bytes).await?;
        self.flush().await
    }

    /// Appends at least one byte to `buffer`; `Ok(0)` is the end of the stream.
    pub async fn receive(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        use tokio::io::AsyncReadExt as _;
        self.read_buf(buffer).await
    }

    /// Says goodbye (TLS close_notify, FIN); errors are of no interest any more.
    pub async fn close(mut self) {
        let _ = poll_fn(|cx| Pin::new(&mut self).poll_shutdown(cx)).await;
    }
}

/// One poll that nobody is woken by: `Pending` becomes `WouldBlock`.
fn now<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<T>>) -> io::Result<T> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

fn try_read_tls<S: AsyncRead + Unpin>(tls: &mut S, buffer: &mut BytesMut) -> io::Result<usize> {
    let start = buffer.len();
    buffer.resize(start + TLS_READ_BYTES, 0);
    let mut read = ReadBuf::new(&mut buffer[start..]);
    let outcome = now(|cx| Pin::new(tls).poll_read(cx, &mut read));
    let count = read.filled().len();
    buffer.truncate(start + count);
    outcome.map(|()| count)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
