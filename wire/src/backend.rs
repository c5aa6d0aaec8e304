//! Messages a server sends.
//!
//! Each type is read from a body (the bytes behind tag and length) by its `parse`, lazily: lists are
//! checked once and then walked where they lie. [`write`](mod@write) makes whole messages, for the
//! router is a server to its clients.

mod authentication;
mod columns;
mod command;
mod copy;
mod report;
mod session;
pub mod tag;
pub mod write;

pub use authentication::Authentication;
pub use columns::{DataRow, Field, ParameterDescription, RowDescription};
pub use command::CommandComplete;
pub use copy::{CopyData, CopyResponse};
pub use report::{ErrorResponse, Report, Severity, field};
pub use session::{
    BackendKeyData, NegotiateProtocolVersion, NotificationResponse, ParameterStatus, ReadyForQuery,
    TransactionStatus,
};
