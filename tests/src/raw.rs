//! A client that says exactly what a test tells it to, message by message, and notes all it hears.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use router::backend::login::login;
use router::config::Secret;
use router::credentials::Credentials;
use router::stream::Stream;
use tokio::net::TcpStream;
use tokio_postgres::config::Host;
use wire::Format;
use wire::backend::{DataRow, ErrorResponse, RowDescription, tag};
use wire::frontend::{StatementOrPortal, write};

use crate::PATIENCE;

/// A connection by bytes.
pub struct RawClient {
    stream: Stream,
    received: BytesMut,
    /// To be sent by [`RawClient::send`].
    pub out: BytesMut,
    pub process_id: u32,
    pub secret: Vec<u8>,
}

impl RawClient {
    /// Logs in by a connection string of the harness.
    pub async fn connect(url: &str) -> RawClient {
        let config: tokio_postgres::Config = url.parse().expect("the harness's own URL");
        let Some(Host::Tcp(host)) = config.get_hosts().first() else {
            panic!("{url}: no host");
        };
        let address = (host.as_str(), config.get_ports()[0]);
        let tcp = TcpStream::connect(address).await.expect("it listens");
        let mut stream = Stream::Tcp(tcp);
        let password = config.get_password().unwrap_or_default();
        let password = String::from_utf8_lossy(password).into_owned();
        let logged_in = login(
            &mut stream,
            config.get_user().unwrap_or_default(),
            config.get_dbname().unwrap_or_default(),
            &[("client_encoding", "UTF8")],
            &Credentials::Password(Secret(password)),
            PATIENCE,
        )
        .await
        .unwrap_or_else(|error| panic!("{url}: {error}"));
        RawClient {
            stream,
            received: logged_in.leftover,
            out: BytesMut::new(),
            process_id: logged_in.process_id,
            secret: logged_in.secret,
        }
    }

    /// Parse (unnamed), Bind with text parameters, Execute; no Sync.
    pub fn extended(&mut self, text: &str, parameters: &[&str], format: Format) -> &mut Self {
        self.parse("", text).bind("", parameters, format);
        self.describe_portal().execute(0)
    }

    pub fn parse(&mut self, name: &str, text: &str) -> &mut Self {
        write::parse(&mut self.out, name.as_bytes(), text.as_bytes(), []).expect("few types");
        self
    }

    /// Binds the unnamed portal.
    pub fn bind(&mut self, name: &str, parameters: &[&str], format: Format) -> &mut Self {
        let parameters: Vec<_> = parameters
            .iter()
            .map(|value| (Format::Text, Some(value.as_bytes())))
            .collect();
        let name = name.as_bytes();
        write::bind(&mut self.out, b"", name, &parameters, &[format]).expect("few parameters");
        self
    }

    pub fn describe_portal(&mut self) -> &mut Self {
        write::describe(&mut self.out, StatementOrPortal::Portal, b"");
        self
    }

    pub fn describe_statement(&mut self, name: &str) -> &mut Self {
        write::describe(&mut self.out, StatementOrPortal::Statement, name.as_bytes());
        self
    }

    pub fn execute(&mut self, max_rows: i32) -> &mut Self {
        write::execute(&mut self.out, b"", max_rows);
        self
    }

    pub fn sync(&mut self) -> &mut Self {
        write::sync(&mut self.out);
        self
    }

    pub fn query(&mut self, text: &str) -> &mut Self {
        write::query(&mut self.out, text.as_bytes());
        self
    }

    pub async fn send(&mut self) {
        self.try_send().await.expect("the peer listens");
    }

    /// As [`RawClient::send`], for a peer that may be gone.
    pub async fn try_send(&mut self) -> std::io::Result<()> {
        let out = std::mem::take(&mut self.out);
        self.stream.send(&out).await
    }

    /// The next message: its tag, and all its bytes.
    pub async fn message(&mut self) -> (u8, Bytes) {
        tokio::time::timeout(PATIENCE, self.next_message())
            .await
            .expect("a message in time")
    }

