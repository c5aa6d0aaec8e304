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
    /// Of a statement that ran with the rights of a table's owner.
    #[error("table {table}, whose rows are moved with the rights of its owner {owner}, as they run code: {error}{}", advice(.error, .owner))]
    AsOwner {
        table: String,
        owner: String,
        error: Box<ControlError>,
    },
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
            Self::Control(error) => ends_by_itself(error),
            Self::AsOwner { error, .. } => ends_by_itself(error),
            Self::Differs { .. } | Self::Lost | Self::Refused(_) => false,
        }
    }
}

/// What to do where a right is missing.
fn advice(error: &ControlError, owner: &str) -> String {
    match error.sqlstate() {
        Some("42501") => format!(": grant it to {owner}"),
        _ => String::new(),
    }
}

fn ends_by_itself(error: &ControlError) -> bool {
    match error.sqlstate() {
        Some(state) => PASSING.contains(&state) || state.starts_with("08"),
        // A connection that broke, a timeout.
        None => true,
    }
}
