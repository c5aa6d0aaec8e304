//! One connection to a shard's PostgreSQL: its socket, buffers and what state it carries.
//!
//! Takes messages to send; gives messages received. Must never know: plans, clients, pools.

pub mod card;
pub mod connect;
pub mod login;
pub mod prepared;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use topology::ShardId;

use crate::permits::Permit;
use crate::settings::{Interner, Parameters, Settings};
use crate::standbys::Link;
use crate::stream::Stream;
use card::Card;
use connect::Account;
use prepared::PreparedStatements;

/// Bytes asked for by one read.
const READ_BYTES: usize = 32 * 1024;

/// A connection that cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("the connection to shard {0} was lost: {1}")]
    Lost(ShardId, #[source] io::Error),
    #[error("shard {0} sent a malformed message: {1}")]
    Protocol(ShardId, wire::ProtocolError),
}

/// Why an internal query gave no rows.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The whole ErrorResponse message.
    #[error("the shard refused an internal statement")]
    Refused(Bytes),
}

/// One whole message from a shard.
#[derive(Debug, Clone)]
pub struct Message {
    pub tag: u8,
    /// Tag, length and body.
    pub bytes: Bytes,
}

impl Message {
    pub fn body(&self) -> &[u8] {
        &self.bytes[5..]
    }
}

#[derive(Debug)]
pub struct Server {
    pub stream: Stream,
    /// Received, not yet looked at.
    pub inbuf: BytesMut,
    /// To be sent.
    pub outbuf: BytesMut,
    /// NotificationResponses that came among replies to the router's own statements: for the client.
    pub notifications: BytesMut,
    pub shard: ShardId,
    pub process_id: u32,
    pub secret: Vec<u8>,
    pub parameters: Rc<Parameters>,
    pub settings: Rc<Settings>,
    pub prepared: PreparedStatements,
    /// Status of the last ReadyForQuery: `I`, `T` or `E`.
    pub status: u8,
    /// The connection is out of step, or its state is unknown: close it, never pool it.
    pub broken: bool,
    pub opened: Instant,
    pub idle_since: Instant,
    /// Whose connection this is.
    pub account: Rc<Account>,
    /// Leave to exist, under the limit of connections per shard.
    pub permit: Option<Permit>,
    /// Of this router, by which the shard has let it in (`DatabaseState::life`).
    pub life: u64,
    /// Set by the pool that has opened it.
    pub card: Option<Rc<Card>>,
    /// Of a connection to a standby.
    pub link: Option<Link>,
}

impl Server {
    pub fn new(stream: Stream, shard: ShardId, account: Rc<Account>, statements: usize) -> Self {
        let now = Instant::now();
        Self {
            stream,
            inbuf: BytesMut::new(),
            outbuf: BytesMut::new(),
            notifications: BytesMut::new(),
            shard,
            process_id: 0,
            secret: Vec::new(),
            parameters: Rc::default(),
            settings: Rc::default(),
            prepared: PreparedStatements::new(statements),
            status: b'I',
            broken: false,
            opened: now,
            idle_since: now,
            account,
            permit: None,
            life: 0,
            card: None,
            link: None,
        }
    }

    /// One statement of a client's goes there.
    pub fn count_statement(&self) {
        if let Some(card) = &self.card {
            card.count_statement();
        }
    }

    /// It reads at a standby, or did before that was promoted.
    pub fn is_of_standby(&self) -> bool {
        self.account.standby.is_some()
    }

    /// In step, outside a transaction, with nothing left to send or to read.
    pub fn is_clean(&self) -> bool {
        !self.broken && self.status == b'I' && self.inbuf.is_empty() && self.outbuf.is_empty()
    }

