//! Fields of text format, with its backslash escapes (PostgreSQL 15 manual, COPY, "Text Format").

use memchr::{memchr, memchr2};

use super::CopyKey;

/// Whether the byte at `at` has an odd number of backslashes before it.
pub fn is_escaped(line: &[u8], at: usize) -> bool {
    let backslashes = line[..at]
        .iter()
        .rev()
        .take_while(|&&byte| byte == b'\\')
        .count();
    backslashes % 2 == 1
}

/// Field number `wanted` of a line.
pub fn field<'a>(
    line: &'a [u8],
    wanted: usize,
    delimiter: u8,
    null: &[u8],
    scratch: &'a mut Vec<u8>,
) -> CopyKey<'a> {
    let mut start = 0;
    for _ in 0..wanted {
        match delimiter_after(line, start, delimiter) {
            Some(at) => start = at + 1,
            None => return CopyKey::Missing,
        }
    }
    let end = delimiter_after(line, start, delimiter).unwrap_or(line.len());
    let raw = &line[start..end];
    // The null string is compared before escapes are read.
    if raw == null {
        return CopyKey::Null;
    }
    if memchr(b'\\', raw).is_none() {
        return CopyKey::Text(raw);
    }
    unescape(raw, scratch);
    CopyKey::Text(scratch)
}

fn delimiter_after(line: &[u8], start: usize, delimiter: u8) -> Option<usize> {
    let mut from = start;
    loop {
        let at = from + memchr2(delimiter, b'\\', line.get(from..)?)?;
        if line[at] == delimiter {
            return Some(at);
        }
        from = at + 2;
    }
}

fn unescape(raw: &[u8], decoded: &mut Vec<u8>) {
    decoded.clear();
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' || rest.is_empty() {
            decoded.push(*first);
            continue;
        }
        let (byte, used) = escape(rest);
        decoded.push(byte);
        rest = &rest[used..];
    }
}

/// What follows a backslash: the byte it stands for, and how many bytes that took.
fn escape(after: &[u8]) -> (u8, usize) {
    let first = after[0];
    match first {
        b'b' => (8, 1),
        b'f' => (12, 1),
        b'n' => (b'\n', 1),
        b'r' => (b'\r', 1),
        b't' => (b'\t', 1),
        b'v' => (11, 1),
        b'0'..=b'7' => number(after, 8, 3),
        b'x' => match number(&after[1..], 16, 2) {
            (_, 0) => (b'x', 1),
            (byte, used) => (byte, used + 1),
        },
        other => (other, 1),
    }
}

/// Up to `most` digits; as PostgreSQL does, only the low eight bits count.
fn number(digits: &[u8], radix: u32, most: usize) -> (u8, usize) {
    let values = digits
        .iter()
        .take(most)
        .map_while(|&digit| char::from(digit).to_digit(radix));
    let (value, used) = values.fold((0u32, 0), |(value, used), digit| {
        (value * radix + digit, used + 1)
    });
    ((value & 0xff) as u8, used)
}
