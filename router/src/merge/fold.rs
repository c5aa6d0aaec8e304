//! One output column of one group: partial results of the shards folded to the whole.
//!
//! As PostgreSQL's aggregates: NULL is passed over, and of no value but NULL comes NULL (count: 0).

use bytes::{BufMut, Bytes};
use wire::Format;

use super::{Column, Fold, MergeError, SortOrder, numeric, order};

#[derive(Debug, Clone)]
pub enum State {
    /// The value of a GROUP BY column, the same in all rows of the group.
    Group(Option<Bytes>),
    Count(i64),
    SumInt8(Option<i64>),
    SumNumericInteger(Option<i128>),
    /// The value that stands first in the order so far, and its sort key (inverted for max).
    First {
        order: SortOrder,
        inverted: bool,
        best: Option<(Vec<u8>, Bytes)>,
    },
    /// `bool_or` with `wins` = true, `bool_and` with false: one such value decides.
    Boolean {
        wins: bool,
        value: Option<bool>,
    },
}

impl State {
    pub fn new(fold: Fold) -> Self {
        match fold {
            Fold::Group => Self::Group(None),
            Fold::Count => Self::Count(0),
            Fold::SumInt8 => Self::SumInt8(None),
            Fold::SumNumericInteger => Self::SumNumericInteger(None),
            Fold::Min(order) => Self::First {
                order,
                inverted: false,
                best: None,
            },
            Fold::Max(order) => Self::First {
                order,
                inverted: true,
                best: None,
            },
            Fold::BoolAnd => Self::Boolean {
                wins: false,
                value: None,
            },
            Fold::BoolOr => Self::Boolean {
                wins: true,
                value: None,
            },
        }
    }

    /// Takes one shard's value in.
    pub fn fold(&mut self, column: Column, value: Option<&[u8]>) -> Result<(), MergeError> {
        let Some(value) = value else { return Ok(()) };
        match self {
            Self::Group(group) => {
                if group.is_none() {
                    *group = Some(Bytes::copy_from_slice(value));
                }
            }
            Self::Count(sum) => *sum = add(*sum, integer(column, value)?)?,
            Self::SumInt8(sum) => *sum = Some(add(sum.unwrap_or(0), integer(column, value)?)?),
            Self::SumNumericInteger(sum) => {
                let total = sum.unwrap_or(0).checked_add(whole_numeric(column, value)?);
                *sum = Some(total.ok_or(MergeError::OutOfRange("numeric"))?);
            }
            Self::First {
                order,
                inverted,
                best,
            } => {
                first(*order, *inverted, best, column, value)?;
            }
            Self::Boolean { wins, value: sum } => {
                let value = boolean(column, value)?;
                *sum = Some(if value == *wins {
                    *wins
                } else {
                    sum.unwrap_or(value)
                });
            }
        }
        Ok(())
    }

    /// Bytes held beyond the state itself.
    pub fn held(&self) -> usize {
        match self {
            Self::Group(Some(value)) => value.len(),
            Self::First {
                best: Some((key, value)),
                ..
            } => key.capacity() + value.len(),
            _ => 0,
        }
    }

    /// Appends the value as in a DataRow: its length and its bytes, or -1 for NULL.
    pub fn put(&self, column: Column, out: &mut Vec<u8>) {
        match self {
            Self::Group(value) => put(out, value.as_deref()),
            Self::Count(sum) => put_integer(out, column, *sum),
            Self::SumInt8(Some(sum)) => put_integer(out, column, *sum),
            Self::SumNumericInteger(Some(sum)) => put_numeric(out, column, *sum),
            Self::First {
                best: Some((_, value)),
                ..
            } => put(out, Some(value)),
            Self::Boolean {
                value: Some(value), ..
            } => put_boolean(out, column, *value),
            Self::SumInt8(None)
            | Self::SumNumericInteger(None)
            | Self::First { best: None, .. }
            | Self::Boolean { value: None, .. } => put(out, None),
        }
    }
}

fn add(sum: i64, value: i64) -> Result<i64, MergeError> {
    sum.checked_add(value)
        .ok_or(MergeError::OutOfRange("bigint"))
}

fn integer(column: Column, value: &[u8]) -> Result<i64, MergeError> {
    order::integer(column, value).ok_or(MergeError::Unreadable("an integer"))
}

fn whole_numeric(column: Column, value: &[u8]) -> Result<i128, MergeError> {
    let number = match column.format {
        Format::Text => std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.parse().ok()),
        Format::Binary => numeric::decode(value),
    };
    number.ok_or(MergeError::Unreadable("a whole number"))
}

fn boolean(column: Column, value: &[u8]) -> Result<bool, MergeError> {
    match (column.format, value) {
        (Format::Text, b"t") | (Format::Binary, [1]) => Ok(true),
        (Format::Text, b"f") | (Format::Binary, [0]) => Ok(false),
        _ => Err(MergeError::Unreadable("a boolean")),
    }
}

fn first(
    order: SortOrder,
    inverted: bool,
    best: &mut Option<(Vec<u8>, Bytes)>,
    column: Column,
    value: &[u8],
) -> Result<(), MergeError> {
    let mut key = Vec::new();
    order::append_value(order, column, value, &mut key)?;
    if inverted {
        key.iter_mut().for_each(|byte| *byte = !*byte);
    }
    if best.as_ref().is_none_or(|(least, _)| key < *least) {
        *best = Some((key, Bytes::copy_from_slice(value)));
    }
    Ok(())
}

fn put(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        Some(value) => {
            // It came from a message, whose own length has 32 bits.
            out.put_u32(value.len() as u32);
            out.put_slice(value);
        }
    }
}

fn put_integer(out: &mut Vec<u8>, column: Column, value: i64) {
    match column.format {
        Format::Text => put(out, Some(value.to_string().as_bytes())),
        Format::Binary => put(out, Some(&value.to_be_bytes())),
    }
}

fn put_numeric(out: &mut Vec<u8>, column: Column, value: i128) {
    match column.format {
        Format::Text => put(out, Some(value.to_string().as_bytes())),
        Format::Binary => {
            let mut bytes = Vec::with_capacity(32);
            numeric::encode(value, &mut bytes);
            put(out, Some(&bytes));
        }
    }
}

fn put_boolean(out: &mut Vec<u8>, column: Column, value: bool) {
    match column.format {
        Format::Text => put(out, Some(if value { b"t" } else { b"f" })),
        Format::Binary => put(out, Some(&[value.into()])),
    }
}
