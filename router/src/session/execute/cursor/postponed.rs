//! Errors of a cursor's rows: PostgreSQL meets them at FETCH, the router as soon as DECLARE, when it makes the rows.
//! They are kept like rows, and taken back from the transaction by a savepoint around the query.

use std::rc::Rc;

use bytes::Bytes;
use wire::backend::ErrorResponse;

use super::super::super::cursors::{Failure, KeptCursor};
use super::super::super::fault::Fault;
use super::super::super::kept_rows::KeptRows;
use super::super::super::state::Session;
use super::super::super::transaction::{LogEntry, State};
use super::super::Invocation;
use crate::error::RouterError;
use crate::plan::Plan;

/// Around the query of a DECLARE. Clients may have a savepoint of this name as of any other.
const SAVEPOINT: &str = "oskol_cursor";

/// Of errors that a row gives rise to: data exceptions, subqueries of several rows, and RAISE.
const OF_ROWS: [&str; 3] = ["22", "21", "P0"];

/// What came of a cursor's query.
pub(super) struct Made {
    pub rows: KeptRows,
    pub failure: Option<Failure>,
}

impl Session {
    /// The rows of a cursor's query, or the error that the first FETCH is to tell. `None`: it is no query.
    pub(super) async fn make_rows(
        &mut self,
        plan: &Rc<Plan>,
        query: &Invocation<'_>,
        lasts: bool,
    ) -> Result<Option<Made>, Fault> {
        let postpones = !lasts && self.require_transaction("SAVEPOINT").is_ok();
        if postpones {
            self.on_all_branches(&format!("SAVEPOINT {SAVEPOINT}"))
                .await?;
            // Shards that join for the query's sake set it too.
            let entry = LogEntry::Savepoint(SAVEPOINT.to_owned());
            self.transaction.log.push(entry);
        }
        let made = self.run_kept(plan, query).await;
        let failure = match &made {
            Err(Fault::Shard(error)) if postpones && self.can_postpone(error) => {
                Some(Failure::Waiting(error.clone()))
            }
            _ => None,
        };
        if postpones && (made.is_ok() || failure.is_some()) {
            self.leave_savepoint(failure.is_some()).await?;
        }
        if failure.is_some() {
            let rows = KeptRows::new(self.kept_limits());
            return Ok(Some(Made { rows, failure }));
        }
        let rows = made?.map(|rest| rest.rows);
        Ok(rows.map(|rows| Made {
            rows,
            failure: None,
        }))
    }

    fn can_postpone(&self, error: &Bytes) -> bool {
        let parsed = ErrorResponse::parse(error.get(5..).unwrap_or_default());
        let of_rows = parsed.is_ok_and(|error| {
            let class = error.sqlstate().get(..2).unwrap_or_default();
            !error.is_fatal() && OF_ROWS.contains(&class)
        });
        let mut branches = self.transaction.branches.iter();
        of_rows && branches.all(|branch| !branch.server.broken)
    }

    async fn leave_savepoint(&mut self, back: bool) -> Result<(), Fault> {
        if back {
            self.on_all_branches(&format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}"))
                .await?;
            self.transaction.state = State::Open;
        }
        self.on_all_branches(&format!("RELEASE SAVEPOINT {SAVEPOINT}"))
            .await?;
        self.transaction.release(SAVEPOINT);
        Ok(())
    }
}

impl KeptCursor {
    /// Its rows can be asked for; an error of theirs is told once, and leaves a cursor that cannot be run.
    pub(super) fn check_runs(&mut self, name: &str) -> Result<(), Fault> {
        match self.failure.replace(Failure::Told) {
            None => {
                self.failure = None;
                Ok(())
            }
            Some(Failure::Waiting(error)) => Err(Fault::Shard(error)),
            Some(Failure::Told) => Err(RouterError::new(
                wire::sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("portal \"{name}\" cannot be run"),
            )
            .into()),
        }
    }
}
