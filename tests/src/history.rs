//! Finds in a history of transactions what their isolation level forbids. Transactions append unique values to lists and
//! read lists; nothing else is known of the database.
//!
//! The method is Elle's (K. Kingsbury, P. Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations",
//! VLDB 2020). A list that is read tells the order in which its values were appended, and, values being unique, by whom:
//! so the version order of each key and all dependencies between committed transactions follow from what clients saw:
//! - *ww*: who appended a value, to who appended the next one;
//! - *wr*: who appended the last value of a list, to who read that list;
//! - *rw*: who read a list, to who appended the first value that it does not have.
//!
//! **READ COMMITTED** (Adya's PL-2) forbids aborted and intermediate reads (G1a, G1b) and cycles of ww (G0) and of ww and wr
//! (G1c). It holds over shards even where their commits are seen one after another: a transaction that is seen, or whose
//! row lock is gone, on one shard has run all its statements on all shards. So along each ww or wr edge the end of the
//! last statement grows, and there is no way round. What may be seen is half of a transaction (a fractured read): an
//! edge rw, which this level does not speak of.
//!
//! **REPEATABLE READ** is snapshot isolation in PostgreSQL. A history has it, with this version order, exactly if (ww, wr or
//! session order) followed by at most one rw has no cycle (A. Cerone, A. Gotsman, "Analysing Snapshot Isolation", J. ACM
//! 2018, theorem 4.4, for sessions that see their own commits). Read skew, lost updates and fractured reads are such cycles
//! (G-single); write skew is not, having two rw in a row.
//!
//! A transaction whose client does not know its end has committed if one of its values was seen by another; then all of
//! them must have been appended.

mod check;
mod graph;
#[cfg(test)]
mod tests;

pub use check::{Findings, check};

/// Of a list.
pub type Key = i64;
/// Never appended twice.
pub type Value = i64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    Append(Key, Value),
    /// With what was there, the transaction's own appends included.
    Read(Key, Vec<Value>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Committed,
    Aborted,
    Unknown,
}

/// One transaction as its client saw it; those of one client in their order.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub client: usize,
    pub operations: Vec<Operation>,
    pub end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    ReadCommitted,
    RepeatableRead,
}
