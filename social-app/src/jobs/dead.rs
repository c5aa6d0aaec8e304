//! Jobs that were given up: to be looked at, tried again, or forgotten.

use anyhow::Context as _;
use deadpool_postgres::{GenericClient, Pool};
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use crate::{Error, db};

#[derive(Debug, Clone, Serialize)]
pub struct DeadJob {
    pub owner_id: i64,
    pub id: i64,
    pub kind: String,
    pub payload: Value,
    pub attempts: i32,
    pub last_error: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
}

/// How many jobs are in a state.
#[derive(Debug, Clone, Serialize)]
pub struct Count {
    pub kind: String,
    pub state: String,
    pub jobs: i64,
}

/// The oldest dead ones.
pub async fn list(client: &impl GenericClient, most: i64) -> Result<Vec<DeadJob>, Error> {
    let sql = "SELECT owner_id, id, kind, payload, attempts, last_error, created FROM jobs \
        WHERE state = 'dead' ORDER BY created, owner_id, id LIMIT $1";
    let rows = db::all(client, sql, &[&most]).await?;
    Ok(rows
        .iter()
        .map(|row| DeadJob {
            owner_id: row.get("owner_id"),
            id: row.get("id"),
            kind: row.get("kind"),
            payload: row.get("payload"),
            attempts: row.get("attempts"),
            last_error: row.get("last_error"),
            created: row.get("created"),
        })
        .collect())
}

/// All jobs by kind and state.
pub async fn counts(client: &impl GenericClient) -> Result<Vec<Count>, Error> {
    let sql =
        "SELECT kind, state, count(*) AS jobs FROM jobs GROUP BY kind, state ORDER BY kind, state";
    let rows = db::all(client, sql, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Count {
            kind: row.get("kind"),
            state: row.get("state"),
            jobs: row.get("jobs"),
        })
        .collect())
}

/// A dead job is ready again, with all its attempts.
pub async fn retry(client: &impl GenericClient, owner_id: i64, id: i64) -> Result<(), Error> {
    let sql = "UPDATE jobs SET state = 'ready', attempts = 0, due = now() WHERE owner_id = $1 AND id = $2 AND state = 'dead'";
    found(db::run(client, sql, &[&owner_id, &id]).await?)
}

/// A dead job is gone.
pub async fn forget(client: &impl GenericClient, owner_id: i64, id: i64) -> Result<(), Error> {
    let sql = "DELETE FROM jobs WHERE owner_id = $1 AND id = $2 AND state = 'dead'";
    found(db::run(client, sql, &[&owner_id, &id]).await?)
}

fn found(rows: u64) -> Result<(), Error> {
    if rows == 0 {
        Err(Error::NotFound)
    } else {
        Ok(())
    }
}

/// As many dead jobs are listed.
const LISTED: i64 = 100;

/// `social-app jobs`: does what is asked to one dead job, or prints all kinds with their numbers and the dead ones.
pub async fn command(
    pool: &Pool,
    again: Option<(i64, i64)>,
    gone: Option<(i64, i64)>,
) -> anyhow::Result<()> {
    let client = pool.get().await?;
    if let Some((owner, id)) = again {
        retry(&client, owner, id)
            .await
            .context("no such dead job")?;
        println!("job {owner}/{id} is ready again");
        return Ok(());
    }
    if let Some((owner, id)) = gone {
        forget(&client, owner, id)
            .await
            .context("no such dead job")?;
        println!("job {owner}/{id} is gone");
        return Ok(());
    }
    for count in counts(&client).await? {
        println!("{:>8} {:<8} {}", count.jobs, count.state, count.kind);
    }
    for job in list(&client, LISTED).await? {
        let error = job.last_error.as_deref().unwrap_or("-");
        println!(
            "dead {}/{} {} {} after {} attempts: {error}",
            job.owner_id, job.id, job.kind, job.payload, job.attempts
        );
    }
    Ok(())
}
