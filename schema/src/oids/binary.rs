//! OIDs inside PostgreSQL's binary formats: `array_send`, `record_send`, `range_send`,
//! `multirange_send`. An OID is four bytes on every shard, so values are rewritten in place.

use super::{Direction, OidMap, TypeShape};

const RECORD: u32 = 2249;
const RECORD_ARRAY: u32 = 2287;

/// Nested deeper than this, a value is not rewritten.
const DEPTH: u8 = 64;

/// Anonymous records, whose fields' types are known from the value only.
pub(super) fn is_record(oid: u32) -> bool {
    matches!(oid, RECORD | RECORD_ARRAY)
}

/// The value is not in the format that its type has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

pub(super) fn rewrite(
    map: &OidMap,
    home_oid: u32,
    value: &mut [u8],
    direction: Direction,
) -> Result<(), Malformed> {
    Rewriter { map, direction }.value(home_oid, value, DEPTH)
}

struct Rewriter<'a> {
    map: &'a OidMap,
    direction: Direction,
}

impl Rewriter<'_> {
    fn value(&self, home_oid: u32, value: &mut [u8], depth: u8) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed)?;
        match self.map.shape(home_oid) {
            Some(TypeShape::Array { .. }) => self.array(value, depth),
            Some(TypeShape::Composite { .. }) => self.record(value, depth),
            Some(TypeShape::Domain { base }) => self.value(*base, value, depth),
            Some(TypeShape::Range { subtype }) => self.range(*subtype, value, depth),
            Some(TypeShape::Multirange { range }) => self.multirange(*range, value, depth),
            Some(TypeShape::Plain) => Ok(()),
            None if home_oid == RECORD => self.record(value, depth),
            // The element of any other array of PostgreSQL's own is one of its own types.
            None if home_oid == RECORD_ARRAY => self.array(value, depth),
            None => Ok(()),
        }
    }

    /// int4 dimensions, int4 flags, oid element, then (int4 size, int4 lower bound) a dimension, then
    /// the elements.
    fn array(&self, value: &mut [u8], depth: u8) -> Result<(), Malformed> {
        let mut reader = Reader(value);
        let dimensions = usize::try_from(reader.int4()?).map_err(|_| Malformed)?;
        reader.int4()?;
        let element = self.oid(&mut reader)?;
        for _ in 0..dimensions {
            reader.take(8)?;
        }
        if !self.map.needs_rewriting(element) {
            return Ok(());
        }
        while !reader.0.is_empty() {
            self.field(element, &mut reader, depth)?;
        }
        Ok(())
    }

    /// int4 fields, then (oid type, int4 length, bytes) a field.
    fn record(&self, value: &mut [u8], depth: u8) -> Result<(), Malformed> {
        let mut reader = Reader(value);
        for _ in 0..reader.int4()? {
            let field = self.oid(&mut reader)?;
            self.field(field, &mut reader, depth)?;
        }
        Ok(())
    }

    /// One byte of flags (PostgreSQL's `utils/rangetypes.h`), then the bounds that are not infinite.
    fn range(&self, subtype: u32, value: &mut [u8], depth: u8) -> Result<(), Malformed> {
        let mut reader = Reader(value);
        reader.take(1)?;
        while !reader.0.is_empty() {
            self.field(subtype, &mut reader, depth)?;
        }
        Ok(())
    }

    /// int4 ranges, then (int4 length, bytes) a range.
    fn multirange(&self, range: u32, value: &mut [u8], depth: u8) -> Result<(), Malformed> {
        let mut reader = Reader(value);
        for _ in 0..reader.int4()? {
            self.field(range, &mut reader, depth)?;
        }
        Ok(())
    }

    /// int4 length (-1: NULL), then the bytes of a value of type `home_oid`.
    fn field(&self, home_oid: u32, reader: &mut Reader<'_>, depth: u8) -> Result<(), Malformed> {
        let length = reader.int4()?;
        if length < 0 {
            return Ok(());
        }
        let bytes = reader.take(usize::try_from(length).map_err(|_| Malformed)?)?;
        self.value(home_oid, bytes, depth)
    }

    /// Translates one type's oid in place; gives the home shard's.
    fn oid(&self, reader: &mut Reader<'_>) -> Result<u32, Malformed> {
        let bytes = reader.take(4)?;
        let before = u32::from_be_bytes(bytes.try_into().map_err(|_| Malformed)?);
        let after = self.map.type_oid(before, self.direction);
        bytes.copy_from_slice(&after.to_be_bytes());
        Ok(match self.direction {
            Direction::ToHome => after,
            Direction::FromHome => before,
        })
    }
}

/// The rest of a value.
struct Reader<'a>(&'a mut [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a mut [u8], Malformed> {
        let all = std::mem::take(&mut self.0);
        let (taken, rest) = all.split_at_mut_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn int4(&mut self) -> Result<i32, Malformed> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }
}
