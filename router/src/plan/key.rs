//! The shard key as an expression of constants and parameters.

mod read;

pub use read::read;

/// Computed at execution by `route`. Anything that is not one of these is "unknown" to the planner.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyExpr {
    /// `$n`, 1-based; `cast_to` is the oid of an explicit cast around it (`$1::int8`), if any.
    Parameter { number: u16, cast_to: Option<u32> },
    /// As `Parameter`, but the statement uses `$n` elsewhere too, where PostgreSQL may settle its
    /// type otherwise: without a declared type its binary form cannot be read. Made only by
    /// [`super::Plan::finish`].
    SharedParameter { number: u16, cast_to: Option<u32> },
    /// The literal that starts at this byte of the statement's text. With `negative`, a minus stands
    /// before it and is not part of `value`. `cast_to` as above. In a `by_shape` plan `location` is
    /// instead the literal's place among the shape's literals (0-based; [`super::Plan::finish`] sees
    /// to it), and the value is read from there.
    Literal {
        location: u32,
        negative: bool,
        cast_to: Option<u32>,
        value: Constant,
    },
    /// Integer arithmetic with PostgreSQL's types (int4 op int4 -> int4 with overflow = unknown).
    Arithmetic {
        operator: Arithmetic,
        left: Box<KeyExpr>,
        right: Box<KeyExpr>,
    },
    /// The id the router fills in for the n-th `Piece::NextId` (0-based) of the rewrite or row.
    GeneratedId(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
}

/// A constant as the grammar read it.
#[derive(Debug, Clone, PartialEq)]
pub enum Constant {
    Null,
    Integer(i64),
    /// A number that does not fit int8 or has a fraction, as text.
    Numeric(String),
    String(String),
    Boolean(bool),
}
