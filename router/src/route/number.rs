//! Texts to integers and UUIDs by PostgreSQL's input rules, to the last space.

/// What a text is as an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    Value(i64),
    /// No version of PostgreSQL accepts it, or not within 64 bits: it gives an error of its own.
    Invalid,
    /// Versions differ (`0x1F`, `1_000`).
    Unclear,
}

/// C's `isspace` in the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

/// As int8's input function: spaces around, one sign, decimal digits.
#[inline]
pub(super) fn integer(text: &[u8]) -> Integer {
    let text = trim(text);
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    match magnitude(digits) {
        Some(value) if negative => value.checked_neg_to_i64(),
        Some(value) => i64::try_from(value).map_or(Integer::Invalid, Integer::Value),
        None if looks_newer(digits) => Integer::Unclear,
        None => Integer::Invalid,
    }
}

trait Negate {
    fn checked_neg_to_i64(self) -> Integer;
}

impl Negate for u64 {
    fn checked_neg_to_i64(self) -> Integer {
        0_i64
            .checked_sub_unsigned(self)
            .map_or(Integer::Invalid, Integer::Value)
    }
}

/// Decimal digits, at least one, that fit 64 bits.
fn magnitude(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut value = 0_u64;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// PostgreSQL 16 reads `0x`, `0o`, `0b` and underscores between digits.
fn looks_newer(digits: &[u8]) -> bool {
    digits.contains(&b'_') || matches!(digits, [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..])
}

/// The integer that a decimal number such as `5.0`, `1e3` or `-7` is equal to; `Invalid` where it is
/// beyond 64 bits. A fraction is `Unclear`: it is equal to no integer, but rounded to one where it is
/// stored.
pub(super) fn numeric(text: &[u8]) -> Integer {
    let text = trim(text);
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (digits, scale) = match decimal(rest) {
        Some((digits, scale)) if scale >= 0 || digits.is_empty() => (digits, scale),
        _ => return Integer::Unclear,
    };
    match scaled(&digits, scale) {
        Some(value) if negative => value.checked_neg_to_i64(),
        Some(value) => i64::try_from(value).map_or(Integer::Invalid, Integer::Value),
        None => Integer::Invalid,
    }
}

/// Significant digits without zeros at either end, and the power of ten they are to be taken times.
fn decimal(text: &[u8]) -> Option<(Vec<u8>, i64)> {
    let mantissa_length = text
        .iter()
        .position(|byte| matches!(byte, b'e' | b'E'))
        .unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(mantissa_length);
    let exponent = match exponent {
        [] => 0,
        [_, digits @ ..] => std::str::from_utf8(digits).ok()?.parse::<i32>().ok()?,
    };
    let point = mantissa
        .iter()
        .position(|&byte| byte == b'.')
        .unwrap_or(mantissa.len());
    let fraction = mantissa.get(point + 1..).unwrap_or_default();
    let mut digits: Vec<u8> = mantissa[..point].iter().chain(fraction).copied().collect();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut scale = i64::from(exponent) - i64::try_from(fraction.len()).ok()?;
    while digits.last() == Some(&b'0') {
        digits.pop();
        scale += 1;
    }
    Some((digits, scale))
}

fn scaled(digits: &[u8], scale: i64) -> Option<u64> {
    if digits.is_empty() {
        return Some(0);
    }
    let power = u32::try_from(scale).ok()?;
    let first = digits.iter().position(|&byte| byte != b'0')?;
    magnitude(&digits[first..])?.checked_mul(10_u64.checked_pow(power)?)
}

/// As PostgreSQL's `uuid_in`: 32 hexadecimal digits, a hyphen allowed after every fourth, braces
/// around or not; no spaces.
pub(super) fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let mut rest = match text {
        [b'{', inner @ .., b'}'] => inner,
        [b'{', ..] => return None,
        plain => plain,
    };
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        let [high, low, after @ ..] = rest else {
            return None;
        };
        *byte = (hexadecimal(*high)? << 4) | hexadecimal(*low)?;
        rest = match after {
            [b'-', after @ ..] if index % 2 == 1 && index < 15 => after,
            after => after,
        };
    }
    rest.is_empty().then_some(bytes)
}

fn hexadecimal(digit: u8) -> Option<u8> {
    // 16 is a valid radix and a hexadecimal digit fits a byte.
    (digit as char)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}
