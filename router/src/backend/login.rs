//! Logs in to a shard: startup packet, authentication, and what the server says until it is ready.
//!
//! Takes a connected stream (TLS done) and [`Credentials`]; gives what the server reported. Must
//! never know pools, plans or clients; a server's refusal is handed on byte for byte.

mod authentication;

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use wire::backend::{BackendKeyData, ParameterStatus, tag};
use wire::{ProtocolError, frontend, header};

pub use crate::credentials::Credentials;
use crate::error::RouterError;
use crate::scram::client::ScramClientError;
use crate::stream::Stream;

/// Longest message of a server before it is ready, in bytes: room for an error with all its fields.
const MAX_MESSAGE: usize = 1 << 20;

/// A session on a shard, ready for a query.
pub struct LoggedIn {
    /// Values of ParameterStatus, in the order sent.
    pub parameters: Vec<(String, String)>,
    pub process_id: u32,
    /// For CancelRequest; 4 bytes in protocol 3.0.
    pub secret: Vec<u8>,
    /// Received behind ReadyForQuery; empty but for a NOTIFY or a shutdown at that very moment.
    pub leftover: BytesMut,
}

impl std::fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("LoggedIn");
        shown
            .field("process_id", &self.process_id)
            .field("parameters", &self.parameters);
        shown.finish_non_exhaustive()
    }
}

/// Why there is no session on the shard.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The whole ErrorResponse message, tag and length included: for the client as it is.
    #[error("the server refused the log-in: {}", text_of(.0))]
    Refused(Bytes),
    #[error("the connection broke during log-in: {0}")]
    Io(#[from] io::Error),
    #[error("the server did not finish the log-in within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the server broke the protocol during log-in: {0}")]
    Protocol(#[from] ProtocolError),
    #[error("the server sent a message of type 0x{0:02x} during log-in")]
    Unexpected(u8),
    #[error(transparent)]
    Scram(#[from] ScramClientError),
    /// The server asks for something that the credentials cannot give.
    #[error("the server asks for {0}")]
    Method(&'static str),
    #[error("the server asks for a password in clear over an unencrypted connection")]
    ClearPassword,
}

impl LoginError {
    /// What a client is told when there is no ErrorResponse of the server's to hand on.
    pub fn to_router_error(&self, user: &str) -> RouterError {
        let (sqlstate, hint) = match self {
            Self::Refused(_) | Self::Io(_) | Self::TimedOut(_) => ("08006", ""),
            Self::Protocol(_) | Self::Unexpected(_) => ("08P01", ""),
            Self::Scram(ScramClientError::OtherVerifier) => ("28000", SAME_VERIFIER),
            Self::Scram(_) => ("28000", ""),
            Self::Method(_) => ("28000", METHODS),
            Self::ClearPassword => ("28000", "Use TLS towards the shards (cluster.tls)."),
        };
        let error = RouterError::new(sqlstate, format!("cannot log in to a shard as \"{user}\""))
            .detail(capitalized(&self.to_string()));
        if hint.is_empty() {
            error
        } else {
            error.hint(hint)
        }
    }
}

const SAME_VERIFIER: &str = "A role needs the same pg_authid.rolpassword on every shard: set its \
    password anew through the router.";
const METHODS: &str =
    "Let pg_hba.conf on the shards ask the router for scram-sha-256, or trust it.";

/// Logs in within `limit`. `parameters` are further fields of the startup packet, such as
/// `client_encoding`.
pub async fn login(
    stream: &mut Stream,
    user: &str,
    database: &str,
    parameters: &[(&str, &str)],
    credentials: &Credentials,
    limit: Duration,
) -> Result<LoggedIn, LoginError> {
    let mut conversation = Conversation {
        stream,
        received: BytesMut::new(),
    };
    let exchange = async {
        conversation.start(user, database, parameters).await?;
        authentication::authenticate(&mut conversation, user, credentials).await?;
        conversation.until_ready().await
    };
    tokio::time::timeout(limit, exchange)
        .await
        .unwrap_or(Err(LoginError::TimedOut(limit)))
}

/// A server's message: its tag and all its bytes.
struct Message {
    tag: u8,
    bytes: Bytes,
}

impl Message {
    fn body(&self) -> &[u8] {
        &self.bytes[header::LENGTH..]
    }
}

/// The stream and what was read ahead from it.
struct Conversation<'a> {
    stream: &'a mut Stream,
    received: BytesMut,
}

impl Conversation<'_> {
    async fn start(
        &mut self,
        user: &str,
        database: &str,
        parameters: &[(&str, &str)],
    ) -> Result<(), LoginError> {
        let fixed = [("user", user), ("database", database)];
        let all = fixed.iter().chain(parameters);
        let mut out = BytesMut::new();
        frontend::write::startup(&mut out, 0, all.map(|(n, v)| (n.as_bytes(), v.as_bytes())));
        self.send(&out).await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), LoginError> {
        Ok(self.stream.send(bytes).await?)
    }

    /// The next message that is not a notice; an ErrorResponse is an error.
    async fn message(&mut self) -> Result<Message, LoginError> {
        loop {
            let message = self.any_message().await?;
            match message.tag {
                tag::ERROR_RESPONSE => return Err(LoginError::Refused(message.bytes)),
                tag::NOTICE_RESPONSE => {}
                _ => return Ok(message),
            }
        }
    }

    async fn any_message(&mut self) -> Result<Message, LoginError> {
        loop {
            let found = header::peek(&self.received, MAX_MESSAGE)?;
            if let Some(found) = found.filter(|found| self.received.len() >= found.length) {
                let bytes = self.received.split_to(found.length).freeze();
                return Ok(Message {
                    tag: found.tag,
                    bytes,
                });
            }
            if self.stream.receive(&mut self.received).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    async fn until_ready(mut self) -> Result<LoggedIn, LoginError> {
        let (mut parameters, mut process_id, mut secret) = (Vec::new(), 0, Vec::new());
        loop {
            let message = self.message().await?;
            match message.tag {
                tag::PARAMETER_STATUS => parameters.push(parameter(message.body())?),
                tag::BACKEND_KEY_DATA => {
                    let key = BackendKeyData::parse(message.body())?;
                    (process_id, secret) = (key.process_id, key.secret.to_vec());
                }
                tag::READY_FOR_QUERY => break,
                tag::NEGOTIATE_PROTOCOL_VERSION => {}
                other => return Err(LoginError::Unexpected(other)),
            }
        }
        // A copy, so that the log-in's own buffer can go.
        let leftover = BytesMut::from(&self.received[..]);
        Ok(LoggedIn {
            parameters,
            process_id,
            secret,
            leftover,
        })
    }
}

fn parameter(body: &[u8]) -> Result<(String, String), LoginError> {
    let status = ParameterStatus::parse(body)?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(status.name), text(status.value)))
}

/// The message text of an ErrorResponse, for logs.
fn text_of(message: &Bytes) -> String {
    message
        .get(header::LENGTH..)
        .and_then(|body| wire::backend::ErrorResponse::parse(body).ok())
        .map_or_else(String::new, |error| error.message().into_owned())
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(['.']).collect()
}
