//! COPY from the server. CopyDone has no body.

use crate::reader::Reader;
use crate::{Format, FormatCodes, ProtocolError};

/// Body of CopyInResponse, CopyOutResponse and CopyBothResponse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    pub format: Format,
    /// One for each column; all text where `format` is.
    pub column_formats: FormatCodes<'a>,
}

impl<'a> CopyResponse<'a> {
    /// # Errors
    /// The body is malformed.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("CopyResponse", body);
        let code = reader.u8()?;
        let format = Format::from_code(code.into())
            .ok_or_else(|| reader.invalid("format code", code.into()))?;
        let column_formats = reader.format_codes()?;
        reader.end().map(|()| Self {
            format,
            column_formats,
        })
    }
}

/// A piece of COPY data; a row each from a COPY TO of PostgreSQL's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyData<'a> {
    pub data: &'a [u8],
}

impl<'a> CopyData<'a> {
    /// Any body is one.
    pub fn parse(body: &'a [u8]) -> Self {
        Self { data: body }
    }
}
