//! A simple statement's shape: its text with the literals taken out, so that statements which differ
//! only in literals share one plan. No allocation but into the caller's buffers.

/// What kind of token a literal is. It is part of the shape: `1` and `'1'` have different shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiteralKind {
    /// Decimal digits only (no sign: a minus stays in the shape).
    Integer,
    /// Any other number.
    Numeric,
    /// `'...'` without backslash rules (or with, where the value holds no backslash); `''` inside
    /// stands for one quote.
    String,
    /// `E'..'`, `$$..$$`, `U&'..'`, `B'..'`, `X'..'`: never read as a key from the span.
    Other,
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
    /// Unterminated quote or comment, a NUL, or longer than the limit: let the parser say it.
    Unlexable,
}

impl Shape {
    /// Lexes `text` (PostgreSQL 15's lexical rules with `standard_conforming_strings` on) into
    /// `self`, whose buffers are cleared first.
    pub fn read(&mut self, _text: &str) -> Result<(), NoShape> {
        Err(NoShape::Unlexable)
    }
}
