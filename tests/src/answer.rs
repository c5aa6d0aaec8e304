//! All that a server says to one request, up to ReadyForQuery, in a form that compares with another server's.

use std::fmt;

use bytes::Bytes;
use wire::backend::{DataRow, ErrorResponse, RowDescription, tag};

use crate::RawClient;

/// The fields of an ErrorResponse that two servers must agree on, and the one that names our refusals.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    pub sqlstate: String,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<String>,
    /// The `R` field: a refusal's stable id, or a C function of PostgreSQL.
    pub routine: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`.
    pub modifier: i32,
    /// 0 text, 1 binary.
    pub format: u16,
}

pub type Row = Vec<Option<Vec<u8>>>;

/// What one statement of a string gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    pub columns: Option<Vec<Column>>,
    pub rows: Vec<Row>,
    /// CopyData from the server.
    pub copied: Vec<u8>,
    /// The command tag; none where the statement failed or was suspended.
    pub tag: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    pub outcomes: Vec<Outcome>,
    pub failure: Option<Failure>,
    /// Texts of NOTICEs and WARNINGs.
    pub notices: Vec<String>,
    /// `I`, `T` or `E` of ReadyForQuery.
    pub status: u8,
}

impl Answer {
    /// Sends what waits, and hears the answer up to one ReadyForQuery. Panics where the server is gone or silent.
    pub async fn of(client: &mut RawClient) -> Answer {
        client.send().await;
        let mut answer = Answer::default();
        let mut open = Outcome::default();
        loop {
            let (tag, message) = client.message().await;
            if tag == tag::READY_FOR_QUERY {
                answer.status = message[5];
                break;
            }
            answer.hear(&mut open, tag, &message);
        }
        if open != Outcome::default() && answer.failure.is_none() {
            answer.outcomes.push(open);
        }
        answer
    }

    fn hear(&mut self, open: &mut Outcome, tag: u8, message: &Bytes) {
        let body = &message[5..];
        match tag {
            tag::ROW_DESCRIPTION => open.columns = Some(columns(body)),
            tag::DATA_ROW => {
                let row = DataRow::parse(body).expect("well formed");
                let values = row.iter().map(|value| value.map(<[u8]>::to_vec));
                open.rows.push(values.collect());
            }
            tag::COPY_DATA => open.copied.extend_from_slice(body),
            tag::COMMAND_COMPLETE => {
                let text = body.strip_suffix(b"\0").unwrap_or(body);
                open.tag = Some(String::from_utf8_lossy(text).into_owned());
                self.outcomes.push(std::mem::take(open));
            }
            tag::ERROR_RESPONSE => {
                self.failure = Some(Failure::parse(body));
                *open = Outcome::default();
            }
            tag::NOTICE_RESPONSE => self.notices.push(Failure::parse(body).message),
            _ => {}
        }
    }

    /// The stable id of the router's refusal, where this is one.
    pub fn refusal(&self) -> Option<&str> {
        let failure = self.failure.as_ref()?;
        failure.refusal()
    }
}

impl Failure {
    fn parse(body: &[u8]) -> Failure {
        let error = ErrorResponse::parse(body).expect("well formed");
        let text = |code| {
            let field = error.field(code)?;
            Some(String::from_utf8_lossy(field).into_owned())
        };
        Failure {
            sqlstate: error.sqlstate().to_owned(),
            message: error.message().into_owned(),
            detail: text(b'D'),
            hint: text(b'H'),
            routine: text(b'R').unwrap_or_default(),
        }
    }

    /// The stable id, which also ends the DETAIL of the router's own refusals.
    pub fn refusal(&self) -> Option<&str> {
        let end = format!("[{}]", self.routine);
        let detail = self.detail.as_deref().unwrap_or_default();
        let is_ours = self.sqlstate == "0A000" && detail.ends_with(&end);
        is_ours.then_some(self.routine.as_str())
    }

    /// What a person sees of it.
    pub fn said(&self) -> (&str, &str, Option<&str>, Option<&str>) {
        (
            &self.sqlstate,
            &self.message,
            self.detail.as_deref(),
            self.hint.as_deref(),
        )
    }
}

fn columns(body: &[u8]) -> Vec<Column> {
    let description = RowDescription::parse(body).expect("well formed");
    let column = |field: wire::backend::Field<'_>| Column {
        name: String::from_utf8_lossy(field.name).into_owned(),
        type_oid: field.type_oid,
        modifier: field.type_modifier,
        format: field.format.code(),
    };
    description.fields().map(column).collect()
}

/// Short enough for a failed test's message.
impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 12;
        for outcome in &self.outcomes {
            for column in outcome.columns.iter().flatten() {
                write!(
                    formatter,
                    "[{}:{}:{}] ",
                    column.name, column.type_oid, column.modifier
                )?;
            }
            let count = outcome.rows.len();
            writeln!(
                formatter,
                "{} ({count} rows)",
                outcome.tag.as_deref().unwrap_or("-")
            )?;
            for row in outcome.rows.iter().take(SHOWN) {
                writeln!(formatter, "  {}", row_text(row))?;
            }
            if !outcome.copied.is_empty() {
                writeln!(formatter, "  {}", outcome.copied.escape_ascii())?;
            }
        }
        if let Some(failure) = &self.failure {
            writeln!(formatter, "{failure:?}")?;
        }
        write!(formatter, "status {}", char::from(self.status))
    }
}

fn row_text(row: &Row) -> String {
    let value = |value: &Option<Vec<u8>>| match value {
        Some(bytes) => bytes.escape_ascii().to_string(),
        None => "NULL".to_owned(),
    };
    row.iter().map(value).collect::<Vec<_>>().join(" | ")
}
