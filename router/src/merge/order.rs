//! Sort keys as bytes that compare as PostgreSQL sorts.
//!
//! Each key of a row becomes one byte for NULL or not, then the value in a form whose bytes compare
//! like the values; descending keys have those bytes inverted. So a comparison is one `memcmp`.

use wire::Format;
use wire::backend::DataRow;

use super::{Column, MergeError, SortKey, SortOrder, datetime, real};

/// `oid` is an unsigned int4.
const OID: u32 = 26;

/// Appends the whole key of `row` to `out`.
pub fn append_row(
    keys: &[SortKey],
    columns: &[Column],
    row: &DataRow<'_>,
    out: &mut Vec<u8>,
) -> Result<(), MergeError> {
    for key in keys {
        let column = columns
            .get(key.column)
            .ok_or(MergeError::Unreadable("a sorted row"))?;
        let value = row
            .nth(key.column)
            .ok_or(MergeError::Unreadable("a sorted row"))?;
        append_key(key, *column, value, out)?;
    }
    Ok(())
}

fn append_key(
    key: &SortKey,
    column: Column,
    value: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), MergeError> {
    let Some(value) = value else {
        out.push(if key.nulls_first { 0 } else { 2 });
        return Ok(());
    };
    out.push(1);
    let start = out.len();
    append_value(key.order, column, value, out)?;
    if key.descending {
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    Ok(())
}

/// Appends a value, ascending. No value's bytes are the beginning of another's.
pub fn append_value(
    order: SortOrder,
    column: Column,
    value: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), MergeError> {
    let number = match order {
        SortOrder::Bytes => {
            append_bytes(value, out);
            return Ok(());
        }
        SortOrder::Blanks => {
            let blanks = value.iter().rev().take_while(|byte| **byte == b' ').count();
            append_bytes(&value[..value.len() - blanks], out);
            return Ok(());
        }
        SortOrder::Bytea if column.format == Format::Text && !value.starts_with(b"\\x") => {
            return Err(MergeError::ByteaOutput);
        }
        // Digits of lower case sort as the bytes they stand for.
        SortOrder::Bytea => {
            append_bytes(value, out);
            return Ok(());
        }
        SortOrder::Numeric => {
            let done = real::append_numeric(column.format, value, out);
            return done.ok_or(MergeError::Unreadable("numeric"));
        }
        SortOrder::Float => {
            let number = real::float(column.format, value);
            let number = number.ok_or(MergeError::Unreadable("a floating-point number"))?;
            out.extend_from_slice(&number.to_be_bytes());
            return Ok(());
        }
        // `HH:MM:SS`, and zeros at the end of a fraction are not printed.
        SortOrder::Time if column.format == Format::Text => {
            append_bytes(value, out);
            return Ok(());
        }
        SortOrder::Time => binary_integer(value).ok_or(MergeError::Unreadable("a time"))?,
        // One length each (36 or 16, and 1 byte), and lower case hexadecimal sorts as its number.
        SortOrder::Uuid | SortOrder::Boolean => {
            out.extend_from_slice(value);
            return Ok(());
        }
        SortOrder::Integer => integer(column, value).ok_or(MergeError::Unreadable("an integer"))?,
        SortOrder::Date => moment(column.format, value, datetime::date)?,
        SortOrder::Timestamp => moment(column.format, value, datetime::timestamp)?,
        SortOrder::TimestampTz => moment(column.format, value, datetime::timestamptz)?,
    };
    // With the sign bit inverted, two's complement sorts as unsigned bytes.
    out.extend_from_slice(&(number ^ i64::MIN).to_be_bytes());
    Ok(())
}

/// A zero byte is escaped, and two zero bytes end the value: a prefix sorts before what goes on.
fn append_bytes(value: &[u8], out: &mut Vec<u8>) {
    for byte in value {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xff);
        }
    }
    out.extend_from_slice(&[0, 0]);
}

/// An int2, int4, int8 or oid.
pub fn integer(column: Column, value: &[u8]) -> Option<i64> {
    match column.format {
        Format::Text => std::str::from_utf8(value).ok()?.parse().ok(),
        Format::Binary if column.type_oid == OID => value
            .try_into()
            .ok()
            .map(|bytes| i64::from(u32::from_be_bytes(bytes))),
        Format::Binary => binary_integer(value),
    }
}

/// A signed integer of two, four or eight bytes.
pub fn binary_integer(value: &[u8]) -> Option<i64> {
    match value.len() {
        2 => value
            .try_into()
            .ok()
            .map(|bytes| i16::from_be_bytes(bytes).into()),
        4 => value
            .try_into()
            .ok()
            .map(|bytes| i32::from_be_bytes(bytes).into()),
        8 => value.try_into().ok().map(i64::from_be_bytes),
        _ => None,
    }
}

/// In binary, infinities are the type's least and greatest value and sort by themselves.
fn moment(format: Format, value: &[u8], read: fn(&[u8]) -> Option<i64>) -> Result<i64, MergeError> {
    match format {
        Format::Text => read(value).ok_or(MergeError::DateStyle),
        Format::Binary => {
            binary_integer(value).ok_or(MergeError::Unreadable("a date or timestamp"))
        }
    }
}
