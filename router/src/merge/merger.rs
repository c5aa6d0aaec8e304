//! The merge of one portal: told what the shards send, it says what it needs next and writes rows.
//!
//! It is pulled, one row a step, so a portal fetched in parts just stops in between.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use wire::backend::{DataRow, tag};

use super::aggregate::Aggregate;
use super::limit::{Limit, Verdict};
use super::sort::MergeSort;
use super::{Column, Merge, MergeError, SortKey};

/// What the caller has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// One DataRow was written.
    Row,
    /// Give the next row, or the end, of this shard (an index, not an id).
    Need(usize),
    /// Give the next row, or the end, of any shard that has not ended.
    NeedAny,
    /// No row is left to give. Shards that have not ended may be drained or cancelled.
    Done,
}

#[derive(Debug)]
pub struct Merger {
    inputs: Inputs,
    limit: Limit,
    /// Shards by index: no more rows will come.
    ended: Vec<bool>,
    /// Trailing columns that only sorting needs.
    hidden: usize,
    rows: u64,
}

#[derive(Debug)]
enum Inputs {
    Concatenate(VecDeque<Bytes>),
    Sort {
        sort: MergeSort,
        has_head: Vec<bool>,
    },
    Fold {
        aggregate: Aggregate,
        sort: Vec<SortKey>,
    },
    Folded(std::vec::IntoIter<Bytes>),
}

impl Merger {
    /// `shards`: how many take part. `columns`: of the shards' rows, hidden ones included. `limit`:
    /// what [`Limit::resolve`] made of the merge's own. `merge_bytes`: `limits.merge`.
    pub fn new(
        merge: &Merge,
        shards: usize,
        columns: Vec<Column>,
        limit: Limit,
        merge_bytes: usize,
    ) -> Self {
        let mut hidden_columns = 0;
        let inputs = match merge {
            Merge::Concatenate { .. } | Merge::CountOnly => Inputs::Concatenate(VecDeque::new()),
            Merge::Sort { keys, hidden, .. } => {
                hidden_columns = *hidden;
                let sort = MergeSort::new(keys.clone(), columns);
                Inputs::Sort {
                    sort,
                    has_head: vec![false; shards],
                }
            }
            Merge::Aggregate {
                columns: folds,
                sort,
                ..
            } => {
                let aggregate = Aggregate::new(folds.clone(), columns, merge_bytes);
                Inputs::Fold {
                    aggregate,
                    sort: sort.clone(),
                }
            }
        };
        Self {
            inputs,
            limit,
            ended: vec![false; shards],
            hidden: hidden_columns,
            rows: 0,
        }
    }

    /// Rows may be forwarded as they come, without asking the merger at all.
    pub fn is_pass_through(&self) -> bool {
        matches!(self.inputs, Inputs::Concatenate(_)) && self.limit.is_none() && self.hidden == 0
    }

    /// Body of a DataRow of the shard at this index.
    ///
    /// # Errors
    /// The row cannot be read, or the groups outgrow their limit.
    pub fn push(&mut self, shard: usize, row: Bytes) -> Result<(), MergeError> {
        match &mut self.inputs {
            Inputs::Concatenate(rows) => rows.push_back(row),
            Inputs::Sort { sort, has_head } => {
                debug_assert!(!has_head[shard], "a row that was not asked for");
                sort.push_head(shard, row)?;
                has_head[shard] = true;
            }
            Inputs::Fold { aggregate, .. } => aggregate.push(&row)?,
            Inputs::Folded(_) => debug_assert!(false, "a row after the end"),
        }
        Ok(())
    }

    /// The shard at this index has sent its last row.
    pub fn end(&mut self, shard: usize) {
        self.ended[shard] = true;
    }

    pub fn has_ended(&self, shard: usize) -> bool {
        self.ended[shard]
    }

    /// A row of this shard was pushed and has not been needed yet. Only where rows are sorted.
    pub fn waits(&self, shard: usize) -> bool {
        matches!(&self.inputs, Inputs::Sort { has_head, .. } if has_head[shard])
    }

    /// Rows written so far: the count of SELECT's tag.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the next row into `out` if what was pushed suffices.
    ///
    /// # Errors
    /// A row cannot be read.
    pub fn step(&mut self, out: &mut BytesMut) -> Result<Step, MergeError> {
        loop {
            if self.limit.is_reached() {
                return Ok(Step::Done);
            }
            let row = match self.next()? {
                Next::Row(row) => row,
                Next::Wait(step) => return Ok(step),
            };
            if self.limit.admit() == Verdict::Give {
                self.write(&row, out)?;
                self.rows += 1;
                return Ok(Step::Row);
            }
        }
    }

    fn next(&mut self) -> Result<Next, MergeError> {
        let all_ended = self.ended.iter().all(|ended| *ended);
        if all_ended {
            self.fold_all()?;
        }
        let row = match &mut self.inputs {
            Inputs::Concatenate(rows) => rows.pop_front(),
            Inputs::Sort { sort, has_head } => {
                let missing = has_head
                    .iter()
                    .zip(&self.ended)
                    .position(|(head, end)| !head && !end);
                if let Some(shard) = missing {
                    return Ok(Next::Wait(Step::Need(shard)));
                }
                sort.pop().map(|(shard, row)| {
                    has_head[shard] = false;
                    row
                })
            }
            Inputs::Fold { .. } => None,
            Inputs::Folded(rows) => rows.next(),
        };
        Ok(match row {
            Some(row) => Next::Row(row),
            None if all_ended => Next::Wait(Step::Done),
            None => Next::Wait(Step::NeedAny),
        })
    }

    /// Once all partial results are in, they become rows.
    fn fold_all(&mut self) -> Result<(), MergeError> {
        if !matches!(self.inputs, Inputs::Fold { .. }) {
            return Ok(());
        }
        let nothing = Inputs::Folded(Vec::new().into_iter());
        if let Inputs::Fold { aggregate, sort } = std::mem::replace(&mut self.inputs, nothing) {
            self.inputs = Inputs::Folded(aggregate.finish(&sort)?.into_iter());
        }
        Ok(())
    }

    fn write(&self, body: &[u8], out: &mut BytesMut) -> Result<(), MergeError> {
        if self.hidden > 0 {
            let row = DataRow::parse(body)?;
            row.write_first(out, row.len().saturating_sub(self.hidden));
            return Ok(());
        }
        write_row(body, out);
        Ok(())
    }
}

/// Appends a whole DataRow message with this body.
pub fn write_row(body: &[u8], out: &mut BytesMut) {
    out.reserve(body.len() + 5);
    out.put_u8(tag::DATA_ROW);
    // The body came from a message, whose length word has 32 bits and counts itself.
    out.put_u32(body.len() as u32 + 4);
    out.put_slice(body);
}

enum Next {
    Row(Bytes),
    Wait(Step),
}
