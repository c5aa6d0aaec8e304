//! PostgreSQL's numeric in binary, for whole numbers.
//!
//! Layout (`numeric_send`): count of digits, weight of the first digit, sign, display scale, all 16
//! bits; then digits to base 10,000. Zeros at the end are left out.

const BASE: u128 = 10_000;
const NEGATIVE: u16 = 0x4000;

/// `None`: not a whole number (NaN, infinity, a fraction), or beyond 128 bits.
pub fn decode(value: &[u8]) -> Option<i128> {
    let (words, rest) = value.as_chunks::<2>();
    let mut words = words.iter().map(|word| u16::from_be_bytes(*word));
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let digits: Vec<u16> = words.collect();
    let whole = rest.is_empty() && scale == 0 && digits.len() == usize::from(count);
    if !whole || !matches!(sign, 0 | NEGATIVE) {
        return None;
    }
    let magnitude = magnitude(&digits, i32::from(weight as i16))?;
    if sign == 0 {
        i128::try_from(magnitude).ok()
    } else {
        0_i128.checked_sub_unsigned(magnitude)
    }
}

fn magnitude(digits: &[u16], weight: i32) -> Option<u128> {
    if digits.is_empty() {
        return Some(0);
    }
    // A digit behind the point would be a fraction.
    let zeros = (weight + 1).checked_sub(i32::try_from(digits.len()).ok()?)?;
    let mut value: u128 = 0;
    for digit in digits.iter().copied().chain((0..zeros.max(0)).map(|_| 0)) {
        value = value.checked_mul(BASE)?.checked_add(digit.into())?;
    }
    (zeros >= 0).then_some(value)
}

pub fn encode(value: i128, out: &mut Vec<u8>) {
    let mut digits = digits(value.unsigned_abs());
    // At most ten digits: 2^127 < 10,000^10.
    let weight = (digits.len() as i16 - 1).max(0);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let sign = if value < 0 { NEGATIVE } else { 0 };
    for word in [digits.len() as u16, weight as u16, sign, 0]
        .into_iter()
        .chain(digits)
    {
        out.extend_from_slice(&word.to_be_bytes());
    }
}

/// To base 10,000, the highest first; none for zero.
fn digits(mut value: u128) -> Vec<u16> {
    let mut digits = Vec::with_capacity(10);
    while value > 0 {
        digits.push((value % BASE) as u16);
        value /= BASE;
    }
    digits.reverse();
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let mut value: i128 = 1;
        let mut all = vec![
            0,
            9_999,
            10_000,
            10_001,
            100_000_000,
            i128::MAX,
            i128::MIN,
            i64::MAX.into(),
        ];
        while let Some(next) = value.checked_mul(7) {
            all.push(value);
            value = next;
        }
        for value in all.iter().flat_map(|value| [*value, value.wrapping_neg()]) {
            let mut bytes = Vec::new();
            encode(value, &mut bytes);
            assert_eq!(decode(&bytes), Some(value));
        }
    }

    /// As `SELECT numeric_send(...)` prints them.
    #[test]
    fn bytes_are_those_of_postgresql() {
        let cases: [(i128, &[u16]); 4] = [
            (0, &[0, 0, 0, 0]),
            (10_000, &[1, 1, 0, 0, 1]),
            (-123_456_789, &[3, 2, 0x4000, 0, 1, 2345, 6789]),
            (
                18_446_744_073_709_551_616,
                &[5, 4, 0, 0, 1844, 6744, 737, 955, 1616],
            ),
        ];
        for (value, words) in cases {
            let mut bytes = Vec::new();
            encode(value, &mut bytes);
            let expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(bytes, expected, "{value}");
        }
    }

    #[test]
    fn fractions_and_not_a_number_are_refused() {
        for words in [
            [1_u16, 0xffff, 0, 0, 5000],
            [0, 0, 0xc000, 0, 0],
            [1, 0, 0, 2, 5],
            [2, 0, 0, 0, 5],
        ] {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            assert_eq!(decode(&bytes), None, "{words:?}");
        }
    }
}
