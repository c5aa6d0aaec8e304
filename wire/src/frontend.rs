//! Messages a client sends, after the first packet.
//!
//! Each type is read from a body (the bytes behind tag and length) by its `parse`; [`write`](mod@write) makes
//! whole messages, for the router is a client to its shards.

mod authentication;
mod bind;
mod copy;
mod query;
mod statement;
pub mod tag;
pub mod write;

pub use authentication::{Password, SaslInitialResponse, SaslResponse};
pub use bind::Bind;
pub use copy::{CopyData, CopyFail};
pub use query::{FunctionCall, Query};
pub use statement::{Close, Describe, Execute, Parse, StatementOrPortal};
