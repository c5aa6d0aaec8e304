//! INSERT ... ON CONFLICT over a unique key that is kept by entries: the row in conflict may be on any shard, so
//! the new rows are tried one by one.

use super::SplitInsert;
use super::by_entry::EntryRoute;

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
}
