//! Extended query, all but Bind: Parse, Describe, Execute, Close.

use crate::reader::Reader;
use crate::{Oids, ProtocolError};

/// Prepare a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Empty for the unnamed statement.
    pub name: &'a [u8],
    pub query: &'a [u8],
    /// Types the client prescribes; 0 leaves one to the server, and so does a shorter list.
    pub parameter_types: Oids<'a>,
}

impl<'a> Parse<'a> {
    /// # Errors
    /// The body is malformed.
    #[expect(
        clippy::self_named_constructors,
        reason = "named as every other message's"
    )]
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("Parse", body);
        let (name, query) = (reader.string()?, reader.string()?);
        let parameter_types = reader.oids()?;
        reader.end().map(|()| Self {
            name,
            query,
            parameter_types,
        })
    }
}

/// What a Describe or Close is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StatementOrPortal {
    Statement,
    Portal,
}

impl StatementOrPortal {
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        match reader.u8()? {
            b'S' => Ok(Self::Statement),
            b'P' => Ok(Self::Portal),
            other => Err(reader.invalid("subtype", other.into())),
        }
    }
}

/// Ask for a statement's parameters and columns, or a portal's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Describe<'a> {
    pub kind: StatementOrPortal,
    pub name: &'a [u8],
}

impl<'a> Describe<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let (kind, name) = kind_and_name("Describe", body)?;
        Ok(Self { kind, name })
    }
}

/// Forget a statement or portal; none of that name is no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close<'a> {
    pub kind: StatementOrPortal,
    pub name: &'a [u8],
}

impl<'a> Close<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let (kind, name) = kind_and_name("Close", body)?;
        Ok(Self { kind, name })
    }
}

fn kind_and_name<'a>(
    message: &'static str,
    body: &'a [u8],
) -> Result<(StatementOrPortal, &'a [u8]), ProtocolError> {
    let mut reader = Reader::new(message, body);
    let kind = StatementOrPortal::parse(&mut reader)?;
    let name = reader.string()?;
    reader.end().map(|()| (kind, name))
}

/// Run a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    pub portal: &'a [u8],
    /// Rows wanted at most; 0 or less is all of them.
    pub max_rows: i32,
}

impl<'a> Execute<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("Execute", body);
        let (portal, max_rows) = (reader.string()?, reader.i32()?);
        reader.end().map(|()| Self { portal, max_rows })
    }
}
