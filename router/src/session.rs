//! The one conductor: takes a client's messages in order and calls the stages.
//!
//! A session is one task. It owns the client's stream and, while a transaction is open, the leased
//! server connections. Must never know: how a key is hashed, how rows merge, how a pool waits.

pub mod admin;
mod again;
mod answer;
mod branch_watch;
mod cleanup;
mod collecting;
mod copy;
mod cursors;
mod deadlock;
mod dump;
mod execute;
mod extended;
mod fault;
mod held;
mod hold;
mod kept_rows;
mod lease;
mod oids;
mod open;
mod planning;
pub mod plans;
mod reads;
mod relay;
mod settings;
pub mod shared;
mod simple;
mod slots;
mod snapshots;
mod state;
mod statement_names;
mod transaction;

pub use open::open;
pub use state::Session;
