//! Where a literal ends: numbers, quoted strings, dollar quotes. `None` is "not a literal that every
//! version of PostgreSQL reads alike".

use super::{CLASSES, Class, LiteralKind, line_comment};

/// A literal's kind and where it ends.
pub(super) struct Scanned {
    pub kind: LiteralKind,
    pub end: usize,
}

fn digits(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

fn is_letter(byte: Option<&u8>) -> bool {
    byte.is_some_and(|&byte| CLASSES[usize::from(byte)] == Class::Letter)
}

/// A number that starts at `at` with a digit, or with a dot before a digit.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<Scanned> {
    let mut end = digits(bytes, at);
    let mut kind = LiteralKind::Integer;
    // `1..10` is an integer and two dots.
    let range = end > at && bytes.get(end + 1) == Some(&b'.');
    if bytes.get(end) == Some(&b'.') && !range {
        end = digits(bytes, end + 1);
        kind = LiteralKind::Numeric;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        end = exponent(bytes, end + 1)?;
        kind = LiteralKind::Numeric;
    }
    // Letters right after a number are an error in PostgreSQL 15 and part of it in 16 (`0x1F`).
    if is_letter(bytes.get(end)) {
        None
    } else {
        Some(Scanned { kind, end })
    }
}

/// The exponent's sign and digits, of which there must be one.
fn exponent(bytes: &[u8], at: usize) -> Option<usize> {
    let start = at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let end = digits(bytes, start);
    (end > start).then_some(end)
}

/// What stands for itself inside a string and does not end it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escapes {
    /// `B'..'`, `X'..'`: nothing.
    Nothing,
    /// `''`
    Quotes,
    /// `''` and a backslash with any character.
    QuotesAndBackslashes,
}

/// The end of the string whose opening quote is at `at`. A string that goes on after a line break
/// (`'a'` newline `'b'` is one string) has none: white space would decide what the text means.
pub(super) fn quoted(bytes: &[u8], at: usize, escapes: Escapes) -> Option<usize> {
    let mut end = at + 1;
    loop {
        end += next_special(bytes.get(end..)?, escapes)?;
        let doubled = escapes != Escapes::Nothing && bytes.get(end + 1) == Some(&b'\'');
        if bytes[end] != b'\\' && !doubled {
            break;
        }
        end += 2;
    }
    let end = end + 1;
    (!continues_on_another_line(bytes, end)).then_some(end)
}

fn next_special(bytes: &[u8], escapes: Escapes) -> Option<usize> {
    match escapes {
        Escapes::QuotesAndBackslashes => memchr::memchr2(b'\'', b'\\', bytes),
        Escapes::Quotes | Escapes::Nothing => memchr::memchr(b'\'', bytes),
    }
}

/// White space with a line break in it, and `--` comments, then another quote.
fn continues_on_another_line(bytes: &[u8], mut at: usize) -> bool {
    let mut line_break = false;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\n' | b'\r' => line_break = true,
            b' ' | b'\t' | 0x0b | 0x0c => {}
            b'-' if bytes.get(at + 1) == Some(&b'-') => {
                at = line_comment(bytes, at);
                continue;
            }
            b'\'' => return line_break,
            _ => return false,
        }
        at += 1;
    }
    false
}

/// The end of `$tag$ ... $tag$` that starts at `at`.
pub(super) fn dollar_quoted(bytes: &[u8], at: usize) -> Option<usize> {
    let tag_length = memchr::memchr(b'$', &bytes[at + 1..])? + 2;
    let tag = &bytes[at..at + tag_length];
    let name = &tag[1..tag_length - 1];
    let is_tag = name
        .iter()
        .enumerate()
        .all(|(place, &byte)| match CLASSES[usize::from(byte)] {
            Class::Letter => true,
            Class::Digit => place > 0,
            _ => false,
        });
    if !is_tag {
        return None;
    }
    let start = at + tag_length;
    memchr::memmem::find(&bytes[start..], tag).map(|length| start + length + tag_length)
}
