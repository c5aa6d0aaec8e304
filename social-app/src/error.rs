//! What can go wrong, in the terms of a request; `web` and `api` put it into words for people and programs.

use std::error::Error as _;
use std::time::Duration;

use axum::http::StatusCode;
use tokio_postgres::error::SqlState;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("There is nothing here, or it is not for you to see.")]
    NotFound,
    #[error("Please sign in first.")]
    SignInFirst,
    /// What was sent breaks a rule: which field, and what to do.
    #[error("{message}")]
    Invalid {
        field: &'static str,
        message: String,
    },
    #[error("{0}")]
    Forbidden(&'static str),
    #[error("{message}")]
    Conflict {
        field: &'static str,
        message: &'static str,
    },
    #[error("That was too much at once. Please try again in {} seconds.", .retry_after.as_secs().max(1))]
    TooMany { retry_after: Duration },
    /// Anything else that the caller did wrong; `kind` is its stable name.
    #[error("{detail}")]
    Refused {
        status: StatusCode,
        kind: &'static str,
        detail: String,
    },
    #[error("the work took too long")]
    TookTooLong,
    #[error("the database: {0}")]
    Database(#[from] tokio_postgres::Error),
    #[error("the database: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

impl Error {
    pub fn invalid(field: &'static str, message: impl Into<String>) -> Error {
        Error::Invalid {
            field,
            message: message.into(),
        }
    }

    /// The SQLSTATE, where PostgreSQL has answered.
    pub fn sqlstate(&self) -> Option<&SqlState> {
        match self {
            Error::Database(error) => error.code(),
            Error::Pool(deadpool_postgres::PoolError::Backend(error)) => error.code(),
            _ => None,
        }
    }

    /// The transaction has left nothing behind, and the same again may succeed.
    pub fn is_retryable(&self) -> bool {
        ["40001", "40P01", "40000"].contains(&self.sqlstate().map_or("", SqlState::code))
    }

    /// The database, or the part of it that was asked, is down or has no room: not the caller's fault, and not for ever.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Error::Database(error) => unavailable(error),
            Error::Pool(deadpool_postgres::PoolError::Backend(error)) => unavailable(error),
            Error::Pool(_) | Error::TookTooLong => true,
            _ => false,
        }
    }

    /// The database, or a part of it, is not there. Work that took too long is none of these: it may do so each time.
    pub fn is_outage(&self) -> bool {
        let timed_out = self.sqlstate() == Some(&SqlState::QUERY_CANCELED);
        self.is_unavailable() && !timed_out && !matches!(self, Error::TookTooLong)
    }

    /// Name of the violated constraint's column, where it is a duplicate of another row.
    pub fn duplicate(&self) -> Option<&str> {
        let Error::Database(error) = self else {
            return None;
        };
        let error = error.as_db_error()?;
        (error.code() == &SqlState::UNIQUE_VIOLATION).then(|| error.constraint().unwrap_or(""))
    }

    pub fn status(&self) -> StatusCode {
        match self {
            Error::NotFound => StatusCode::NOT_FOUND,
            Error::SignInFirst => StatusCode::UNAUTHORIZED,
            Error::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Forbidden(_) => StatusCode::FORBIDDEN,
            Error::Conflict { .. } => StatusCode::CONFLICT,
            Error::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Error::Refused { status, .. } => *status,
            error if error.is_unavailable() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A stable name of the kind of error, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Error::NotFound => "not-found",
            Error::SignInFirst => "sign-in-first",
            Error::Invalid { .. } => "invalid",
            Error::Forbidden(_) => "forbidden",
            Error::Conflict { .. } => "conflict",
            Error::TooMany { .. } => "too-many-requests",
            Error::Refused { kind, .. } => kind,
            error if error.is_unavailable() => "unavailable",
            _ => "internal",
        }
    }

    /// The words for whoever asked: nothing of the inside.
    pub fn public(&self) -> String {
        match self.status() {
            StatusCode::SERVICE_UNAVAILABLE => {
                "This part of the town is asleep for a moment. Nothing is lost; please try again soon.".to_owned()
            }
            StatusCode::INTERNAL_SERVER_ERROR => {
                "Something went wrong on our side. It has been noted.".to_owned()
            }
            _ => self.to_string(),
        }
    }
}

fn unavailable(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        // Connection failures, shutdowns, no room, timeouts, and a result that could not be learned.
        Some(code) => {
            let code = code.code();
            code.starts_with("08")
                || code.starts_with("53")
                || ["57P01", "57P02", "57P03", "57014", "40003", "25P03"].contains(&code)
        }
        None => {
            error.is_closed()
                || error
                    .source()
                    .is_some_and(|source| source.is::<std::io::Error>())
        }
    }
}

/// Runs the call again where its transaction lost to another: three times at most.
#[macro_export]
macro_rules! retry {
    ($call:expr) => {{
        let mut tries = 0;
        loop {
            match $call.await {
                Err(error) if tries < 3 && error.is_retryable() => {
                    tries += 1;
                    tokio::time::sleep($crate::error::pause(tries)).await;
                }
                done => break done,
            }
        }
    }};
}

/// Longer and longer, and of random length so that two that met do not meet again.
pub fn pause(tries: u32) -> Duration {
    Duration::from_millis(rand::random_range(1..=10) << tries)
}
