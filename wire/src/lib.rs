//! PostgreSQL v3 messages, no I/O.
pub mod frontend;
