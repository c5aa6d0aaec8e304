//! Binary format: signature and header, tuples, trailer (PostgreSQL 15 manual, COPY, "Binary Format").

use super::{CopyError, CopyKey, Step};

pub const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of the header's extension.
const FIXED_HEADER: usize = 19;
pub const TRAILER: [u8; 2] = [0xff, 0xff];

#[derive(Debug, Default)]
pub struct Tuples {
    past_header: bool,
    past_trailer: bool,
}

impl Tuples {
    pub fn next(&mut self, rest: &[u8]) -> Result<Step, CopyError> {
        if !self.past_header {
            let Some(length) = header_length(rest)? else {
                return Ok(Step::More);
            };
            self.past_header = true;
            return Ok(Step::Everywhere(length));
        }
        if self.past_trailer {
            return Err(CopyError::AfterEnd);
        }
        let Some(fields) = int2(rest, 0) else {
            return Ok(Step::More);
        };
        if fields == -1 {
            self.past_trailer = true;
            return Ok(Step::Everywhere(TRAILER.len()));
        }
        let fields = usize::try_from(fields).map_err(|_| CopyError::BinaryFormat)?;
        Ok(tuple_length(rest, fields)?.map_or(Step::More, Step::Row))
    }

    /// The trailer may be missing, as PostgreSQL allows; half a tuple may not be there.
    pub fn finish(&self, rest: &[u8]) -> Result<(), CopyError> {
        if !self.past_header {
            return Err(CopyError::Signature);
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(CopyError::UnexpectedEnd)
        }
    }
}

/// Bytes of signature and header, once they are all here.
pub fn header_length(data: &[u8]) -> Result<Option<usize>, CopyError> {
    let common = data.len().min(SIGNATURE.len());
    if data[..common] != SIGNATURE[..common] {
        return Err(CopyError::Signature);
    }
    let Some(extension) = int4(data, FIXED_HEADER - 4) else {
        return Ok(None);
    };
    let extension = usize::try_from(extension).map_err(|_| CopyError::Header)?;
    let length = FIXED_HEADER + extension;
    Ok((data.len() >= length).then_some(length))
}

fn tuple_length(rest: &[u8], fields: usize) -> Result<Option<usize>, CopyError> {
    let mut at = 2;
    for _ in 0..fields {
        match field_end(rest, at)? {
            Some(end) => at = end,
            None => return Ok(None),
        }
    }
    Ok((rest.len() >= at).then_some(at))
}

/// The end of the field whose length word starts at `at`.
fn field_end(rest: &[u8], at: usize) -> Result<Option<usize>, CopyError> {
    match int4(rest, at) {
        None => Ok(None),
        Some(-1) => Ok(Some(at + 4)),
        Some(length) => {
            let length = usize::try_from(length).map_err(|_| CopyError::BinaryFormat)?;
            Ok(Some(at + 4 + length))
        }
    }
}

/// Field number `wanted` of a whole tuple.
pub fn key(tuple: &[u8], wanted: usize) -> Result<CopyKey<'_>, CopyError> {
    let fields = int2(tuple, 0)
        .and_then(|fields| usize::try_from(fields).ok())
        .unwrap_or(0);
    if wanted >= fields {
        return Ok(CopyKey::Missing);
    }
    let mut at = 2;
    for _ in 0..wanted {
        at = field_end(tuple, at)?.ok_or(CopyError::UnexpectedEnd)?;
    }
    let end = field_end(tuple, at)?.ok_or(CopyError::UnexpectedEnd)?;
    if int4(tuple, at) == Some(-1) {
        return Ok(CopyKey::Null);
    }
    tuple
        .get(at + 4..end)
        .map(CopyKey::Binary)
        .ok_or(CopyError::UnexpectedEnd)
}

fn int2(data: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(data.get(at..at + 2)?.try_into().ok()?))
}

fn int4(data: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}
