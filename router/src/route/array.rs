//! The elements of an array of keys: PostgreSQL's text form `{1,2}`, its binary form. The `cast_to` of
//! an array's key expression is the element type of the array it is cast to.

use std::borrow::Cow;

use schema::KeyType;
use wire::Format;

use super::Arguments;
use super::value::{Value, declared};
use crate::plan::KeyExpr;
use crate::plan::key::Constant;
use crate::plan::scope::{INT2, INT4, INT8, TEXT, UUID, VARCHAR};

/// Oids of the array types of the key types, from PostgreSQL's `pg_type.dat`.
pub(super) const ELEMENT_OF: [(u32, u32); 6] = [
    (1005, INT2),
    (1007, INT4),
    (1016, INT8),
    (1009, TEXT),
    (1015, VARCHAR),
    (2951, UUID),
];

/// Calls `take` with every element that is not NULL. `None`: the array cannot be read exactly, or
/// `take` said no.
pub(super) fn for_each(
    array: &KeyExpr,
    key_type: KeyType,
    arguments: Arguments<'_>,
    mut take: impl FnMut(Value<'_>) -> bool,
) -> Option<()> {
    match (array, arguments) {
        (
            KeyExpr::Literal {
                value: Constant::Null,
                ..
            },
            _,
        ) => Some(()),
        (
            KeyExpr::Literal {
                value: Constant::String(text),
                cast_to,
                ..
            },
            Arguments::Whole | Arguments::Bound { .. },
        ) => text_elements(
            text.as_bytes(),
            cast_to.unwrap_or(element_type(key_type)),
            take,
        ),
        (
            KeyExpr::Parameter { number, cast_to } | KeyExpr::SharedParameter { number, cast_to },
            Arguments::Bound { bind, types },
        ) => {
            let index = usize::from(*number).checked_sub(1)?;
            let declared = match types.get(index).copied().unwrap_or(0) {
                0 => None,
                oid => Some(ELEMENT_OF.iter().find(|(array, _)| *array == oid)?.1),
            };
            // A cast from one array type to another converts the elements.
            if declared.is_some() && cast_to.is_some() && declared != *cast_to {
                return None;
            }
            let element = declared.or(*cast_to).unwrap_or(element_type(key_type));
            match bind.parameter(index)? {
                (_, None) => Some(()),
                (Format::Text, Some(text)) => text_elements(text, element, take),
                (Format::Binary, Some(bytes)) => binary_elements(bytes, element, &mut take),
            }
        }
        _ => None,
    }
}

fn element_type(key_type: KeyType) -> u32 {
    match key_type {
        KeyType::Int2 => INT2,
        KeyType::Int4 => INT4,
        KeyType::Int8 => INT8,
        KeyType::Text => TEXT,
        KeyType::Varchar => VARCHAR,
        KeyType::Uuid => UUID,
    }
}

/// One dimension, no bounds; the rest of the syntax is for PostgreSQL alone.
fn text_elements(text: &[u8], element: u32, mut take: impl FnMut(Value<'_>) -> bool) -> Option<()> {
    let mut rest = text.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
    if rest == b"}" {
        return Some(());
    }
    loop {
        let (item, after) = item(rest)?;
        let value = match item {
            Item::Null => Value::Null,
            Item::Text(text) => match declared(&text, Format::Text, element) {
                // Not a key's text: let PostgreSQL judge the whole array.
                Value::Invalid | Value::Unknown => return None,
                value => return_owned(value),
            },
        };
        if value != Value::Null && !take(value) {
            return None;
        }
        match after.trim_ascii_start() {
            [b',', after @ ..] => rest = after.trim_ascii_start(),
            b"}" => return Some(()),
            _ => return None,
        }
    }
}

/// The value without a borrow of the unescaped item.
fn return_owned<'a>(value: Value<'_>) -> Value<'a> {
    match value {
        Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
        Value::Integer { value, oid } => Value::Integer { value, oid },
        Value::Uuid(bytes) => Value::Uuid(bytes),
        Value::Null => Value::Null,
        _ => Value::Unknown,
    }
}

enum Item<'a> {
    Null,
    Text(Cow<'a, [u8]>),
}

/// One element and what follows it.
fn item(text: &[u8]) -> Option<(Item<'_>, &[u8])> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        return quoted_item(quoted);
    }
    let end = text.iter().position(|byte| matches!(byte, b',' | b'}'))?;
    let (item, after) = text.split_at(end);
    let item = item.trim_ascii_end();
    if item.is_empty() || item.iter().any(|byte| matches!(byte, b'{' | b'"' | b'\\')) {
        return None;
    }
    let item = if item.eq_ignore_ascii_case(b"null") {
        Item::Null
    } else {
        Item::Text(Cow::Borrowed(item))
    };
    Some((item, after))
}

fn quoted_item(text: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let mut value = Vec::new();
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => return Some((Item::Text(Cow::Owned(value)), &text[at + 1..])),
            b'\\' => {
                value.push(*text.get(at + 1)?);
                at += 2;
            }
            byte => {
                value.push(*byte);
                at += 1;
            }
        }
    }
}

/// PostgreSQL's `array_send`: dimensions, flags, element type, then per dimension length and bound,
/// then the elements, each behind its length.
fn binary_elements(
    bytes: &[u8],
    element: u32,
    take: &mut impl FnMut(Value<'_>) -> bool,
) -> Option<()> {
    let mut words = Words(bytes);
    let dimensions = words.next()?;
    let _has_nulls = words.next()?;
    if words.next()? != element {
        return None;
    }
    if dimensions == 0 {
        return Some(());
    }
    let count = words.next()?;
    let _lower_bound = words.next()?;
    if dimensions != 1 {
        return None;
    }
    for _ in 0..count {
        let length = words.next()?;
        if length == u32::MAX {
            continue;
        }
        let value = words.take(usize::try_from(length).ok()?)?;
        if !take(declared(value, Format::Binary, element)) {
            return None;
        }
    }
    Some(())
}

/// Big-endian words off the front of a slice.
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<u32> {
        let (word, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*word))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(value)
    }
}
