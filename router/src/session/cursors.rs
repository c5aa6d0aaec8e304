//! The cursors that a client has declared by SQL: which there are, where their rows are, and when
//! they end.
//!
//! A cursor whose query one shard can answer is that shard's own. Every other one, and every one
//! WITH HOLD, has its rows kept in the router: no server connection is held for it. Must never know
//! how the rows were made.

mod position;

use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::FxHashMap;
use topology::ShardId;
use wire::Format;

use super::kept_rows::KeptRows;
use crate::settings::Parameters;
pub(super) use position::{Position, Span};

#[derive(Debug, Default)]
pub(super) struct Cursors {
    by_name: FxHashMap<String, Cursor>,
}

#[derive(Debug)]
pub(super) struct Cursor {
    pub place: Place,
    pub hold: bool,
    /// The transaction it was declared in has been committed: no later one ends it.
    pub lasts: bool,
    /// Length of the transaction's log when it was declared.
    pub declared_at: usize,
}

#[derive(Debug)]
pub(super) enum Place {
    /// A portal of its name on this shard.
    OnShard(ShardId),
    Here(Box<KeptCursor>),
}

/// A cursor whose rows are in the router.
#[derive(Debug)]
pub(super) struct KeptCursor {
    pub rows: KeptRows,
    pub position: Position,
    /// Whole RowDescription message in the home shard's oids, all columns in text format.
    pub description: Bytes,
    /// Of the rows as they are kept.
    pub format: Format,
    /// DECLARE BINARY: FETCH in the simple protocol gives binary values.
    pub binary: bool,
    /// What the shards reported when the rows were made: the looks of text depend on it.
    pub parameters: Rc<Parameters>,
    /// The rows could not be made.
    pub failure: Option<Failure>,
}

/// An error that a cursor's query met.
#[derive(Debug)]
pub(super) enum Failure {
    /// The shard's ErrorResponse, for the first FETCH.
    Waiting(Bytes),
    Told,
}

impl Cursors {
    pub fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub fn insert(&mut self, name: &str, cursor: Cursor) {
        self.by_name.insert(name.to_owned(), cursor);
    }

    pub fn remove(&mut self, name: &str) -> Option<Cursor> {
        self.by_name.remove(name)
    }

    pub fn clear(&mut self) {
        self.by_name.clear();
    }

    pub fn shard(&self, name: &str) -> Option<ShardId> {
        match self.by_name.get(name)?.place {
            Place::OnShard(shard) => Some(shard),
            Place::Here(_) => None,
        }
    }

    pub fn kept(&self, name: &str) -> Option<&KeptCursor> {
        match &self.by_name.get(name)?.place {
            Place::Here(kept) => Some(kept),
            Place::OnShard(_) => None,
        }
    }

    /// The transaction is over: only cursors WITH HOLD outlive it, and only if it was committed.
    pub fn end_transaction(&mut self, committed: bool) {
        if self.by_name.is_empty() {
            return;
        }
        self.by_name.retain(|_, cursor| {
            cursor.lasts |= cursor.hold && committed;
            cursor.lasts
        });
    }

    /// ROLLBACK TO has cut the transaction's log to this length: what was declared since is gone.
    pub fn roll_back_to(&mut self, log: usize) {
        let stays = |cursor: &Cursor| cursor.lasts || cursor.declared_at < log;
        self.by_name.retain(|_, cursor| stays(cursor));
    }

    /// RELEASE has taken the savepoint at this place out of the log: its cursors are the outer one's.
    pub fn release(&mut self, at: usize) {
        for cursor in self.by_name.values_mut() {
            cursor.declared_at = cursor.declared_at.min(at);
        }
    }
}

#[cfg(test)]
mod tests;
