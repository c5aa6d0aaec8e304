//! Numeric and floating-point values as bytes that sort alike, from text and from binary.

use wire::Format;

/// What a numeric begins with. All of one kind but the finite ones are equal; NaN is the greatest, as
/// in PostgreSQL's `cmp_numerics`.
const NEGATIVE_INFINITY: u8 = 0;
const NEGATIVE: u8 = 1;
const ZERO: u8 = 2;
const POSITIVE: u8 = 3;
const INFINITY: u8 = 4;
const NAN: u8 = 5;

/// A finite numeric: 0.ddd times ten to the power of `exponent`, the first and last digit not zero.
struct Decimal {
    negative: bool,
    exponent: i32,
    /// 0 to 9; none for zero.
    digits: Vec<u8>,
}

/// `None`: not a numeric.
pub fn append_numeric(format: Format, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let special = match format {
        Format::Text => special_text(value),
        Format::Binary => special_binary(value)?,
    };
    if let Some(kind) = special {
        out.push(kind);
        return Some(());
    }
    let decimal = match format {
        Format::Text => from_text(value)?,
        Format::Binary => from_binary(value)?,
    };
    decimal.append(out);
    Some(())
}

fn special_text(value: &[u8]) -> Option<u8> {
    match value {
        b"NaN" => Some(NAN),
        b"Infinity" => Some(INFINITY),
        b"-Infinity" => Some(NEGATIVE_INFINITY),
        _ => None,
    }
}

/// `NUMERIC_NAN` and its like, of PostgreSQL's `numeric.c`.
fn special_binary(value: &[u8]) -> Option<Option<u8>> {
    let sign = u16::from_be_bytes(value.get(4..6)?.try_into().ok()?);
    Some(match sign {
        0xc000 => Some(NAN),
        0xd000 => Some(INFINITY),
        0xf000 => Some(NEGATIVE_INFINITY),
        _ => None,
    })
}

/// PostgreSQL prints a numeric without an exponent: `-12.340`.
fn from_text(value: &[u8]) -> Option<Decimal> {
    let (negative, magnitude) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let point = magnitude.iter().position(|byte| *byte == b'.');
    let whole = point.unwrap_or(magnitude.len());
    let digits = magnitude.iter().filter(|byte| **byte != b'.');
    let digits: Option<Vec<u8>> = digits
        .map(|byte| byte.is_ascii_digit().then(|| byte - b'0'))
        .collect();
    let digits = digits.filter(|digits| !digits.is_empty())?;
    Some(Decimal::new(negative, i32::try_from(whole).ok()?, digits))
}

/// As `numeric_send` writes it: count of digits, weight of the first, sign, scale; digits to base 10,000.
fn from_binary(value: &[u8]) -> Option<Decimal> {
    let (words, rest) = value.as_chunks::<2>();
    let words: Vec<u16> = words.iter().map(|word| u16::from_be_bytes(*word)).collect();
    let [count, weight, sign, _, groups @ ..] = words.as_slice() else {
        return None;
    };
    if !rest.is_empty() || groups.len() != usize::from(*count) || !matches!(sign, 0 | 0x4000) {
        return None;
    }
    let of_group = |group: &u16| [1_000, 100, 10, 1].map(|unit| (group / unit % 10) as u8);
    let digits = groups.iter().flat_map(of_group).collect();
    let exponent = (i32::from(*weight as i16) + 1) * 4;
    Some(Decimal::new(*sign != 0, exponent, digits))
}

impl Decimal {
    /// Zeros at both ends are left out.
    fn new(negative: bool, exponent: i32, mut digits: Vec<u8>) -> Self {
        let ahead = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..ahead);
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Self {
            negative,
            // A numeric has far fewer digits than 2^31.
            exponent: exponent - ahead as i32,
            digits,
        }
    }

    fn append(&self, out: &mut Vec<u8>) {
        if self.digits.is_empty() {
            out.push(ZERO);
            return;
        }
        out.push(if self.negative { NEGATIVE } else { POSITIVE });
        let start = out.len();
        // With the sign bit inverted, two's complement sorts as unsigned bytes.
        out.extend_from_slice(&(self.exponent ^ i32::MIN).to_be_bytes());
        out.extend(self.digits.iter().map(|digit| digit + 1));
        // Less than any digit: a number sorts before those that go on.
        out.push(0);
        if self.negative {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
}

/// A float4 or float8 as a number that sorts alike. Text has as many digits as tell values apart.
pub fn float(format: Format, value: &[u8]) -> Option<u64> {
    let number = match (format, value.len()) {
        (Format::Text, _) => std::str::from_utf8(value).ok()?.parse().ok()?,
        (Format::Binary, 4) => f64::from(f32::from_be_bytes(value.try_into().ok()?)),
        (Format::Binary, 8) => f64::from_be_bytes(value.try_into().ok()?),
        _ => return None,
    };
    if number.is_nan() {
        return Some(u64::MAX);
    }
    // -0 + 0 is 0.
    let bits = (number + 0.0).to_bits();
    let negative = bits >> 63 == 1;
    Some(if negative { !bits } else { bits | 1 << 63 })
}

#[cfg(test)]
mod tests;
