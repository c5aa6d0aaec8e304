//! Errors and notices: reading a server's, and the data of one's own.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};

use crate::reader::Reader;
use crate::{ProtocolError, put, sqlstate};

/// Codes of fields (section "Error and Notice Message Fields").
pub mod field {
    /// In the language of the server's `lc_messages`.
    pub const SEVERITY_LOCALIZED: u8 = b'S';
    pub const SEVERITY: u8 = b'V';
    pub const SQLSTATE: u8 = b'C';
    pub const MESSAGE: u8 = b'M';
    pub const DETAIL: u8 = b'D';
    pub const HINT: u8 = b'H';
    pub const POSITION: u8 = b'P';
    pub const INTERNAL_POSITION: u8 = b'p';
    pub const INTERNAL_QUERY: u8 = b'q';
    pub const WHERE: u8 = b'W';
    pub const SCHEMA: u8 = b's';
    pub const TABLE: u8 = b't';
    pub const COLUMN: u8 = b'c';
    pub const DATA_TYPE: u8 = b'd';
    pub const CONSTRAINT: u8 = b'n';
    pub const FILE: u8 = b'F';
    pub const LINE: u8 = b'L';
    pub const ROUTINE: u8 = b'R';
}

/// Body of an ErrorResponse, and of a NoticeResponse, which is made alike.
#[derive(Debug, Clone, Copy)]
pub struct ErrorResponse<'a> {
    fields: Reader<'a>,
}

impl<'a> ErrorResponse<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("ErrorResponse", body);
        let fields = reader;
        while reader.u8()? != 0 {
            reader.string()?;
        }
        reader.end().map(|()| Self { fields })
    }

    /// Codes (see [`field`](mod@field)) and their texts, in order.
    pub fn fields(&self) -> impl Iterator<Item = (u8, &'a [u8])> + Clone + 'a {
        let mut reader = self.fields;
        std::iter::from_fn(move || match reader.u8() {
            Ok(0) | Err(_) => None,
            Ok(code) => reader.string().ok().map(|text| (code, text)),
        })
    }

    /// The text of the first field of that code.
    pub fn field(&self, code: u8) -> Option<&'a [u8]> {
        self.fields()
            .find(|(other, _)| *other == code)
            .map(|(_, text)| text)
    }

    /// The five characters; `XX000` (internal error) where the server sent none that can be read.
    pub fn sqlstate(&self) -> &'a str {
        self.field(field::SQLSTATE)
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or(sqlstate::INTERNAL_ERROR)
    }

    /// The primary message; what is not UTF-8 is replaced.
    pub fn message(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.field(field::MESSAGE).unwrap_or_default())
    }

    /// Whether the server closes the connection after this.
    pub fn is_fatal(&self) -> bool {
        let severity = self
            .field(field::SEVERITY)
            .or(self.field(field::SEVERITY_LOCALIZED));
        matches!(severity, Some(b"FATAL" | b"PANIC"))
    }
}

/// How bad it is. `Error` and above go into an ErrorResponse, the others into a NoticeResponse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Severity {
    /// The whole server must restart.
    Panic,
    /// The connection ends.
    Fatal,
    /// The statement ends.
    #[default]
    Error,
    Warning,
    Notice,
    Debug,
    Info,
    Log,
}

impl Severity {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "PANIC",
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Log => "LOG",
        }
    }
}

/// An error or notice to be sent. Empty texts are left out, but for `message`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report<'a> {
    pub severity: Severity,
    /// Five characters, see [`crate::sqlstate`].
    pub sqlstate: &'a str,
    pub message: &'a str,
    pub detail: &'a str,
    pub hint: &'a str,
    /// Of the fault in the statement, in characters from 1.
    pub position: Option<u32>,
    /// The stable id of the case, where PostgreSQL names its source function.
    pub routine: &'a str,
}

impl Report<'_> {
    pub(super) fn put(&self, out: &mut BytesMut) {
        put_field(out, field::SEVERITY_LOCALIZED, self.severity.as_str());
        put_field(out, field::SEVERITY, self.severity.as_str());
        put_field(out, field::SQLSTATE, self.sqlstate);
        put_field(out, field::MESSAGE, self.message);
        put_optional(out, field::DETAIL, self.detail);
        put_optional(out, field::HINT, self.hint);
        if let Some(position) = self.position {
            put_field(out, field::POSITION, &position.to_string());
        }
        put_optional(out, field::ROUTINE, self.routine);
        out.put_u8(0);
    }
}

fn put_optional(out: &mut BytesMut, code: u8, text: &str) {
    if !text.is_empty() {
        put_field(out, code, text);
    }
}

fn put_field(out: &mut BytesMut, code: u8, text: &str) {
    out.put_u8(code);
    put::string(out, text.as_bytes());
}
