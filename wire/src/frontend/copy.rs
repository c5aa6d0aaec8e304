//! COPY from the client. CopyData's body is the data itself; CopyDone has no body.

use crate::ProtocolError;
use crate::reader::Reader;

/// A piece of COPY data; its limits need not be those of rows.
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

/// The client gives the COPY up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyFail<'a> {
    pub message: &'a [u8],
}

impl<'a> CopyFail<'a> {
    /// # Errors
    /// The text does not end, or ends before the body does.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new("CopyFail", body);
        let message = reader.string()?;
        reader.end().map(|()| Self { message })
    }
}
