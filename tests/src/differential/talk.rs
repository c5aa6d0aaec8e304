//! Statements sent, answers heard: over one connection, in either protocol.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use wire::Format;
use wire::backend::{DataRow, ErrorResponse, RowDescription, tag};
use wire::frontend::{StatementOrPortal, write};

use super::sql::Text;
use super::types::Literal;
use crate::RawClient;

/// A statement that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Oids below are the same on every server.
const FIRST_USER_OID: u32 = 16384;

/// How a statement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Extended(Extended),
    /// DECLARE, FETCH, FETCH ALL, in a transaction of its own.
    Cursor,
    /// COPY (...) TO STDOUT.
    Copy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extended {
    /// Under a name, as drivers prepare.
    pub named: bool,
    /// Parameters where possible, and results.
    pub binary: bool,
    /// Three rows first, then the rest.
    pub paged: bool,
}

/// A column of a result, told alike on all servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// Oid, or the name of a user's type.
    pub type_: String,
    pub modifier: i32,
}

pub type Row = Vec<Option<Bytes>>;

/// All that one statement is answered by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub columns: Option<Vec<Column>>,
    pub rows: Vec<Row>,
    pub tag: Option<String>,
    pub error: Option<ServerError>,
    /// Of ReadyForQuery: I, T or E.
    pub state: char,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    pub sqlstate: String,
    pub message: String,
    pub detail: String,
    /// PostgreSQL's routine, or the router's id of a refusal.
    pub routine: String,
}

impl Answer {
    /// The router's id, where it refuses the statement.
    pub fn refusal(&self) -> Option<&str> {
        let error = self.error.as_ref()?;
        let by_router = error.routine.contains('-') && !error.routine.contains('_');
        (error.sqlstate == "0A000" && by_router).then_some(error.routine.as_str())
    }
}

impl Answer {
    /// Rows of COPY become rows of fields.
    fn split_lines(&mut self) {
        for row in &mut self.rows {
            let line = row[0].take().unwrap_or_default();
            let fields = line
                .strip_suffix(b"\n")
                .unwrap_or(&line)
                .split(|byte| *byte == b'\t');
            let value = |field: &[u8]| (field != b"\\N").then(|| line.slice_ref(field));
            *row = fields.map(value).collect();
        }
    }

    /// Rows of text.
    pub fn lines(&self) -> Vec<String> {
        let error = self
            .error
            .iter()
            .map(|error| format!("{} {} {}", error.sqlstate, error.message, error.detail));
        let rows = self.rows.iter().map(|row| {
            let values = row.iter().map(|value| match value {
                Some(value) => String::from_utf8_lossy(value).into_owned(),
                None => "NULL".to_owned(),
            });
            let values: Vec<_> = values.collect();
            values.join(" | ")
        });
        error.chain(rows).collect()
    }

    /// As [`Answer::lines`], with columns and tag, of the first `rows` rows.
    pub fn shown(&self, rows: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let columns = self.columns.iter().flatten();
        let columns: Vec<_> = columns
            .map(|column| format!("{}:{}:{}", column.name, column.type_, column.modifier))
            .collect();
        lines.push(columns.join(" | "));
        lines.extend(self.lines().into_iter().take(rows));
        lines.push(format!(
            "{} rows, {:?}, state {}",
            self.rows.len(),
            self.tag,
            self.state
        ));
        lines
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Silence {
    #[error("the connection was closed")]
    Closed,
    #[error("no answer within {} s", PATIENCE.as_secs())]
    TimedOut,
}

/// A connection, and the names of its server's own types.
pub struct Connection {
    client: RawClient,
    type_names: HashMap<u32, String>,
}

impl Connection {
    pub async fn open(url: &str) -> Connection {
        let client = RawClient::connect(url).await;
        let type_names = HashMap::new();
        Connection { client, type_names }
    }

    /// Learns the names of the types that the tables brought.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn learn_types(&mut self) -> Result<(), Silence> {
        let sql = "select oid, typname from pg_type where oid >= 16384";
        let text = |value: &Option<Bytes>| {
            let bytes = value.as_deref().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let answer = self.query(sql).await?;
        let rows = answer.rows.iter();
        self.type_names = rows
            .map(|row| (text(&row[0]).parse().unwrap_or_default(), text(&row[1])))
            .collect();
        Ok(())
    }

    /// A simple query.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn query(&mut self, sql: &str) -> Result<Answer, Silence> {
        self.client.query(sql);
        self.answer().await
    }

    /// Sends a statement and hears the answer.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn run(&mut self, text: &Text, protocol: Protocol) -> Result<Answer, Silence> {
        match protocol {
            Protocol::Simple => self.query(&text.sql).await,
            Protocol::Extended(how) => {
                self.extended(text, how);
                self.answer().await
            }
            Protocol::Copy => {
                let mut answer = self
                    .query(&format!("copy ({}) to stdout", text.sql))
                    .await?;
                answer.split_lines();
                Ok(answer)
            }
            Protocol::Cursor => self.by_cursor(text).await,
        }
    }

