//! Where a cursor stands, and what each form of FETCH and MOVE makes of it: `DoPortalRunFetch` of
//! PostgreSQL's `pquery.c`, over rows that are all known.

use crate::error::RouterError;
use crate::plan::{FetchDirection, FetchStep};

/// A place among numbered rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::session) struct Position {
    /// 0: before the first row; `rows` + 1: after the last.
    at: u64,
    rows: u64,
    /// Declared NO SCROLL.
    forward_only: bool,
}

/// Rows to give, as numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) struct Span {
    /// The first to be given.
    pub first: u64,
    pub count: u64,
    /// The next is the one before.
    pub backward: bool,
}

impl Span {
    pub fn numbers(self) -> impl Iterator<Item = u64> {
        (0..self.count).map(move |step| match self.backward {
            true => self.first - step,
            false => self.first + step,
        })
    }
}

/// As `FETCH_ALL` of PostgreSQL's `nodes/parsenodes.h`.
const ALL: u64 = i64::MAX as u64;

impl Position {
    pub fn before_first(rows: u64, forward_only: bool) -> Self {
        Self {
            at: 0,
            rows,
            forward_only,
        }
    }

    /// # Errors
    /// 55000: backwards through a cursor that only goes forward.
    pub fn step(&mut self, step: FetchStep, is_move: bool) -> Result<Span, RouterError> {
        let count = step.count.unsigned_abs();
        let negative = step.count < 0;
        match step.direction {
            FetchDirection::Forward => self.straight(!negative, count, is_move),
            FetchDirection::Backward => self.straight(negative, count, is_move),
            FetchDirection::Absolute if step.count == 0 => {
                self.rewind()?;
                self.run(true, 0)
            }
            FetchDirection::Absolute if negative => {
                self.run(true, ALL)?;
                self.one_of(false, count)
            }
            FetchDirection::Absolute => self.absolute(count),
            FetchDirection::Relative if step.count == 0 => self.straight(true, 0, is_move),
            FetchDirection::Relative => self.one_of(!negative, count),
        }
    }

    fn is_after_last(&self) -> bool {
        self.at > self.rows
    }

    /// The `count`-th row from here.
    fn one_of(&mut self, forward: bool, count: u64) -> Result<Span, RouterError> {
        if count > 1 {
            self.run(forward, count - 1)?;
        }
        self.run(forward, 1)
    }

    /// PostgreSQL goes back to the start, or a way back or on, whatever is shorter; the difference
    /// matters to cursors that cannot go back.
    fn absolute(&mut self, count: u64) -> Result<Span, RouterError> {
        let passed = self.at.min(self.rows);
        if count - 1 <= passed / 2 {
            self.rewind()?;
            return self.one_of(true, count);
        }
        if count <= self.at {
            self.run(false, self.at - count + 1)?;
        } else if count > self.at + 1 {
            self.run(true, count - self.at - 1)?;
        }
        self.run(true, 1)
    }

    fn straight(&mut self, forward: bool, count: u64, is_move: bool) -> Result<Span, RouterError> {
        if count == 0 {
            return self.again(is_move);
        }
        if !forward && count >= ALL && is_move {
            let passed = self.at.saturating_sub(1);
            self.rewind()?;
            return Ok(span(0, passed, false));
        }
        self.run(forward, count)
    }

    /// FETCH 0: the row that the cursor is on.
    fn again(&mut self, is_move: bool) -> Result<Span, RouterError> {
        let on_row = self.at > 0 && !self.is_after_last();
        if !on_row {
            return self.run(true, 0);
        }
        if !is_move {
            self.run(false, 1)?;
            return self.run(true, 1);
        }
        Ok(span(self.at - 1, 1, false))
    }

    fn rewind(&mut self) -> Result<(), RouterError> {
        if self.at > 0 && self.forward_only {
            return Err(forward_only());
        }
        self.at = 0;
        Ok(())
    }

    /// Over so many rows, or to the end beyond them.
    fn run(&mut self, forward: bool, count: u64) -> Result<Span, RouterError> {
        if !forward && self.forward_only {
            return Err(forward_only());
        }
        let left = if forward {
            self.rows.saturating_sub(self.at)
        } else {
            self.at.saturating_sub(1)
        };
        let passed = left.min(count);
        let to_the_end = count >= ALL || passed < count;
        let from = self.at;
        if forward {
            self.at = if to_the_end {
                self.rows + 1
            } else {
                from + passed
            };
            Ok(span(from, passed, false))
        } else {
            self.at = if to_the_end { 0 } else { from - passed };
            Ok(span(from.saturating_sub(2), passed, true))
        }
    }
}

fn span(first: u64, count: u64, backward: bool) -> Span {
    Span {
        first,
        count,
        backward,
    }
}

/// In PostgreSQL's words.
fn forward_only() -> RouterError {
    RouterError::new(
        wire::sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        "cursor can only scan forward",
    )
    .hint("Declare it with SCROLL option to enable backward scan.")
}
