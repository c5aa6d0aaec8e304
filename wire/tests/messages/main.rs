//! The messages from outside: what is written is read back, what PostgreSQL sends is understood to
//! the last byte, and what is malformed gives an error and nothing worse.

mod again;
mod backend;
mod frontend;
mod malformed;
mod recorded;
mod samples;
mod startup;
