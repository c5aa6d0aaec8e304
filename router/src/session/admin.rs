//! Sessions of the admin database, in both query protocols. SHOW uses no server connection, so it works when shards do
//! not.

use std::sync::Arc;

use bytes::BytesMut;
use wire::backend::{Severity, TransactionStatus, write};
use wire::frontend::{self, StatementOrPortal, tag as t};

use crate::admin::{AdminState, Command, reply};
use crate::cancel::CancelHandle;
use crate::error::RouterError;
use crate::handshake::Handshaken;
use crate::stream::Stream;

/// Bytes of one message; a SHOW is short.
const LONGEST_MESSAGE: usize = 64 * 1024;
const READ_BYTES: usize = 4 * 1024;

/// Told to clients as ParameterStatus; drivers ask for these.
const PARAMETERS: [(&str, &str); 6] = [
    (
        "server_version",
        concat!("15.0 (oskol ", env!("CARGO_PKG_VERSION"), ")"),
    ),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("standard_conforming_strings", "on"),
    ("integer_datetimes", "on"),
];

/// Serves one client of the admin database until it leaves.
pub async fn serve(state: Arc<AdminState>, handshaken: Box<Handshaken>, cancel: CancelHandle) {
    let Handshaken {
        stream,
        received,
        user,
        ..
    } = *handshaken;
    let mut session = AdminSession {
        state,
        stream,
        out: BytesMut::new(),
        statement: None,
        skipping: false,
    };
    if !session.state.admits(&user) {
        let text = format!("role \"{user}\" may not use the admin database");
        let refused = RouterError::new("42501", text)
            .hint("Name it in admin.users, or connect as the cluster's own user.");
        super::answer::error_response(&mut session.out, Severity::Fatal, &refused);
    } else {
        session.greet(&cancel);
        // An end without Terminate is an end as well.
        let _ = session.run(received).await;
    }
    let _ = session.flush().await;
    session.stream.close().await;
}

struct AdminSession {
    state: Arc<AdminState>,
    stream: Stream,
    out: BytesMut,
    /// Prepared and bound last; one is enough for SHOW.
    statement: Option<Command>,
    skipping: bool,
}

impl AdminSession {
    fn greet(&mut self, cancel: &CancelHandle) {
        for (name, value) in PARAMETERS {
            write::parameter_status(&mut self.out, name.as_bytes(), value.as_bytes());
        }
        let key = cancel.key();
        write::backend_key_data(&mut self.out, key.process_id, &key.secret);
        self.ready();
    }

    fn ready(&mut self) {
        write::ready_for_query(&mut self.out, TransactionStatus::Idle);
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.stream.send(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    async fn run(&mut self, mut received: BytesMut) -> std::io::Result<()> {
        loop {
            while let Some(message) = next_message(&mut received)? {
                if message[0] == t::TERMINATE {
                    return Ok(());
                }
                self.message(message[0], &message).await;
            }
            self.flush().await?;
            received.reserve(READ_BYTES);
            if self.stream.receive(&mut received).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn message(&mut self, tag: u8, message: &[u8]) {
        if self.skipping && tag != t::SYNC {
            return;
        }
        let outcome = match tag {
            t::QUERY => {
                let outcome = self.query(&message[5..]).await;
                self.answer(outcome);
                self.ready();
                return;
            }
            t::SYNC => {
                self.skipping = false;
                self.ready();
                Ok(())
            }
            _ => self.extended(tag, &message[5..]).await,
        };
        self.skipping = outcome.is_err();
        self.answer(outcome);
    }

    fn answer(&mut self, outcome: Result<(), RouterError>) {
        if let Err(error) = outcome {
            super::answer::error_response(&mut self.out, Severity::Error, &error);
        }
    }

    async fn query(&mut self, body: &[u8]) -> Result<(), RouterError> {
        let text = String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body));
        match crate::admin::command::run(&text, &self.state).await? {
            Some(table) => reply::reply(&table, &mut self.out),
            None => write::empty_query_response(&mut self.out),
        }
        Ok(())
    }

    async fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), RouterError> {
        match tag {
            t::PARSE => {
                let parse = frontend::Parse::parse(body).map_err(protocol)?;
                self.statement = Command::parse(&String::from_utf8_lossy(parse.query))?;
                write::parse_complete(&mut self.out);
            }
            t::BIND => write::bind_complete(&mut self.out),
            t::CLOSE => write::close_complete(&mut self.out),
            t::DESCRIBE => self.describe(body)?,
            t::EXECUTE => match &self.statement {
                Some(command) => reply::rows(&command.run(&self.state).await?, &mut self.out),
                None => write::empty_query_response(&mut self.out),
            },
            t::FLUSH => {}
            _ => {
                return Err(RouterError::new(
                    "08P01",
                    "the admin database takes queries only",
                ));
            }
        }
        Ok(())
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), RouterError> {
        let describe = frontend::Describe::parse(body).map_err(protocol)?;
        if describe.kind == StatementOrPortal::Statement {
            write::parameter_description(&mut self.out, []);
        }
        match &self.statement {
            Some(command) => reply::describe(command.columns(), &mut self.out),
            None => write::no_data(&mut self.out),
        }
        Ok(())
    }
}

/// The first whole message of what was received; its header is part of it.
fn next_message(received: &mut BytesMut) -> std::io::Result<Option<BytesMut>> {
    let header = wire::header::peek(received, LONGEST_MESSAGE).map_err(std::io::Error::other)?;
    match header {
        Some(header) if received.len() >= header.length => {
            Ok(Some(received.split_to(header.length)))
        }
        _ => Ok(None),
    }
}

fn protocol(error: wire::ProtocolError) -> RouterError {
    RouterError::new(error.sqlstate(), error.to_string())
}
