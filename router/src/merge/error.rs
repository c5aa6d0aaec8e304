//! Why rows cannot be merged.

use crate::config::units;
use crate::error::RouterError;
use wire::{ProtocolError, sqlstate};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// A shard sent a row that breaks the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A value that its column's type cannot have.
    #[error("a shard sent a value that cannot be read as {0}")]
    Unreadable(&'static str),
    /// A date or timestamp in another DateStyle than ISO.
    #[error("rows of several shards cannot be sorted by dates in this DateStyle")]
    DateStyle,
    /// bytea in the format `escape`.
    #[error("rows of several shards cannot be sorted by bytea in this bytea_output")]
    ByteaOutput,
    #[error("the shards do not sort alike")]
    Unsorted,
    #[error("{0} out of range")]
    OutOfRange(&'static str),
    #[error("groups of rows from several shards need more than {} in the router", units::print_size(*.0))]
    TooLarge(usize),
    #[error("{0} must not be negative")]
    Negative(&'static str),
    /// A LIMIT or OFFSET parameter.
    #[error("invalid input syntax for type bigint: \"{0}\"")]
    NotANumber(String),
}

impl From<MergeError> for RouterError {
    fn from(error: MergeError) -> Self {
        let text = error.to_string();
        match error {
            MergeError::Protocol(_) => Self::new(sqlstate::PROTOCOL_VIOLATION, text),
            MergeError::Unreadable(_) => Self::new(sqlstate::INTERNAL_ERROR, text),
            MergeError::DateStyle => Self::unsupported("merge-datestyle", text)
                .detail("Their order is known in DateStyle ISO and in binary format only.")
                .hint("SET DateStyle TO ISO, or restrict the statement to one shard key."),
            MergeError::ByteaOutput => Self::unsupported("merge-bytea-output", text)
                .detail("Their order is known in bytea_output hex and in binary format only.")
                .hint("SET bytea_output TO hex."),
            MergeError::Unsorted => Self::unsupported("merge-unsorted", text)
                .detail("A shard's rows came in another order than the router knows of their types and collations.")
                .hint("Compare the collations of the shards' databases (`oskol check`), and client_encoding with UTF8."),
            MergeError::OutOfRange(_) => Self::new(sqlstate::NUMERIC_VALUE_OUT_OF_RANGE, text),
            MergeError::TooLarge(_) => Self::new(sqlstate::OUT_OF_MEMORY, text).hint(
                "Raise limits.merge in the router's configuration, or group by fewer values.",
            ),
            MergeError::Negative("LIMIT") => {
                Self::new(sqlstate::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE, text)
            }
            MergeError::Negative(_) => {
                Self::new(sqlstate::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE, text)
            }
            MergeError::NotANumber(_) => Self::new(sqlstate::INVALID_TEXT_REPRESENTATION, text),
        }
    }
}
