//! What a client is told when the router, not a shard, says no.

/// A refusal or failure of the router's own, ready to become an ErrorResponse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RouterError {
    /// SQLSTATE, five characters (`wire::sqlstate`).
    pub sqlstate: &'static str,
    /// Stable id of the case, e.g. `join-off-the-key`; empty where PostgreSQL itself would say the
    /// same. Shown as the ErrorResponse's `R` (routine) field and at the end of DETAIL.
    pub id: &'static str,
    pub message: String,
    /// What in the statement is to blame.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// Character position in the statement, 1-based, as PostgreSQL's `P` field.
    pub position: Option<u32>,
}

impl RouterError {
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self {
            sqlstate,
            id: "",
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// SQLSTATE 0A000 with a stable id: the statement is refused before anything is sent.
    pub fn unsupported(id: &'static str, message: impl Into<String>) -> Self {
        Self {
            id,
            ..Self::new("0A000", message)
        }
    }

    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
