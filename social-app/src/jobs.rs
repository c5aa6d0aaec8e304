//! Work for later, kept in the database: it is enqueued in the transaction that makes it necessary, on the shard of the person
//! whom it is about, and carried out by any process that runs workers, at least once.
//!
//! `queue` is the table's states, `worker` takes jobs and runs them, `dead` is what was given up.

pub mod dead;
pub mod queue;
pub mod worker;

use deadpool_postgres::GenericClient;
use serde_json::Value;
use uuid::Uuid;

use crate::{Error, db};

/// One piece of work, taken by a worker.
#[derive(Debug, Clone)]
pub struct Job {
    pub owner_id: i64,
    pub id: i64,
    pub kind: String,
    pub payload: Value,
    /// This one included.
    pub attempts: i32,
    pub max_attempts: i32,
    /// Names this attempt.
    pub lease: Uuid,
}

impl Job {
    /// True: an error now is the last word.
    pub fn is_last_attempt(&self) -> bool {
        self.attempts >= self.max_attempts
    }
}

/// Adds a job beside the rows of `owner_id`; it runs after the transaction has committed. Gives its id.
pub async fn enqueue(
    client: &impl GenericClient,
    owner_id: i64,
    kind: &str,
    payload: &Value,
) -> Result<i64, Error> {
    let sql = "INSERT INTO jobs (owner_id, kind, payload) VALUES ($1, $2, $3) RETURNING id";
    let row = db::one(client, sql, &[&owner_id, &kind, payload]).await?;
    Ok(row.get(0))
}

/// As [`enqueue`], to run after so many seconds.
pub async fn enqueue_after(
    client: &impl GenericClient,
    owner_id: i64,
    kind: &str,
    payload: &Value,
    seconds: f64,
) -> Result<i64, Error> {
    let sql = "INSERT INTO jobs (owner_id, kind, payload, due) \
        VALUES ($1, $2, $3, now() + make_interval(secs => $4)) RETURNING id";
    let row = db::one(client, sql, &[&owner_id, &kind, payload, &seconds]).await?;
    Ok(row.get(0))
}