    /// The columns that Describe of a statement tells: those of a portal may know more of constants.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn described(&mut self, text: &Text) -> Result<Answer, Silence> {
        let out = &mut self.client.out;
        let types = text.declared_types();
        write::parse(out, b"", text.sql.as_bytes(), types).expect("few parameters");
        write::describe(out, StatementOrPortal::Statement, b"");
        write::sync(out);
        self.answer().await
    }

    async fn by_cursor(&mut self, text: &Text) -> Result<Answer, Silence> {
        let declare = format!("declare c no scroll cursor for {}", text.sql);
        let mut whole = Answer::default();
        for sql in ["begin", &declare, "fetch 3 from c", "fetch all from c"] {
            let answer = self.query(sql).await?;
            whole.rows.extend(answer.rows);
            whole.columns = answer.columns.or(whole.columns);
            whole.tag = answer.tag;
            whole.error = answer.error;
            if whole.error.is_some() {
                break;
            }
        }
        whole.state = self.query("rollback").await?.state;
        Ok(whole)
    }

    fn extended(&mut self, text: &Text, how: Extended) {
        let Extended {
            named,
            binary,
            paged,
        } = how;
        let name: &[u8] = if named { b"s" } else { b"" };
        let out = &mut self.client.out;
        if named {
            write::close(out, StatementOrPortal::Statement, name);
        }
        let types = text.declared_types();
        write::parse(out, name, text.sql.as_bytes(), types).expect("few parameters");
        let values: Vec<_> = text
            .parameters
            .iter()
            .map(|value| encoded(value, binary))
            .collect();
        let parameters: Vec<_> = values
            .iter()
            .map(|(format, value)| (*format, value.as_deref()))
            .collect();
        let format = if binary { Format::Binary } else { Format::Text };
        write::bind(out, b"", name, &parameters, &[format]).expect("few parameters");
        write::describe(out, StatementOrPortal::Portal, b"");
        if paged {
            write::execute(out, b"", 3);
        }
        write::execute(out, b"", 0);
        write::sync(out);
    }

    async fn answer(&mut self) -> Result<Answer, Silence> {
        let heard = tokio::time::timeout(PATIENCE, self.hear()).await;
        heard.unwrap_or(Err(Silence::TimedOut))
    }

    async fn hear(&mut self) -> Result<Answer, Silence> {
        self.client.try_send().await.map_err(|_| Silence::Closed)?;
        let mut answer = Answer::default();
        loop {
            let message = self.client.next_or_end().await;
            let (tag, message) = message.ok_or(Silence::Closed)?;
            self.note(&mut answer, tag, &message);
            if tag == tag::READY_FOR_QUERY {
                answer.state = char::from(message[5]);
                return Ok(answer);
            }
        }
    }

    fn note(&self, answer: &mut Answer, tag: u8, message: &Bytes) {
        let body = &message[5..];
        match tag {
            tag::ROW_DESCRIPTION => answer.columns = Some(self.columns(body)),
            tag::DATA_ROW => {
                let row = DataRow::parse(body).expect("well formed");
                let value = |value: Option<&[u8]>| value.map(|value| message.slice_ref(value));
                answer.rows.push(row.iter().map(value).collect());
            }
            tag::COPY_DATA => answer.rows.push(vec![Some(message.slice(5..))]),
            tag::COMMAND_COMPLETE => {
                let text = body.strip_suffix(b"\0").unwrap_or(body);
                answer.tag = Some(String::from_utf8_lossy(text).into_owned());
            }
            tag::ERROR_RESPONSE => answer.error = Some(error(body)),
            _ => {}
        }
    }

    fn columns(&self, body: &[u8]) -> Vec<Column> {
        let description = RowDescription::parse(body).expect("well formed");
        let column = |field: wire::backend::Field<'_>| Column {
            name: String::from_utf8_lossy(field.name).into_owned(),
            type_: self.type_name(field.type_oid),
            modifier: field.type_modifier,
        };
        description.fields().map(column).collect()
    }

    fn type_name(&self, oid: u32) -> String {
        match self.type_names.get(&oid) {
            Some(name) if oid >= FIRST_USER_OID => name.clone(),
            _ => oid.to_string(),
        }
    }
}

fn encoded(literal: &Literal, binary: bool) -> (Format, Option<Vec<u8>>) {
    match literal.binary() {
        Some(bytes) if binary => (Format::Binary, Some(bytes)),
        _ => (Format::Text, literal.value.clone().map(String::into_bytes)),
    }
}

fn error(body: &[u8]) -> ServerError {
    let error = ErrorResponse::parse(body).expect("well formed");
    let field =
        |code: u8| String::from_utf8_lossy(error.field(code).unwrap_or_default()).into_owned();
    ServerError {
        sqlstate: error.sqlstate().to_owned(),
        message: error.message().into_owned(),
        detail: field(b'D'),
        routine: field(b'R'),
    }
}
