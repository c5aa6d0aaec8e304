//! From an accepted connection to an authenticated client.
//!
//! Takes a stream; answers SSLRequest and GSSENCRequest, reads the startup packet, authenticates;
//! gives [`Handshaken`], after AuthenticationOk. What follows (ParameterStatus, BackendKeyData,
//! ReadyForQuery) is the session's. Errors are those of PostgreSQL, FATAL, and are sent here.
//! Must never know a statement or a server connection.
//!
//! All of it happens within one time limit and one small buffer, so that a slow or silly client
//! costs little and not for long.

mod authenticate;
mod channel;
mod encryption;
mod options;
mod secrets;
mod startup;
pub mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::cancel::CancelRegistry;
use crate::config::{ClientAuth, ClientTlsMode};
use crate::credentials::Credentials;
use crate::error::RouterError;
use crate::scram;
use crate::seats::{Seat, Seats};
use crate::stream::ClientStream;
use crate::worker::Peer;
use channel::{Channel, FirstPacket};
pub use secrets::{RoleSecret, RoleSecrets};
use startup::Startup;
pub use tls::ServerTls;

/// The newest protocol 3.x that is spoken; 3.2 only makes cancel keys longer, if one wants.
const NEWEST_MINOR: u16 = 2;
/// The admin database, which an operator must reach when all seats are taken.
pub const ADMIN_DATABASE: &str = "oskol";
/// How long a client may take to take its last error, after which it is cut off.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What all handshakes of the process share.
pub struct HandshakeContext {
    pub auth: ClientAuth,
    pub tls: ServerTls,
    /// For the whole, from accept to AuthenticationOk.
    pub timeout: Duration,
    pub secrets: Arc<dyn RoleSecrets>,
    pub cancels: Arc<CancelRegistry>,
    pub seats: Arc<Seats>,
    /// This process's own random ([`new_mock_secret`]): salts of roles that do not exist.
    pub mock_secret: scram::Key,
}

/// For [`HandshakeContext::mock_secret`].
pub fn new_mock_secret() -> scram::Key {
    rand::random()
}

/// An authenticated client that has been told AuthenticationOk and nothing after it.
#[derive(Debug)]
pub struct Handshaken {
    pub stream: ClientStream,
    /// Bytes that the client sent ahead.
    pub received: BytesMut,
    pub user: String,
    pub database: String,
    /// Settings of the startup packet: those in `options` first, as PostgreSQL applies them. Names
    /// as typed; none of user, database, options, replication.
    pub parameters: Vec<(String, String)>,
    /// For log-ins to shards.
    pub credentials: Credentials,
    /// Protocol 3.x.
    pub protocol_minor: u16,
    /// None for the admin database.
    pub seat: Option<Seat>,
}

/// How a connection's beginning ended well.
#[derive(Debug)]
pub enum Accepted {
    Session(Box<Handshaken>),
    /// It was a CancelRequest, which has been delivered; the connection is closed.
    Cancel,
}

/// How it did not. The client has been told what it may know, and the connection is closed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the client left during the handshake")]
    Left,
    #[error("the connection broke during the handshake: {0}")]
    Io(#[from] io::Error),
    #[error("no TLS with the client: {0}")]
    Tls(#[source] io::Error),
    #[error("the client did not finish the handshake in time")]
    TimedOut,
    /// No client of ours, or a broken one; PostgreSQL does not answer these either.
    #[error("{0}")]
    Garbage(wire::ProtocolError),
    #[error("{0}")]
    Refused(RouterError),
}

impl From<RouterError> for HandshakeError {
    fn from(error: RouterError) -> Self {
        Self::Refused(error)
    }
}

/// A refusal with PostgreSQL's text.
fn refused(sqlstate: &'static str, message: impl Into<String>) -> HandshakeError {
    HandshakeError::Refused(RouterError::new(sqlstate, message))
}

/// Runs the handshake of one connection. On an error the client has been answered.
pub async fn accept(
    stream: ClientStream,
    peer: Peer,
    context: &HandshakeContext,
) -> Result<Accepted, HandshakeError> {
    let mut channel = Channel::new(stream);
    let run = run(&mut channel, peer, context);
    let outcome = tokio::time::timeout(context.timeout, run).await;
    let agreed = match outcome.unwrap_or(Err(HandshakeError::TimedOut)) {
        Ok(agreed) => agreed,
        Err(error) => {
            let _ = tokio::time::timeout(LAST_WORDS, channel.refuse(&error)).await;
            return Err(error);
        }
    };
    let Some(agreed) = agreed else {
        let _ = tokio::time::timeout(LAST_WORDS, channel.close()).await;
        return Ok(Accepted::Cancel);
    };
    let (stream, received) = channel.into_parts()?;
    let Agreed {
        startup,
        credentials,
        seat,
    } = agreed;
    Ok(Accepted::Session(Box::new(Handshaken {
        stream,
        received,
        user: startup.user,
        database: startup.database,
        parameters: startup.parameters,
        credentials,
        protocol_minor: startup.minor,
        seat,
    })))
}

struct Agreed {
    startup: Startup,
    credentials: Credentials,
    seat: Option<Seat>,
}

/// None: it was a cancel request.
async fn run(
    channel: &mut Channel,
    peer: Peer,
    context: &HandshakeContext,
) -> Result<Option<Agreed>, HandshakeError> {
    let (minor, pairs) = match encryption::settle(channel, &context.tls).await? {
        FirstPacket::Start { minor, pairs } => (minor, pairs),
        FirstPacket::Cancel { process_id, secret } => {
            context.cancels.cancel(process_id, &secret).await;
            return Ok(None);
        }
        // Once answered they are no longer requests but unknown versions, as in PostgreSQL.
        FirstPacket::Ssl => return Err(unsupported_version(wire::startup::SSL_REQUEST)),
        FirstPacket::Gss => return Err(unsupported_version(wire::startup::GSS_REQUEST)),
    };
    require_tls(channel, &context.tls)?;
    let startup = Startup::parse(minor, &pairs)?;
    channel.set_started();
    if minor > NEWEST_MINOR || !startup.unknown_options.is_empty() {
        channel
            .negotiate(NEWEST_MINOR, &startup.unknown_options)
            .await?;
    }
    let seat = take_seat(&startup, &context.seats)?;
    let credentials = authenticate::authenticate(channel, &startup, peer, context).await?;
    Ok(Some(Agreed {
        startup,
        credentials,
        seat,
    }))
}

fn take_seat(startup: &Startup, seats: &Arc<Seats>) -> Result<Option<Seat>, HandshakeError> {
    match seats.take() {
        Some(seat) if startup.database != ADMIN_DATABASE => Ok(Some(seat)),
        None if startup.database != ADMIN_DATABASE => {
            Err(refused("53300", "sorry, too many clients already"))
        }
        _ => Ok(None),
    }
}

/// PostgreSQL's `hostssl`: a Unix socket needs no encryption.
fn require_tls(channel: &Channel, tls: &ServerTls) -> Result<(), HandshakeError> {
    if tls.mode() != ClientTlsMode::Require || channel.is_private() {
        return Ok(());
    }
    let error = RouterError::new("28000", "connection without encryption is not accepted")
        .hint("Connect with sslmode=require or stronger.");
    Err(error.into())
}

fn unsupported_version(code: u32) -> HandshakeError {
    let (major, minor) = (code >> 16, code & 0xffff);
    let supported = format!("server supports 3.0 to 3.{NEWEST_MINOR}");
    refused(
        "0A000",
        format!("unsupported frontend protocol {major}.{minor}: {supported}"),
    )
}
