//! What a session's `lock_timeout` and `statement_timeout` leave for waits of the router's own. Shards count the time of one step
//! of a statement only, and none in which the router tries again.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use crate::error::RouterError;

const READ: &str = "SELECT setting FROM pg_catalog.pg_settings WHERE name IN ('lock_timeout', 'statement_timeout') ORDER BY name";

/// Of one statement; `None`: no limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timeouts {
    /// Of each wait.
    lock: Option<Duration>,
    /// When the statement has to end.
    statement: Option<Instant>,
}

/// One wait for what others hold.
#[derive(Debug)]
pub(super) struct Wait {
    lock: Option<Instant>,
    statement: Option<Instant>,
}

impl Timeouts {
    pub(super) fn begin_wait(&self) -> Wait {
        Wait {
            lock: self.lock.map(|limit| Instant::now() + limit),
            statement: self.statement,
        }
    }
}

impl Wait {
    /// Returns when it has lasted too long, with what the client is told.
    pub(super) async fn over(&self) -> RouterError {
        match self.end() {
            Some((end, error)) => {
                sleep_until(end).await;
                error
            }
            None => std::future::pending().await,
        }
    }

    /// # Errors
    /// It has lasted too long.
    pub(super) fn check(&self) -> Result<(), RouterError> {
        match self.end() {
            Some((end, error)) if end <= Instant::now() => Err(error),
            _ => Ok(()),
        }
    }

    /// As PostgreSQL says it: of two that end at one time, the lock's.
    fn end(&self) -> Option<(Instant, RouterError)> {
        let lock = self.lock.map(|end| (end, "55P03", "lock timeout"));
        let statement = self
            .statement
            .map(|end| (end, "57014", "statement timeout"));
        let (end, sqlstate, why) = lock.into_iter().chain(statement).min_by_key(|it| it.0)?;
        let text = format!("canceling statement due to {why}");
        Some((end, RouterError::new(sqlstate, text)))
    }
}

impl Session {
    /// As the session has set them; `began`: when the statement came. `index`: a branch.
    pub(super) async fn timeouts(
        &mut self,
        index: usize,
        began: Instant,
    ) -> Result<Timeouts, Fault> {
        let rows = self.run_quietly(index, READ).await?;
        // In milliseconds.
        let mut limits = rows.iter().map(|row| {
            let setting = row.first().and_then(Option::as_deref);
            let limit = setting.and_then(|setting| setting.parse().ok());
            limit.filter(|limit| *limit > 0).map(Duration::from_millis)
        });
        Ok(Timeouts {
            lock: limits.next().flatten(),
            statement: limits.next().flatten().map(|limit| began + limit),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_timeout_ends_a_wait() {
        let limits = Timeouts {
            lock: Some(Duration::from_millis(20)),
            statement: Some(Instant::now() + Duration::from_secs(60)),
        };
        let wait = limits.begin_wait();
        assert_eq!(wait.over().await.sqlstate, "55P03");
        assert_eq!(wait.check().expect_err("it is over").sqlstate, "55P03");
        let limits = Timeouts {
            lock: Some(Duration::from_secs(60)),
            statement: Some(Instant::now() + Duration::from_millis(20)),
        };
        assert!(limits.begin_wait().check().is_ok());
        assert_eq!(limits.begin_wait().over().await.sqlstate, "57014");
        assert!(Timeouts::default().begin_wait().check().is_ok());
    }
}
