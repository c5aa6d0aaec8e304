//! Groups of several shards folded to groups of the whole, bounded in bytes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::{BufMut, Bytes};
use wire::backend::DataRow;

use super::fold::State;
use super::{Column, Fold, MergeError, SortKey, order};

/// What a group costs beside its key, its states and their values: table entry and vector headers.
const GROUP_OVERHEAD: usize = 96;

#[derive(Debug)]
pub struct Aggregate {
    folds: Vec<Fold>,
    columns: Vec<Column>,
    /// Index into `groups` by the bytes of the GROUP BY columns.
    index: HashMap<Box<[u8]>, usize>,
    /// In the order of their first row.
    groups: Vec<Vec<State>>,
    /// Bytes held, and the most that may be.
    held: usize,
    limit: usize,
}

impl Aggregate {
    /// `limit`: bytes that all groups together may take (`limits.merge`).
    pub fn new(folds: Vec<Fold>, columns: Vec<Column>, limit: usize) -> Self {
        Self {
            folds,
            columns,
            index: HashMap::new(),
            groups: Vec::new(),
            held: 0,
            limit,
        }
    }

    /// Takes in one shard's row of one group.
    pub fn push(&mut self, row: &[u8]) -> Result<(), MergeError> {
        let row = DataRow::parse(row)?;
        if row.len() != self.folds.len() || row.len() != self.columns.len() {
            return Err(MergeError::Unreadable("a row of partial results"));
        }
        let group = self.group(&row)?;
        let (mut before, mut after) = (0, 0);
        let states = self.groups[group].iter_mut().zip(&self.columns);
        for ((state, column), value) in states.zip(row.iter()) {
            before += state.held();
            state.fold(*column, value)?;
            after += state.held();
        }
        self.hold(after, before)
    }

    /// The group of a row, made if it is new.
    fn group(&mut self, row: &DataRow<'_>) -> Result<usize, MergeError> {
        let key = self.key(row).into_boxed_slice();
        let new = self.groups.len();
        let size = key.len() + self.folds.len() * size_of::<State>() + GROUP_OVERHEAD;
        match self.index.entry(key) {
            Entry::Occupied(found) => return Ok(*found.get()),
            Entry::Vacant(place) => place.insert(new),
        };
        self.groups
            .push(self.folds.iter().copied().map(State::new).collect());
        self.hold(size, 0)?;
        Ok(new)
    }

    /// The GROUP BY columns as they lie in the row, NULLs alike.
    fn key(&self, row: &DataRow<'_>) -> Vec<u8> {
        let mut key = Vec::new();
        for (value, fold) in row.iter().zip(&self.folds) {
            match (fold, value) {
                (Fold::Group, None) => key.put_i32(-1),
                (Fold::Group, Some(value)) => {
                    key.put_u32(value.len() as u32);
                    key.put_slice(value);
                }
                _ => {}
            }
        }
        key
    }

    fn hold(&mut self, more: usize, less: usize) -> Result<(), MergeError> {
        self.held = (self.held + more).saturating_sub(less);
        if self.held > self.limit {
            Err(MergeError::TooLarge(self.limit))
        } else {
            Ok(())
        }
    }

    /// The rows of the whole: sorted by `keys`, and where these are equal in the order of their first
    /// row.
    pub fn finish(self, keys: &[SortKey]) -> Result<Vec<Bytes>, MergeError> {
        let rows = self.groups.iter().map(|group| self.row(group));
        if keys.is_empty() {
            return Ok(rows.collect());
        }
        let mut sorted = Vec::with_capacity(self.groups.len());
        for row in rows {
            let mut key = Vec::new();
            order::append_row(keys, &self.columns, &DataRow::parse(&row)?, &mut key)?;
            sorted.push((key, row));
        }
        sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(sorted.into_iter().map(|(_, row)| row).collect())
    }

    fn row(&self, group: &[State]) -> Bytes {
        let mut row = Vec::new();
        // As many as in the shards' rows, which had a 16-bit count.
        row.put_u16(group.len() as u16);
        for (state, column) in group.iter().zip(&self.columns) {
            state.put(*column, &mut row);
        }
        row.into()
    }
}