    /// Whether the shard has not closed an idle connection, as far as is known by now. Costs no system call while nothing
    /// has come; what has come is kept.
    pub fn is_open(&mut self) -> bool {
        loop {
            self.inbuf.reserve(1024);
            match self.stream.try_read_buf(&mut self.inbuf) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        // While nobody asks, the only error is FATAL: the server's last words.
        self.inbuf.first() != Some(&wire::backend::tag::ERROR_RESPONSE)
    }

    /// Sends what is in `outbuf` and waits until at least one byte has come in. Both go on at the
    /// same time, so that two full pipes cannot wait for one another.
    pub async fn exchange(&mut self) -> Result<(), ServerError> {
        let result = poll_fn(|cx| self.poll_exchange(cx)).await;
        result.map_err(|error| self.lost(error))
    }

    /// As [`Self::exchange`], for callers that wait for something else as well.
    pub fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)?;
        if self.inbuf.capacity() - self.inbuf.len() < READ_BYTES / 2 {
            self.inbuf.reserve(READ_BYTES);
        }
        match poll_read(&mut self.stream, cx, &mut self.inbuf) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Writes as much of `outbuf` as the socket takes.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.outbuf.is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.outbuf) {
                Poll::Ready(Ok(count)) => self.outbuf.advance(count),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => return Ok(()),
            }
        }
        if self.stream.is_tls()
            && let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            return Err(error);
        }
        Ok(())
    }

    /// Sends all of `outbuf`; what comes in meanwhile is kept.
    pub async fn send(&mut self) -> Result<(), ServerError> {
        let result = poll_fn(|cx| {
            self.poll_send(cx)?;
            if self.outbuf.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.inbuf.reserve(READ_BYTES);
            match poll_read(&mut self.stream, cx, &mut self.inbuf) {
                Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Poll::Ready(Ok(_)) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        result.map_err(|error: io::Error| self.lost(error))
    }

    fn lost(&mut self, error: io::Error) -> ServerError {
        self.broken = true;
        ServerError::Lost(self.shard, error)
    }

    /// Header of the first message in `inbuf`, when there.
    pub fn peek(&mut self) -> Result<Option<wire::header::Header>, ServerError> {
        wire::header::peek(&self.inbuf, wire::header::MAX_MESSAGE).map_err(|error| {
            self.broken = true;
            ServerError::Protocol(self.shard, error)
        })
    }

    /// The next whole message, waiting for it. ParameterStatus is recorded; ReadyForQuery sets
    /// `status`.
    pub async fn message(&mut self, intern: &Interner<Parameters>) -> Result<Message, ServerError> {
        loop {
            if let Some(header) = self.peek()? {
                if self.inbuf.len() >= header.length {
                    let bytes = self.inbuf.split_to(header.length).freeze();
                    if header.tag == wire::backend::tag::NOTIFICATION_RESPONSE {
                        self.notifications.extend_from_slice(&bytes);
                        continue;
                    }
                    self.note(header.tag, &bytes[5..], intern);
                    return Ok(Message {
                        tag: header.tag,
                        bytes,
                    });
                }
                let missing = header.length - self.inbuf.len();
                self.inbuf.reserve(missing);
            }
            self.exchange().await?;
        }
    }

    /// Records what a message says of the connection's state.
    pub fn note(&mut self, tag: u8, body: &[u8], intern: &Interner<Parameters>) {
        match tag {
            b'Z' => self.status = body.first().copied().unwrap_or(b'I'),
            b'S' => self.note_parameter(body, intern),
            _ => {}
        }
    }

    fn note_parameter(&mut self, body: &[u8], intern: &Interner<Parameters>) {
        let mut parts = body.split(|byte| *byte == 0);
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return;
        };
        let mut parameters = Parameters::clone(&self.parameters);
        parameters.values.insert(
            String::from_utf8_lossy(name).into_owned(),
            String::from_utf8_lossy(value).into_owned(),
        );
        self.parameters = intern.intern(parameters);
    }

    /// Queues a simple query. PostgreSQL forgets the unnamed statement with it.
    pub fn queue_query(&mut self, text: &[u8]) {
        self.prepared.unnamed = None;
        wire::frontend::write::query(&mut self.outbuf, text);
    }

    /// Queues a whole Query message.
    pub fn queue_query_message(&mut self, message: &[u8]) {
        self.prepared.unnamed = None;
        self.outbuf.extend_from_slice(message);
    }

    /// Runs a simple query of the router's own and returns its rows as text.
    ///
    /// With several statements the rows of all of them follow one another. On a refusal the
    /// connection is in step again (ReadyForQuery was read).
    pub async fn query(
        &mut self,
        sql: &str,
        intern: &Interner<Parameters>,
    ) -> Result<Vec<Vec<Option<String>>>, QueryError> {
        self.queue_query(sql.as_bytes());
        self.rows_until_ready(intern).await
    }

    /// Reads the rest of a simple query's reply.
    pub async fn rows_until_ready(
        &mut self,
        intern: &Interner<Parameters>,
    ) -> Result<Vec<Vec<Option<String>>>, QueryError> {
        let mut rows = Vec::new();
        let mut refusal = None;
        loop {
            let message = self.message(intern).await?;
            match message.tag {
                b'D' => rows.push(self.text_row(message.body())?),
                b'E' => refusal = refusal.or(Some(message.bytes)),
                b'Z' => break,
                _ => {}
            }
        }
        refusal.map_or(Ok(rows), |bytes| Err(QueryError::Refused(bytes)))
    }

    fn text_row(&self, body: &[u8]) -> Result<Vec<Option<String>>, ServerError> {
        let row = wire::backend::DataRow::parse(body)
            .map_err(|error| ServerError::Protocol(self.shard, error))?;
        Ok(row
            .iter()
            .map(|value| value.map(|v| String::from_utf8_lossy(v).into_owned()))
            .collect())
    }
}

/// One poll of a read that appends to `buffer`; the future is cancel safe, so it may be made anew
/// at each poll.
pub fn poll_read(
    stream: &mut Stream,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let read = stream.read_buf(buffer);
    std::pin::pin!(read).poll(cx)
}
