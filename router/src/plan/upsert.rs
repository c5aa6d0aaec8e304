//! INSERT ... ON CONFLICT over a unique key that is kept by entries: the row in conflict may be on any shard, so
//! the new rows are tried one by one.

use super::by_entry::EntryRoute;
use super::{Piece, SplitInsert};

/// The statement.
#[derive(Debug)]
pub struct Upsert {
    /// Its rows, and the whole of what stands around them.
    pub insert: SplitInsert,
    /// Numbers of the keys kept by entries that arbitrate.
    pub arbiters: Vec<u32>,
    /// Of each row the entry that it would be in conflict with; `None`: the router cannot compute it.
    pub routes: Vec<Option<EntryRoute>>,
    /// DO UPDATE.
    pub updates: bool,
    /// For a row that violates what its own shard keeps: how a PostgreSQL tells the entries that it asks for.
    pub lookups: Vec<EntryLookup>,
}

/// What asks for the entries that rows would have of one key.
#[derive(Debug)]
pub struct EntryLookup {
    /// Of the key.
    pub number: u32,
    /// Of each row a SELECT of bucket and entry; `None`: a default makes a value.
    pub rows: Vec<Option<Vec<Piece>>>,
}
