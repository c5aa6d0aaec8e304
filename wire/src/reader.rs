//! Walks through a message body, checking at every step that the bytes are there.

use crate::ProtocolError;
use crate::format::FormatCodes;
use crate::strings::Strings;
use crate::values::{Oids, Values};

/// What is left of a body, and the message's name for errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    message: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'static str, body: &'a [u8]) -> Self {
        Self {
            rest: body,
            message,
        }
    }

    fn truncated(&self) -> ProtocolError {
        ProtocolError::Truncated {
            message: self.message,
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(self.truncated())?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, ProtocolError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, ProtocolError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn salt(&mut self) -> Result<[u8; 4], ProtocolError> {
        self.array()
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], ProtocolError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(self.truncated())?;
        self.rest = rest;
        Ok(head)
    }

    /// A zero-terminated string, without its zero.
    pub(crate) fn string(&mut self) -> Result<&'a [u8], ProtocolError> {
        let end = memchr::memchr(0, self.rest).ok_or(ProtocolError::Unterminated {
            message: self.message,
        })?;
        let string = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        Ok(string)
    }

    /// A value behind its 32-bit length; length -1 is NULL.
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, ProtocolError> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| self.truncated())?;
                self.bytes(length).map(Some)
            }
        }
    }

    /// A 16-bit count and as many values.
    pub(crate) fn values(&mut self) -> Result<Values<'a>, ProtocolError> {
        let count = self.u16()?;
        let start = self.rest;
        for _ in 0..count {
            self.value()?;
        }
        Ok(Values::new(count, &start[..start.len() - self.rest.len()]))
    }

    /// A 16-bit count and as many 16-bit format codes, each 0 or 1.
    pub(crate) fn format_codes(&mut self) -> Result<FormatCodes<'a>, ProtocolError> {
        let count = usize::from(self.u16()?);
        FormatCodes::new(self.message, self.bytes(count * 2)?)
    }

    /// A 16-bit count and as many 32-bit object ids.
    pub(crate) fn oids(&mut self) -> Result<Oids<'a>, ProtocolError> {
        let count = usize::from(self.u16()?);
        self.bytes(count * 4).map(Oids::new)
    }

    /// `count` zero-terminated strings.
    pub(crate) fn strings(&mut self, count: u32) -> Result<Strings<'a>, ProtocolError> {
        let start = self.rest;
        // Every string takes a byte at least, so this ends with the body however large the count.
        for _ in 0..count {
            self.string()?;
        }
        Ok(Strings::new(&start[..start.len() - self.rest.len()]))
    }

    /// Zero-terminated strings up to an empty one, which must end the body.
    pub(crate) fn strings_to_end(mut self) -> Result<Strings<'a>, ProtocolError> {
        let start = self.rest;
        loop {
            let length = start.len() - self.rest.len();
            if self.string()?.is_empty() {
                return self.end().map(|()| Strings::new(&start[..length]));
            }
        }
    }

    /// All that is left, unread.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn invalid(&self, what: &'static str, value: u32) -> ProtocolError {
        ProtocolError::Value {
            message: self.message,
            what,
            value,
        }
    }

    /// The body must end here.
    pub(crate) fn end(self) -> Result<(), ProtocolError> {
        match self.rest.len() {
            0 => Ok(()),
            extra => Err(ProtocolError::Trailing {
                message: self.message,
                extra,
            }),
        }
    }
}

/// Checks the body of a message that has none (Sync, Flush, CopyDone, ParseComplete, ...).
///
/// # Errors
/// [`ProtocolError::Trailing`] when there is a body.
pub fn expect_empty(message: &'static str, body: &[u8]) -> Result<(), ProtocolError> {
    Reader::new(message, body).end()
}
