//! A simple statement's shape: its text with the literals taken out, so that statements which differ
//! only in literals share one plan. No allocation but into the caller's buffers. The rules are those
//! of PostgreSQL 15's `scan.l` with `standard_conforming_strings` on; where a later version reads a
//! text otherwise (`0x1F`, `1_000`), the text has no shape.

mod literal;

use literal::{Escapes, Scanned, dollar_quoted, number, quoted};

/// What kind of token a literal is. It is part of the shape: `1` and `'1'` have different shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteralKind {
    /// Decimal digits only (no sign: a minus stays in the shape).
    Integer,
    /// Any other number.
    Numeric,
    /// `'...'` without backslash rules; `''` inside stands for one quote.
    String,
    /// `E'..'`, `$$..$$`, `U&'..'`, `B'..'`, `X'..'`: never read as a key from the span.
    Other,
}

impl LiteralKind {
    /// The byte that stands for the literal in the shape's key.
    fn mark(self) -> u8 {
        match self {
            Self::Integer => 1,
            Self::Numeric => 2,
            Self::String => 3,
            Self::Other => 4,
        }
    }
}

/// Where a literal stands in the text: `text[start..end]`, quotes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    pub kind: LiteralKind,
    pub start: u32,
    pub end: u32,
}

/// Buffers reused from one statement to the next.
#[derive(Debug, Default)]
pub struct Shape {
    /// The text with each literal replaced by one byte 0x01..0x04 for its kind, runs of white space
    /// and comments replaced by one space. The cache compares this whole, never only a hash of it.
    pub key: Vec<u8>,
    pub literals: Vec<Literal>,
}

/// Why a text has no shape; it then is parsed and planned whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoShape {
    /// More than one statement (a `;` that is not at the end).
    Several,
    /// Nothing but white space, comments and `;`.
    Empty,
    /// Unterminated quote or comment, a NUL, or longer than [`LONGEST`]: let the parser say it.
    Unlexable,
}

/// Longest text that has a shape, in bytes. Longer ones are bulk statements, planned whole.
pub const LONGEST: usize = 16 * 1024;

/// What a byte may begin or continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Letters, `_` and every byte of a multi-byte character.
    Letter,
    Digit,
    Space,
    /// Punctuation and operator characters that only stand for themselves.
    Plain,
    Quote,
    DoubleQuote,
    Dollar,
    Minus,
    Slash,
    Dot,
    Semicolon,
    /// No token of PostgreSQL begins with it.
    Bad,
}

pub(crate) const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::Bad; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c => Class::Space,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'-' => Class::Minus,
            b'/' => Class::Slash,
            b'.' => Class::Dot,
            b';' => Class::Semicolon,
            b',' | b'(' | b')' | b'[' | b']' | b':' | b'+' | b'*' | b'%' | b'^' | b'<' | b'>'
            | b'=' | b'~' | b'!' | b'@' | b'#' | b'&' | b'|' | b'`' | b'?' => Class::Plain,
            _ => Class::Bad,
        };
        byte += 1;
    }
    table
}

/// Whether `byte` may stand inside an identifier.
fn continues_identifier(byte: u8) -> bool {
    matches!(
        CLASSES[usize::from(byte)],
        Class::Letter | Class::Digit | Class::Dollar
    )
}

impl Shape {
    /// Lexes `text` (PostgreSQL 15's lexical rules with `standard_conforming_strings` on) into
    /// `self`, whose buffers are cleared first.
    pub fn read(&mut self, text: &str) -> Result<(), NoShape> {
        self.key.clear();
        self.literals.clear();
        if text.len() > LONGEST {
            return Err(NoShape::Unlexable);
        }
        self.key.reserve(text.len());
        self.tokens(text.as_bytes())
    }

    /// The literal that starts at byte `location`, as its place among `literals`.
    pub fn ordinal_at(&self, location: u32) -> Option<usize> {
        self.literals
            .binary_search_by_key(&location, |literal| literal.start)
            .ok()
    }

    fn tokens(&mut self, bytes: &[u8]) -> Result<(), NoShape> {
        let mut at = 0;
        let mut gap = false;
        while let Some(&byte) = bytes.get(at) {
            let class = CLASSES[usize::from(byte)];
            if class == Class::Space {
                at += 1;
                gap = true;
                continue;
            }
            if let Some(end) = comment(bytes, at, class)? {
                at = end;
                gap = true;
                continue;
            }
            if class == Class::Semicolon {
                return self.nothing_but_space_follows(bytes, at);
            }
            if gap && !self.key.is_empty() {
                self.key.push(b' ');
            }
            gap = false;
            at = self.token(bytes, at, class).ok_or(NoShape::Unlexable)?;
        }
        if self.key.is_empty() {
            Err(NoShape::Empty)
        } else {
            Ok(())
        }
    }

