//! What a key expression comes to with the values a statement came with.

use std::borrow::Cow;

use schema::KeyType;
use topology::Key;
use wire::Format;

use super::number::{self, Integer};
use super::{Arguments, Target};
use crate::parse::shape::LiteralKind;
use crate::plan::KeyExpr;
use crate::plan::key::{Arithmetic, Constant};
use crate::plan::scope::{INT2, INT4, INT8, TEXT, UUID, VARCHAR};

const UNKNOWN_TYPE: u32 = 705;
const NUMERIC: u32 = 1700;

/// A value with as much of a type as decides how PostgreSQL compares it with a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    /// `oid`: int2, int4 or int8; 0 for a parameter whose type PostgreSQL has yet to settle.
    Integer {
        value: i64,
        oid: u32,
    },
    /// A number that is compared as numeric.
    Numeric(Cow<'a, [u8]>),
    /// A quoted literal or a parameter of no declared type: read by the key type's input function.
    Untyped(Cow<'a, [u8]>),
    /// As `Untyped`, of a parameter whose type may be settled elsewhere in the statement: only a
    /// plain reading counts.
    MaybeOtherwise(Cow<'a, [u8]>),
    Text(Cow<'a, [u8]>),
    Uuid([u8; 16]),
    /// PostgreSQL refuses it with an error of its own.
    Invalid,
    Unknown,
}

impl Value<'_> {
    /// The key that is equal to this value, or where the statement goes without one.
    #[inline]
    pub(super) fn as_key(&self, key_type: KeyType) -> Result<Key<'_>, Target> {
        match self {
            Self::Null | Self::Invalid => return Err(Target::Nowhere),
            Self::Unknown => return Err(Target::Unknown),
            _ => {}
        }
        match key_type {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => self.as_integer().map(Key::Int),
            KeyType::Text | KeyType::Varchar => match self {
                // Spaces beyond the length of varchar(n) are cut off when it is stored.
                Self::Untyped(text) | Self::Text(text) | Self::MaybeOtherwise(text)
                    if key_type == KeyType::Varchar && text.ends_with(b" ") =>
                {
                    Err(Target::Unknown)
                }
                Self::Untyped(text) | Self::Text(text) | Self::MaybeOtherwise(text) => {
                    Ok(Key::Text(text))
                }
                _ => Err(Target::Unknown),
            },
            KeyType::Uuid => match self {
                Self::Untyped(text) => number::uuid(text).map(Key::Uuid).ok_or(Target::Nowhere),
                Self::MaybeOtherwise(text) => {
                    number::uuid(text).map(Key::Uuid).ok_or(Target::Unknown)
                }
                Self::Uuid(bytes) => Ok(Key::Uuid(*bytes)),
                _ => Err(Target::Unknown),
            },
        }
    }

    fn as_integer(&self) -> Result<i64, Target> {
        let integer = match self {
            Self::Integer { value, .. } => return Ok(*value),
            Self::Untyped(text) => number::integer(text),
            Self::MaybeOtherwise(text) => match number::integer(text) {
                Integer::Invalid => Integer::Unclear,
                integer => integer,
            },
            Self::Numeric(text) => number::numeric(text),
            _ => Integer::Unclear,
        };
        match integer {
            Integer::Value(value) => Ok(value),
            Integer::Invalid => Err(Target::Nowhere),
            Integer::Unclear => Err(Target::Unknown),
        }
    }

    /// This value after an explicit cast to one of the plain key types.
    fn cast(self, to: u32) -> Self {
        match (self, to) {
            (Self::Null, _) => Self::Null,
            (Self::Integer { value, .. }, INT2 | INT4 | INT8) => Self::integer_of(value, to),
            (Self::Untyped(text) | Self::Text(text), INT2 | INT4 | INT8) => {
                match number::integer(&text) {
                    Integer::Value(value) => Self::integer_of(value, to),
                    Integer::Invalid => Self::Invalid,
                    Integer::Unclear => Self::Unknown,
                }
            }
            (Self::Numeric(text), INT2 | INT4 | INT8) => match number::numeric(&text) {
                Integer::Value(value) => Self::integer_of(value, to),
                // A fraction is rounded, which is PostgreSQL's business.
                Integer::Invalid | Integer::Unclear => Self::Unknown,
            },
            (Self::Untyped(text) | Self::Text(text), TEXT | VARCHAR) => Self::Text(text),
            (Self::Untyped(text) | Self::Text(text), UUID) => {
                number::uuid(&text).map_or(Self::Invalid, Self::Uuid)
            }
            (Self::Uuid(bytes), UUID) => Self::Uuid(bytes),
            (Self::Invalid, _) => Self::Invalid,
            _ => Self::Unknown,
        }
    }

    /// `value` as that type; out of its range PostgreSQL raises an error.
    fn integer_of(value: i64, oid: u32) -> Self {
        if fits(value, oid) {
            Self::Integer { value, oid }
        } else {
            Self::Invalid
        }
    }
}

fn fits(value: i64, oid: u32) -> bool {
    match oid {
        INT2 => i16::try_from(value).is_ok(),
        INT4 => i32::try_from(value).is_ok(),
        _ => true,
    }
}

/// All that the evaluation of one key expression depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evaluation<'a> {
    pub key_type: KeyType,
    pub arguments: Arguments<'a>,
    pub ids: &'a [i64],
}

