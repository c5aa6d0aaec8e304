//! Statements without preparation.

use crate::ProtocolError;
use crate::reader::Reader;

/// Simple query: one text, which may hold several statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    /// # Errors
    /// The text does not end, or ends before the body does.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("Query", body);
        let text = reader.string()?;
        reader.end().map(|()| Self { text })
    }
}

/// The old fast-path call of one function; only recognised, its arguments stay unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    pub function_oid: u32,
    pub rest: &'a [u8],
}

impl<'a> FunctionCall<'a> {
    /// # Errors
    /// The body is too short to name a function.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("FunctionCall", body);
        let function_oid = reader.u32()?;
        Ok(Self {
            function_oid,
            rest: reader.rest(),
        })
    }
}
