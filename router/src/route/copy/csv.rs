//! Fields of csv format (PostgreSQL's `CopyReadAttributesCSV`).

use super::CopyKey;
use super::lines::Quoting;

/// Field number `wanted` of a line.
pub fn field<'a>(
    line: &'a [u8],
    wanted: usize,
    delimiter: u8,
    quoting: Quoting,
    null: &[u8],
    scratch: &'a mut Vec<u8>,
) -> CopyKey<'a> {
    let mut at = 0;
    for _ in 0..wanted {
        match skip(line, at, delimiter, quoting) {
            Some(next) => at = next,
            None => return CopyKey::Missing,
        }
    }
    let rest = &line[at..];
    if memchr::memchr2(quoting.quote, delimiter, rest).is_none_or(|found| rest[found] == delimiter)
    {
        let end = memchr::memchr(delimiter, rest).unwrap_or(rest.len());
        let raw = &rest[..end];
        return if raw == null {
            CopyKey::Null
        } else {
            CopyKey::Text(raw)
        };
    }
    let was_quoted = decode(rest, delimiter, quoting, scratch);
    // A quoted null string is the string itself.
    if !was_quoted && scratch == null {
        CopyKey::Null
    } else {
        CopyKey::Text(scratch)
    }
}

/// The start of the field after the one that starts at `at`.
fn skip(line: &[u8], at: usize, delimiter: u8, quoting: Quoting) -> Option<usize> {
    let mut quoted = false;
    let mut index = at;
    while let Some(&byte) = line.get(index) {
        if !quoted && byte == delimiter {
            return Some(index + 1);
        }
        if quoted && byte == quoting.escape && is_escape(line, index, quoting) {
            index += 1;
        } else if byte == quoting.quote {
            quoted = !quoted;
        }
        index += 1;
    }
    None
}

/// An escape counts only before a quote or another escape.
fn is_escape(line: &[u8], at: usize, quoting: Quoting) -> bool {
    line.get(at + 1)
        .is_some_and(|&next| next == quoting.escape || next == quoting.quote)
}

/// Reads one field; true: some of it was quoted.
fn decode(rest: &[u8], delimiter: u8, quoting: Quoting, decoded: &mut Vec<u8>) -> bool {
    decoded.clear();
    let (mut quoted, mut was_quoted) = (false, false);
    let mut index = 0;
    while let Some(&byte) = rest.get(index) {
        if !quoted && byte == delimiter {
            break;
        }
        if quoted && byte == quoting.escape && is_escape(rest, index, quoting) {
            index += 1;
            decoded.push(rest[index]);
        } else if byte == quoting.quote {
            quoted = !quoted;
            was_quoted = true;
        } else {
            decoded.push(byte);
        }
        index += 1;
    }
    was_quoted
}