impl<'a> Evaluation<'a> {
    #[inline]
    pub(super) fn value<'b>(&self, key: &'b KeyExpr) -> Value<'b>
    where
        'a: 'b,
    {
        match key {
            KeyExpr::Parameter { number, cast_to } => self.parameter(*number, *cast_to, false),
            KeyExpr::SharedParameter { number, cast_to } => self.parameter(*number, *cast_to, true),
            KeyExpr::Literal {
                location,
                negative,
                cast_to,
                value,
            } => {
                let value = match self.arguments {
                    Arguments::Shape { text, literals } => {
                        from_shape(*location, *negative, text, literals)
                    }
                    Arguments::Whole | Arguments::Bound { .. } => constant(value, *negative),
                };
                match cast_to {
                    Some(to) => value.cast(*to),
                    None => value,
                }
            }
            KeyExpr::Arithmetic {
                operator,
                left,
                right,
            } => arithmetic(*operator, self.value(left), self.value(right)),
            KeyExpr::GeneratedId(index) => self
                .ids
                .get(*index)
                .map_or(Value::Unknown, |&value| Value::Integer { value, oid: INT8 }),
        }
    }

    fn parameter(&self, number: u16, cast_to: Option<u32>, shared: bool) -> Value<'a> {
        let Arguments::Bound { bind, types } = self.arguments else {
            return Value::Unknown;
        };
        let index = usize::from(number).wrapping_sub(1);
        let (format, bytes) = match bind.parameter(index) {
            Some((format, Some(bytes))) => (format, bytes),
            Some((_, None)) => return Value::Null,
            None => return Value::Unknown,
        };
        match (types.get(index).copied().unwrap_or(0), cast_to) {
            (0, _) if shared => match format {
                Format::Text => Value::MaybeOtherwise(Cow::Borrowed(bytes)),
                Format::Binary => Value::Unknown,
            },
            (0, None) => undeclared(bytes, format, self.key_type),
            // A cast around a parameter of no declared type declares it.
            (0, Some(to)) => declared(bytes, format, to),
            (oid, None) => declared(bytes, format, oid),
            (oid, Some(to)) => declared(bytes, format, oid).cast(to),
        }
    }
}

/// A parameter whose type PostgreSQL infers from the key it is compared with.
fn undeclared(bytes: &[u8], format: Format, key_type: KeyType) -> Value<'_> {
    match (format, key_type) {
        (Format::Text, _) => Value::Untyped(Cow::Borrowed(bytes)),
        (Format::Binary, KeyType::Int2 | KeyType::Int4 | KeyType::Int8) => binary_integer(bytes, 0),
        (Format::Binary, KeyType::Text | KeyType::Varchar) => Value::Text(Cow::Borrowed(bytes)),
        (Format::Binary, KeyType::Uuid) => bytes.try_into().map_or(Value::Invalid, Value::Uuid),
    }
}

/// A parameter of a known type.
pub(super) fn declared(bytes: &[u8], format: Format, oid: u32) -> Value<'_> {
    match (oid, format) {
        (INT2 | INT4 | INT8, Format::Text) => Value::Untyped(Cow::Borrowed(bytes)).cast(oid),
        (INT2 | INT4 | INT8, Format::Binary) => binary_integer(bytes, oid),
        (TEXT | VARCHAR, _) => Value::Text(Cow::Borrowed(bytes)),
        (UNKNOWN_TYPE, _) => Value::Untyped(Cow::Borrowed(bytes)),
        (UUID, Format::Text) => number::uuid(bytes).map_or(Value::Invalid, Value::Uuid),
        (UUID, Format::Binary) => bytes.try_into().map_or(Value::Invalid, Value::Uuid),
        (NUMERIC, Format::Text) => Value::Numeric(Cow::Borrowed(bytes)),
        _ => Value::Unknown,
    }
}