    async fn next_message(&mut self) -> (u8, Bytes) {
        self.next_or_end().await.expect("the peer has not closed")
    }

    /// None: the peer has closed.
    pub async fn next_or_end(&mut self) -> Option<(u8, Bytes)> {
        loop {
            let header = wire::header::peek(&self.received, wire::header::MAX_MESSAGE);
            if let Some(header) = header.expect("a well formed message")
                && self.received.len() >= header.length
            {
                let message = self.received.split_to(header.length).freeze();
                return Some((header.tag, message));
            }
            if !matches!(self.stream.receive(&mut self.received).await, Ok(1..)) {
                return None;
            }
        }
    }

    /// Sends what waits, and notes all up to `ready` ReadyForQuery messages, or the peer's closing.
    pub async fn transcript(&mut self, ready: usize) -> Vec<String> {
        self.send().await;
        let mut notes = Vec::new();
        let mut left = ready;
        while left > 0 {
            let next = tokio::time::timeout(PATIENCE, self.next_or_end()).await;
            let Some((tag, message)) = next.expect("a message in time") else {
                notes.push("closed by the peer".to_owned());
                return notes;
            };
            left -= usize::from(tag == tag::READY_FOR_QUERY);
            notes.extend(note(tag, &message[5..]));
        }
        notes
    }

    /// Sends what waits, and notes all that comes until nothing has come for `quiet`, or the peer has
    /// closed: then the last note is `closed by the peer`.
    pub async fn heard(&mut self, quiet: Duration) -> Vec<String> {
        // A peer that has closed shows when we read.
        let out = std::mem::take(&mut self.out);
        let _ = self.stream.send(&out).await;
        let mut notes = Vec::new();
        loop {
            match tokio::time::timeout(quiet, self.next_or_end()).await {
                Ok(Some((tag, message))) => notes.extend(note(tag, &message[5..])),
                Ok(None) => {
                    notes.push("closed by the peer".to_owned());
                    return notes;
                }
                Err(_) => return notes,
            }
        }
    }

    /// Nothing comes within `time`.
    pub async fn is_silent(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.next_message())
            .await
            .is_err()
    }
}

/// A message in words, without what may differ between servers (oids of tables, errors' places in
/// the source, notices' order).
fn note(tag: u8, body: &[u8]) -> Option<String> {
    Some(match tag {
        tag::ROW_DESCRIPTION => {
            let description = RowDescription::parse(body).expect("well formed");
            let field = |field: wire::backend::Field<'_>| {
                let name = String::from_utf8_lossy(field.name).into_owned();
                format!("{name}:{}:{}", field.type_oid, field.format.code())
            };
            format!(
                "columns {:?}",
                description.fields().map(field).collect::<Vec<_>>()
            )
        }
        tag::DATA_ROW => {
            let row = DataRow::parse(body).expect("well formed");
            let value = |value: Option<&[u8]>| value.map(|v| v.escape_ascii().to_string());
            format!("row {:?}", row.iter().map(value).collect::<Vec<_>>())
        }
        tag::ERROR_RESPONSE => {
            let error = ErrorResponse::parse(body).expect("well formed");
            format!("error {} {}", error.sqlstate(), error.message())
        }
        tag::COMMAND_COMPLETE => {
            let text = body.strip_suffix(b"\0").unwrap_or(body);
            format!("complete {}", String::from_utf8_lossy(text))
        }
        tag::READY_FOR_QUERY => format!("ready {}", char::from(body[0])),
        tag::PARSE_COMPLETE => "parsed".to_owned(),
        tag::BIND_COMPLETE => "bound".to_owned(),
        tag::CLOSE_COMPLETE => "closed".to_owned(),
        tag::PORTAL_SUSPENDED => "suspended".to_owned(),
        tag::NO_DATA => "no data".to_owned(),
        tag::EMPTY_QUERY_RESPONSE => "empty".to_owned(),
        tag::PARAMETER_STATUS => return None,
        other => format!("message {}", char::from(other)),
    })
}
