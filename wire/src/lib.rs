//! PostgreSQL v3 messages, without I/O.
//!
//! Owns the byte layout of every message between client, router and shard: [`header`] finds where a
//! message ends, [`startup`], [`frontend`] and [`backend`] read bodies without copying and write whole
//! messages into a buffer of the caller's. Takes and gives bytes; must never know sockets, sessions,
//! SQL or the catalog. Layouts are those of the manual's chapter "Frontend/Backend Protocol",
//! section "Message Formats".
//!
//! **Bodies** are the bytes behind tag and length. Whoever reads one gets either all of it in order or
//! a [`ProtocolError`]: lengths are checked, strings must end, nothing may be left over. Names and
//! texts stay `&[u8]`, because their encoding is the client's to choose.
//!
//! **Writers** append exactly one well-formed message. A text cannot hold a zero byte in this
//! protocol; what follows one in an argument is cut off.

pub mod backend;
mod error;
mod format;
pub mod frontend;
pub mod header;
mod put;
mod reader;
pub mod sqlstate;
pub mod startup;
mod strings;
mod values;

pub use error::ProtocolError;
pub use format::{Format, FormatCodes};
pub use reader::expect_empty;
pub use strings::{StringPairs, Strings};
pub use values::{Oids, Values};
