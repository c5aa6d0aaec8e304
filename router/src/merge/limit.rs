//! LIMIT and OFFSET over the merged rows.

use wire::Format;
use wire::frontend::Bind;

use super::{MergeError, RowCount, order};

/// How many rows to leave out, and how many to give after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    offset: u64,
    /// `None`: all.
    limit: Option<u64>,
}

/// What becomes of the next row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Skip,
    Give,
}

impl Limit {
    pub fn new(limit: Option<u64>, offset: Option<u64>) -> Self {
        Self {
            offset: offset.unwrap_or(0),
            limit,
        }
    }

    /// `bind` is needed where one of the two is a parameter. A NULL parameter is as none.
    ///
    /// # Errors
    /// A parameter is negative or not a number.
    pub fn resolve(
        limit: Option<&RowCount>,
        offset: Option<&RowCount>,
        bind: Option<&Bind<'_>>,
    ) -> Result<Self, MergeError> {
        Ok(Self::new(
            count("LIMIT", limit, bind)?,
            count("OFFSET", offset, bind)?,
        ))
    }

    pub fn is_reached(&self) -> bool {
        self.limit == Some(0)
    }

    /// No row is left out.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// How many rows are needed until the limit is reached; `None`: all there are.
    pub fn missing(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_add(self.offset))
    }

    /// Counts one row. Not to be asked when the limit is reached.
    pub fn admit(&mut self) -> Verdict {
        if self.offset > 0 {
            self.offset -= 1;
            return Verdict::Skip;
        }
        self.limit = self.limit.map(|left| left.saturating_sub(1));
        Verdict::Give
    }
}

fn count(
    clause: &'static str,
    count: Option<&RowCount>,
    bind: Option<&Bind<'_>>,
) -> Result<Option<u64>, MergeError> {
    match count {
        None => Ok(None),
        Some(RowCount::Constant(value)) => Ok(Some(*value)),
        Some(RowCount::Parameter(number)) => {
            let bind = bind.ok_or(MergeError::Unreadable("a row count"))?;
            parameter(clause, usize::from(*number).saturating_sub(1), bind)
        }
    }
}

fn parameter(
    clause: &'static str,
    index: usize,
    bind: &Bind<'_>,
) -> Result<Option<u64>, MergeError> {
    let (format, value) = bind
        .parameter(index)
        .ok_or(MergeError::Unreadable("a row count"))?;
    let Some(value) = value else { return Ok(None) };
    let number = match format {
        Format::Binary => order::binary_integer(value).ok_or(MergeError::Unreadable("a row count")),
        Format::Text => text(value),
    }?;
    u64::try_from(number)
        .map(Some)
        .map_err(|_| MergeError::Negative(clause))
}

fn text(value: &[u8]) -> Result<i64, MergeError> {
    let text = String::from_utf8_lossy(value);
    text.trim()
        .parse()
        .map_err(|_| MergeError::NotANumber(text.into_owned()))
}
