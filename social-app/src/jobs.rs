//! Work for later, kept in the database: it is enqueued in the transaction that makes it necessary.

use deadpool_postgres::GenericClient;
use serde_json::Value;

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