    /// One token that starts at `at`; gives where it ends.
    #[inline]
    fn token(&mut self, bytes: &[u8], at: usize, class: Class) -> Option<usize> {
        match class {
            Class::Letter => self.word(bytes, at),
            Class::Digit => self.literal(at, number(bytes, at)?),
            Class::Dot if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                self.literal(at, number(bytes, at)?)
            }
            Class::Dot if bytes.get(at + 1) == Some(&b'.') => self.copy(bytes, at, at + 2),
            Class::Quote => self.literal(
                at,
                Scanned {
                    kind: LiteralKind::String,
                    end: quoted(bytes, at, Escapes::Quotes)?,
                },
            ),
            Class::DoubleQuote => self.copy(bytes, at, quoted_identifier(bytes, at)?),
            Class::Dollar if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
                self.copy(bytes, at, parameter(bytes, at)?)
            }
            Class::Dollar => self.literal(
                at,
                Scanned {
                    kind: LiteralKind::Other,
                    end: dollar_quoted(bytes, at)?,
                },
            ),
            Class::Plain | Class::Minus | Class::Slash | Class::Dot => {
                self.key.push(bytes[at]);
                Some(at + 1)
            }
            Class::Space | Class::Semicolon | Class::Bad => None,
        }
    }

    /// An identifier or key word, or a string with a prefix.
    #[inline]
    fn word(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let mut end = at + 1;
        while bytes
            .get(end)
            .is_some_and(|&byte| continues_identifier(byte))
        {
            end += 1;
        }
        if end == at + 1 {
            match (bytes[at], bytes.get(end), bytes.get(end + 1)) {
                (b'e' | b'E', Some(b'\''), _) => {
                    return self.prefixed(bytes, at, end, Escapes::QuotesAndBackslashes);
                }
                (b'b' | b'B' | b'x' | b'X', Some(b'\''), _) => {
                    return self.prefixed(bytes, at, end, Escapes::Nothing);
                }
                (b'n' | b'N', Some(b'\''), _) => {
                    return self.prefixed(bytes, at, end, Escapes::Quotes);
                }
                (b'u' | b'U', Some(b'&'), Some(b'\'')) => {
                    return self.prefixed(bytes, at, end + 1, Escapes::Quotes);
                }
                // What it names may depend on the literal of a UESCAPE clause.
                (b'u' | b'U', Some(b'&'), Some(b'"')) => return None,
                _ => {}
            }
        }
        self.copy(bytes, at, end)
    }

    /// A string literal whose quote is at `quote`, after a prefix that starts at `at`.
    fn prefixed(
        &mut self,
        bytes: &[u8],
        at: usize,
        quote: usize,
        escapes: Escapes,
    ) -> Option<usize> {
        self.key.push(bytes[at].to_ascii_lowercase());
        self.literal(
            at,
            Scanned {
                kind: LiteralKind::Other,
                end: quoted(bytes, quote, escapes)?,
            },
        )
    }

    fn copy(&mut self, bytes: &[u8], start: usize, end: usize) -> Option<usize> {
        self.key.extend_from_slice(&bytes[start..end]);
        Some(end)
    }

    fn literal(&mut self, start: usize, Scanned { kind, end }: Scanned) -> Option<usize> {
        self.key.push(kind.mark());
        self.literals.push(Literal {
            kind,
            start: offset(start),
            end: offset(end),
        });
        Some(end)
    }

    fn nothing_but_space_follows(&self, bytes: &[u8], mut at: usize) -> Result<(), NoShape> {
        while let Some(&byte) = bytes.get(at) {
            let class = CLASSES[usize::from(byte)];
            if matches!(class, Class::Space | Class::Semicolon) {
                at += 1;
            } else if let Some(end) = comment(bytes, at, class)? {
                at = end;
            } else {
                return Err(NoShape::Several);
            }
        }
        if self.key.is_empty() {
            Err(NoShape::Empty)
        } else {
            Ok(())
        }
    }
}

/// A text with a shape is no longer than [`LONGEST`], so its offsets fit.
fn offset(at: usize) -> u32 {
    at as u32
}

/// Where the comment that starts at `at` ends; `None` where none starts.
#[inline]
fn comment(bytes: &[u8], at: usize, class: Class) -> Result<Option<usize>, NoShape> {
    match (class, bytes.get(at + 1)) {
        (Class::Minus, Some(b'-')) => Ok(Some(line_comment(bytes, at))),
        (Class::Slash, Some(b'*')) => block_comment(bytes, at).ok_or(NoShape::Unlexable).map(Some),
        _ => Ok(None),
    }
}

pub(crate) fn line_comment(bytes: &[u8], at: usize) -> usize {
    memchr::memchr2(b'\n', b'\r', &bytes[at..]).map_or(bytes.len(), |length| at + length)
}

/// Block comments nest, unlike C's.
fn block_comment(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 1;
    let mut at = at + 2;
    loop {
        at += memchr::memchr2(b'*', b'/', bytes.get(at..)?)?;
        match (bytes[at], bytes.get(at + 1)) {
            (b'*', Some(b'/')) => {
                depth -= 1;
                at += 2;
            }
            (b'/', Some(b'*')) => {
                depth += 1;
                at += 2;
            }
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

/// `"` doubled stands for itself, which needs no care here: `"a""b"` is copied as two.
fn quoted_identifier(bytes: &[u8], at: usize) -> Option<usize> {
    let length = memchr::memchr(b'"', &bytes[at + 1..])?;
    // A zero-length identifier is PostgreSQL's to refuse; a NUL cannot be in a message.
    Some(at + length + 2)
}

/// `$1`; letters right after the digits are an error.
fn parameter(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    let junk = bytes
        .get(end)
        .is_some_and(|&byte| continues_identifier(byte) && byte != b'$');
    if junk { None } else { Some(end) }
}

#[cfg(test)]
mod tests;