/// The binary form of int2, int4 or int8: its length tells which; `oid` 0 takes any.
fn binary_integer<'a>(bytes: &[u8], oid: u32) -> Value<'a> {
    let (value, own) = if let Ok(bytes) = bytes.try_into() {
        (i64::from_be_bytes(bytes), INT8)
    } else if let Ok(bytes) = bytes.try_into() {
        (i64::from(i32::from_be_bytes(bytes)), INT4)
    } else if let Ok(bytes) = bytes.try_into() {
        (i64::from(i16::from_be_bytes(bytes)), INT2)
    } else {
        return Value::Invalid;
    };
    if oid == 0 || oid == own {
        Value::Integer { value, oid }
    } else {
        Value::Invalid
    }
}

/// A constant of the plan.
fn constant(constant: &Constant, negative: bool) -> Value<'_> {
    match constant {
        Constant::Null => Value::Null,
        Constant::Integer(value) => integer_constant(if negative { -value } else { *value }),
        Constant::Numeric(digits) if negative => {
            Value::Numeric(Cow::Owned(format!("-{digits}").into_bytes()))
        }
        Constant::Numeric(digits) => Value::Numeric(Cow::Borrowed(digits.as_bytes())),
        Constant::String(text) => Value::Untyped(Cow::Borrowed(text.as_bytes())),
        Constant::Boolean(_) => Value::Unknown,
    }
}

/// PostgreSQL gives an integer literal the smaller of int4 and int8 that it fits.
fn integer_constant<'a>(value: i64) -> Value<'a> {
    let oid = if i32::try_from(value).is_ok() {
        INT4
    } else {
        INT8
    };
    Value::Integer { value, oid }
}

/// A literal read from the text of a statement that is planned by its shape.
#[inline]
fn from_shape<'a>(
    ordinal: u32,
    negative: bool,
    text: &'a str,
    literals: &[crate::parse::shape::Literal],
) -> Value<'a> {
    let literal = literals.get(ordinal as usize);
    let span = literal.and_then(|literal| {
        Some((
            literal.kind,
            text.as_bytes()
                .get(literal.start as usize..literal.end as usize)?,
        ))
    });
    match span {
        Some((LiteralKind::Integer, digits)) => match number::integer(digits) {
            Integer::Value(value) => integer_constant(if negative { -value } else { value }),
            _ if negative => Value::Unknown,
            _ => Value::Numeric(Cow::Borrowed(digits)),
        },
        Some((LiteralKind::Numeric, digits)) if !negative => Value::Numeric(Cow::Borrowed(digits)),
        Some((LiteralKind::String, [b'\'', inner @ .., b'\''])) => Value::Untyped(unquoted(inner)),
        _ => Value::Unknown,
    }
}

/// The inside of a quoted string, with `''` as one quote.
fn unquoted(inner: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\'', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut value = Vec::with_capacity(inner.len());
    let mut quote_before = false;
    for &byte in inner {
        quote_before = byte == b'\'' && !quote_before;
        if !quote_before {
            value.push(byte);
        }
    }
    Cow::Owned(value)
}

/// `left operator right` of integers by PostgreSQL's types: the wider of the two; out of its range
/// PostgreSQL raises an error of its own.
fn arithmetic<'a>(operator: Arithmetic, left: Value<'_>, right: Value<'_>) -> Value<'a> {
    let (Some((left, left_oid)), Some((right, right_oid))) = (operand(&left), operand(&right))
    else {
        return if left == Value::Null || right == Value::Null {
            Value::Null
        } else {
            Value::Unknown
        };
    };
    let result = match operator {
        Arithmetic::Add => left.checked_add(right),
        Arithmetic::Subtract => left.checked_sub(right),
        Arithmetic::Multiply => left.checked_mul(right),
    };
    let oid = wider(left_oid, right_oid);
    match result {
        Some(value) if fits(value, oid) => Value::Integer { value, oid },
        _ => Value::Unknown,
    }
}

/// An operand's value and type; a parameter of no type takes the other operand's.
fn operand(value: &Value<'_>) -> Option<(i64, u32)> {
    match value {
        Value::Integer { value, oid } => Some((*value, *oid)),
        Value::Untyped(text) => match number::integer(text) {
            Integer::Value(value) => Some((value, 0)),
            _ => None,
        },
        _ => None,
    }
}

fn wider(left: u32, right: u32) -> u32 {
    let width = |oid| match oid {
        0 => 0,
        INT2 => 1,
        INT4 => 2,
        _ => 3,
    };
    if width(left) >= width(right) {
        left
    } else {
        right
    }
}
