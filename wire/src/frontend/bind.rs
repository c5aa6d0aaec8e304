//! Bind: parameters for a statement. On the hot path, so nothing here allocates but the output
//! buffer, and a Bind that only changes names is one copy.

use std::cell::Cell;

use bytes::{BufMut, BytesMut};

use crate::frontend::tag;
use crate::reader::Reader;
use crate::values::Place;
use crate::{Format, FormatCodes, ProtocolError, Values, put};

const MESSAGE: &str = "Bind";

/// Body of a Bind message, parsed without copying.
#[derive(Debug, Clone)]
pub struct Bind<'a> {
    /// Empty for the unnamed portal.
    pub portal: &'a [u8],
    /// Empty for the unnamed statement.
    pub statement: &'a [u8],
    parameter_formats: FormatCodes<'a>,
    parameters: Values<'a>,
    result_formats: FormatCodes<'a>,
    /// All behind the two names.
    tail: &'a [u8],
    /// Of the parameter that was asked for last.
    place: Cell<Place>,
}

impl<'a> Bind<'a> {
    /// # Errors
    /// The body is malformed, or has neither no, one nor as many formats as parameters.
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(MESSAGE, body);
        let (portal, statement) = (reader.string()?, reader.string()?);
        let tail = reader.rest();
        let parameter_formats = reader.format_codes()?;
        let parameters = reader.values()?;
        let result_formats = reader.format_codes()?;
        reader.end()?;
        check_format_count(parameter_formats, parameters)?;
        Ok(Self {
            portal,
            statement,
            parameter_formats,
            parameters,
            result_formats,
            tail,
            place: Cell::default(),
        })
    }

    #[inline]
    pub fn parameter_count(&self) -> usize {
        self.parameters.len()
    }

    /// The parameter `$(index + 1)`; inner `None` is NULL. Walks on from the one that was asked for last, or else over those before
    /// it.
    #[inline]
    pub fn parameter(&self, index: usize) -> Option<(Format, Option<&'a [u8]>)> {
        let mut place = self.place.get();
        let value = self.parameters.get_from(&mut place, index);
        self.place.set(place);
        let value = value?;
        Some((self.parameter_formats.of(index), value))
    }

    /// All parameters in order.
    pub fn parameters(&self) -> impl ExactSizeIterator<Item = (Format, Option<&'a [u8]>)> + 'a {
        let formats = self.parameter_formats;
        self.parameters
            .iter()
            .enumerate()
            .map(move |(index, value)| (formats.of(index), value))
    }

    /// As sent: none means text for all, one stands for all columns.
    pub fn parameter_formats(&self) -> FormatCodes<'a> {
        self.parameter_formats
    }

    /// As sent: none means text for all, one stands for all columns.
    pub fn result_formats(&self) -> FormatCodes<'a> {
        self.result_formats
    }

    /// Appends this Bind as a whole message under other names and with more parameters behind its
    /// own; formats are spelled out one each only where one code cannot stand for all.
    ///
    /// # Errors
    /// [`ProtocolError::TooMany`] above 65,535 parameters; then nothing is appended.
    pub fn rewrite(
        &self,
        out: &mut BytesMut,
        portal: &[u8],
        statement: &[u8],
        appended: &[(Format, Option<&[u8]>)],
    ) -> Result<(), ProtocolError> {
        let count = u16::try_from(self.parameter_count() + appended.len())
            .map_err(|_| ProtocolError::TooMany { message: MESSAGE })?;
        out.reserve(self.tail.len() + portal.len() + statement.len() + 16);
        put::message(out, tag::BIND, |out| {
            put::string(out, portal);
            put::string(out, statement);
            if appended.is_empty() {
                out.put_slice(self.tail);
            } else {
                self.put_extended(out, count, appended);
            }
        });
        Ok(())
    }

    fn put_extended(&self, out: &mut BytesMut, count: u16, appended: &[(Format, Option<&[u8]>)]) {
        let own = (0..self.parameter_count()).map(|index| self.parameter_formats.of(index));
        let formats = own.chain(appended.iter().map(|(format, _)| *format));
        put_parameter_formats(out, count, formats);
        out.put_u16(count);
        out.put_slice(self.parameters.packed());
        for (_, value) in appended {
            put::value(out, *value);
        }
        put::counted(out, self.result_formats.iter(), |out, format| {
            out.put_u16(format.code())
        });
    }
}

/// Appends the count and codes of `count` formats, in the shortest form.
pub(super) fn put_parameter_formats(
    out: &mut BytesMut,
    count: u16,
    formats: impl Iterator<Item = Format> + Clone,
) {
    let first = formats.clone().next().unwrap_or_default();
    if !formats.clone().all(|format| format == first) {
        out.put_u16(count);
        formats.for_each(|format| out.put_u16(format.code()));
    } else if first == Format::Text {
        out.put_u16(0);
    } else {
        out.put_u16(1);
        out.put_u16(first.code());
    }
}

fn check_format_count(
    formats: FormatCodes<'_>,
    parameters: Values<'_>,
) -> Result<(), ProtocolError> {
    let (formats, parameters) = (formats.len(), parameters.len());
    if formats <= 1 || formats == parameters {
        return Ok(());
    }
    // Both were read from 16-bit counts.
    Err(ProtocolError::FormatCount {
        formats: formats as u16,
        parameters: parameters as u16,
    })
}
