//! Why a move does not come to its end, and whether it is worth another try.

use crate::control::error::ControlError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum MoveError {
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Nothing is wrong: it may work in a while.
    #[error("{0}")]
    Later(String),
    #[error("table {table}, bucket {bucket}: the rows on the two shards differ after the copy")]
    Differs { table: String, bucket: i32 },
    /// Somebody else works at it.
    #[error("another router has taken over")]
    Lost,
    #[error("{0}")]
    Refused(String),
}

/// Of PostgreSQL's: what passes by itself.
const PASSING: [&str; 8] = [
    "55P03", "40P01", "40001", "57014", "57P01", "57P03", "25P03", "OSK01",
];

impl MoveError {
    /// It may work in a while.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Later(_) => true,
            Self::Control(error) => match error.sqlstate() {
                Some(state) => PASSING.contains(&state) || state.starts_with("08"),
                // A connection that broke, a timeout.
                None => true,
            },
            Self::Differs { .. } | Self::Lost | Self::Refused(_) => false,
        }
    }
}
