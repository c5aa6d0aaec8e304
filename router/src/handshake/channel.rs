//! The client's stream while nothing is agreed: reads packets within bounds, writes answers.

use bytes::BytesMut;
use wire::backend::{Report, Severity, write};
use wire::{frontend, header, startup};

use super::{HandshakeError, refused};
use crate::error::RouterError;
use crate::stream::Stream;

/// Longest message during authentication, in bytes, as PostgreSQL (PG_MAX_AUTH_TOKEN_LENGTH is for
/// GSSAPI; a SASL message may have 1024, PG_MAX_SASL_MESSAGE_LENGTH; a password the same).
const MAX_MESSAGE: usize = 1024 + header::LENGTH;

/// Name and value of a startup packet's field.
pub(super) type Pair = (Box<[u8]>, Box<[u8]>);

/// A packet without a tag.
#[derive(Debug)]
pub(super) enum FirstPacket {
    Ssl,
    Gss,
    Cancel { process_id: u32, secret: Vec<u8> },
    Start { minor: u16, pairs: Vec<Pair> },
}

impl From<startup::Startup<'_>> for FirstPacket {
    fn from(packet: startup::Startup<'_>) -> Self {
        match packet {
            startup::Startup::Ssl => Self::Ssl,
            startup::Startup::Gss => Self::Gss,
            startup::Startup::Cancel { process_id, secret } => Self::Cancel {
                process_id,
                secret: secret.to_vec(),
            },
            startup::Startup::Start { minor, parameters } => {
                let pairs = parameters
                    .iter()
                    .map(|(name, value)| (name.into(), value.into()));
                Self::Start {
                    minor,
                    pairs: pairs.collect(),
                }
            }
        }
    }
}

pub(super) struct Channel {
    /// None while TLS is being negotiated, and after that has failed.
    stream: Option<Stream>,
    received: BytesMut,
    /// The startup packet was read: from now on a client that is too slow is told so.
    started: bool,
}

impl Channel {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            received: BytesMut::new(),
            started: false,
        }
    }

    pub(super) fn set_started(&mut self) {
        self.started = true;
    }

    pub(super) fn stream(&mut self) -> Result<&mut Stream, HandshakeError> {
        self.stream.as_mut().ok_or(HandshakeError::Left)
    }

    /// For TLS to wrap; see [`Self::put_stream`].
    pub(super) fn take_stream(&mut self) -> Option<Stream> {
        self.stream.take()
    }

    pub(super) fn put_stream(&mut self, stream: Stream) {
        self.stream = Some(stream);
    }

    pub(super) fn is_tls(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_tls)
    }

    /// Nobody can listen: TLS, or a Unix socket.
    pub(super) fn is_private(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| stream.is_tls() || stream.is_unix())
    }

    /// Bytes have come in that nobody has looked at.
    pub(super) fn has_unread(&self) -> bool {
        !self.received.is_empty()
    }

    pub(super) fn into_parts(self) -> Result<(Stream, BytesMut), HandshakeError> {
        // A copy: the handshake's buffer would live as long as the session otherwise.
        let received = BytesMut::from(&self.received[..]);
        Ok((self.stream.ok_or(HandshakeError::Left)?, received))
    }

    pub(super) async fn first_packet(&mut self) -> Result<FirstPacket, HandshakeError> {
        loop {
            match startup::parse(&self.received, startup::MAX_PACKET) {
                Ok(Some((packet, length))) => {
                    let packet = FirstPacket::from(packet);
                    let _ = self.received.split_to(length);
                    return Ok(packet);
                }
                Ok(None) => self.receive().await?,
                Err(error @ wire::ProtocolError::StartupLength { .. }) => {
                    return Err(HandshakeError::Garbage(error));
                }
                Err(error) => return Err(refused(error.sqlstate(), error.to_string())),
            }
        }
    }

    /// The body of the client's next message, which must be a password or SASL message; `wanted`
    /// says which, for the error.
    pub(super) async fn answer(&mut self, wanted: &str) -> Result<BytesMut, HandshakeError> {
        loop {
            let found = header::peek(&self.received, MAX_MESSAGE);
            match found.map_err(HandshakeError::Garbage)? {
                Some(found) if found.tag != frontend::tag::PASSWORD => {
                    let message = format!("expected {wanted}, got message type {}", found.tag);
                    return Err(refused("08P01", message));
                }
                Some(found) if self.received.len() >= found.length => {
                    let mut message = self.received.split_to(found.length);
                    return Ok(message.split_off(header::LENGTH));
                }
                _ => self.receive().await?,
            }
        }
    }

    async fn receive(&mut self) -> Result<(), HandshakeError> {
        let stream = self.stream.as_mut().ok_or(HandshakeError::Left)?;
        match stream.receive(&mut self.received).await? {
            0 => Err(HandshakeError::Left),
            _ => Ok(()),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), HandshakeError> {
        Ok(self.stream()?.send(bytes).await?)
    }

    pub(super) async fn negotiate(
        &mut self,
        newest_minor: u16,
        unknown_options: &[String],
    ) -> Result<(), HandshakeError> {
        let names: Vec<&[u8]> = unknown_options.iter().map(String::as_bytes).collect();
        let mut out = BytesMut::new();
        let newest = (3 << 16) | u32::from(newest_minor);
        write::negotiate_protocol_version(&mut out, newest, &names);
        self.send(&out).await
    }

    /// Tells the client why it ends, as far as PostgreSQL would, and closes.
    pub(super) async fn refuse(&mut self, error: &HandshakeError) {
        match error {
            HandshakeError::Refused(error) => self.send_fatal(error).await,
            HandshakeError::TimedOut if self.started => {
                let message = "canceling authentication due to timeout";
                self.send_fatal(&RouterError::new("57014", message)).await;
            }
            // A stranger, or nobody is there to be told.
            _ => {}
        }
        self.close().await;
    }

    async fn send_fatal(&mut self, error: &RouterError) {
        let report = Report {
            severity: Severity::Fatal,
            sqlstate: error.sqlstate,
            message: &error.message,
            detail: error.detail.as_deref().unwrap_or_default(),
            hint: error.hint.as_deref().unwrap_or_default(),
            position: None,
            routine: error.id,
        };
        let mut out = BytesMut::new();
        write::error_response(&mut out, &report);
        // It may have gone already; there is nobody else to tell.
        let _ = self.send(&out).await;
    }

    pub(super) async fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            stream.close().await;
        }
    }
}
