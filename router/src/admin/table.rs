//! A table as the admin database answers it.

/// Type of a column, so that clients can compute with figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// int8
    Number,
    Boolean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
}

pub const fn text(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Text,
    }
}

pub const fn number(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Number,
    }
}

pub const fn boolean(name: &'static str) -> Column {
    Column {
        name,
        kind: Kind::Boolean,
    }
}

/// Values in text format; `None` is NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminTable {
    pub columns: &'static [Column],
    pub rows: Vec<Vec<Option<String>>>,
}

/// One value. Numbers and texts print as they are; booleans as PostgreSQL's `t` and `f`.
pub trait Cell {
    fn cell(self) -> Option<String>;
}

impl Cell for &str {
    fn cell(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl Cell for String {
    fn cell(self) -> Option<String> {
        Some(self)
    }
}

impl Cell for bool {
    fn cell(self) -> Option<String> {
        Some(if self { "t" } else { "f" }.to_owned())
    }
}

impl<T: Cell> Cell for Option<T> {
    fn cell(self) -> Option<String> {
        self.and_then(Cell::cell)
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Cell for $number {
            fn cell(self) -> Option<String> {
                Some(self.to_string())
            }
        }
    )*};
}

numbers!(u16, u32, u64, usize);

/// A row of [`Cell`]s.
macro_rules! row {
    ($($cell:expr),* $(,)?) => {
        vec![$($crate::admin::table::Cell::cell($cell)),*]
    };
}

pub(super) use row;
