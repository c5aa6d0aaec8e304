//! A job's states: ready (until due), running (until its lease ends), gone, or dead. Each statement here but [`owners_due`] names
//! the owner, so on a cluster it is one shard's.

use std::time::Duration;

use deadpool_postgres::GenericClient;
use uuid::Uuid;

use crate::jobs::Job;
use crate::{Error, db};

/// How long a worker has a job before others may take it; it renews this while it works.
pub const LEASE: Duration = Duration::from_secs(60);
/// Wait after the first failure; it doubles with each one more.
const FIRST_PAUSE: f64 = 2.0;
const LONGEST_PAUSE: f64 = 3600.0;
/// Seconds between two attempts while a part of the database is away.
const OUTAGE_PAUSE: f64 = 15.0;
/// Bytes of an error that are kept.
const ERROR_LENGTH: usize = 500;

/// People who have jobs that are due, the longest due first.
pub async fn owners_due(client: &impl GenericClient, most: i64) -> Result<Vec<i64>, Error> {
    let sql = "SELECT owner_id FROM jobs WHERE state <> 'dead' AND due <= now() \
        GROUP BY owner_id ORDER BY min(due) LIMIT $1";
    let rows = db::all(client, sql, &[&most]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Takes the next job of this person that is due and that nobody else has: one that is ready, or one whose worker has died.
/// Workers that look at the same time take different ones.
pub async fn claim(client: &impl GenericClient, owner_id: i64) -> Result<Option<Job>, Error> {
    let lease = Uuid::new_v4();
    let sql = "UPDATE jobs SET state = 'running', attempts = attempts + 1, lease = $2, \
            due = now() + make_interval(secs => $3) \
        WHERE owner_id = $1 AND id = (SELECT id FROM jobs \
            WHERE owner_id = $1 AND state <> 'dead' AND due <= now() AND (state = 'ready' OR attempts < max_attempts) \
            ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED) \
        RETURNING id, kind, payload, attempts, max_attempts";
    let row = db::maybe(client, sql, &[&owner_id, &lease, &LEASE.as_secs_f64()]).await?;
    Ok(row.map(|row| Job {
        owner_id,
        id: row.get("id"),
        kind: row.get("kind"),
        payload: row.get("payload"),
        attempts: row.get("attempts"),
        max_attempts: row.get("max_attempts"),
        lease,
    }))
}

/// Jobs of this person that took down the worker of their last attempt, too: given up.
pub async fn bury_lost(client: &impl GenericClient, owner_id: i64) -> Result<u64, Error> {
    let sql = "UPDATE jobs SET state = 'dead', lease = NULL, \
            last_error = coalesce(last_error || '; ', '') || 'its worker ended in the last attempt' \
        WHERE owner_id = $1 AND state = 'running' AND due <= now() AND attempts >= max_attempts";
    db::run(client, sql, &[&owner_id]).await
}

/// False: the lease is lost, and another worker may have the job.
pub async fn renew(client: &impl GenericClient, job: &Job) -> Result<bool, Error> {
    let sql = "UPDATE jobs SET due = now() + make_interval(secs => $4) WHERE owner_id = $1 AND id = $2 AND lease = $3";
    let renewed = db::run(
        client,
        sql,
        &[&job.owner_id, &job.id, &job.lease, &LEASE.as_secs_f64()],
    )
    .await?;
    Ok(renewed == 1)
}

/// It is done. False: the lease was lost.
pub async fn finish(client: &impl GenericClient, job: &Job) -> Result<bool, Error> {
    let sql = "DELETE FROM jobs WHERE owner_id = $1 AND id = $2 AND lease = $3";
    Ok(db::run(client, sql, &[&job.owner_id, &job.id, &job.lease]).await? == 1)
}

/// It has failed: to be tried again later, or dead after the last attempt.
pub async fn fail(client: &impl GenericClient, job: &Job, error: &str) -> Result<(), Error> {
    let state = if job.is_last_attempt() {
        "dead"
    } else {
        "ready"
    };
    let pause = pause(job.attempts);
    lay_back(client, job, state, job.attempts, error, pause).await
}

/// It could not be done for no fault of its own (a part of the database is away): tried again later, and the attempt does not
/// count.
pub async fn put_off(client: &impl GenericClient, job: &Job, error: &str) -> Result<(), Error> {
    let pause = OUTAGE_PAUSE * rand::random_range(1.0..1.25);
    lay_back(client, job, "ready", job.attempts - 1, error, pause).await
}

async fn lay_back(
    client: &impl GenericClient,
    job: &Job,
    state: &str,
    attempts: i32,
    error: &str,
    pause: f64,
) -> Result<(), Error> {
    let sql = "UPDATE jobs SET state = $4, attempts = $5, lease = NULL, last_error = $6, due = now() + make_interval(secs => $7) \
        WHERE owner_id = $1 AND id = $2 AND lease = $3";
    let error = shortened(error);
    db::run(
        client,
        sql,
        &[
            &job.owner_id,
            &job.id,
            &job.lease,
            &state,
            &attempts,
            &error,
            &pause,
        ],
    )
    .await?;
    Ok(())
}

/// It has not been done for no fault of its own (this process is stopping): ready again, and the attempt does not count.
pub async fn give_back(client: &impl GenericClient, job: &Job) -> Result<(), Error> {
    let sql = "UPDATE jobs SET state = 'ready', lease = NULL, due = now(), attempts = greatest(0, attempts - 1) \
        WHERE owner_id = $1 AND id = $2 AND lease = $3";
    db::run(client, sql, &[&job.owner_id, &job.id, &job.lease]).await?;
    Ok(())
}

/// Seconds until the next attempt, up to a quarter more so that those which failed together do not come together.
fn pause(attempts: i32) -> f64 {
    let doubled = FIRST_PAUSE * 2f64.powi(attempts.clamp(1, 30) - 1);
    doubled.min(LONGEST_PAUSE) * rand::random_range(1.0..1.25)
}

/// PostgreSQL's text takes no NUL.
fn shortened(error: &str) -> String {
    let clean = error.replace('\0', "");
    let mut end = clean.len().min(ERROR_LENGTH);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    clean[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour() {
        for (attempts, least, most) in [
            (1, 2.0, 2.5),
            (2, 4.0, 5.0),
            (5, 32.0, 40.0),
            (40, 3600.0, 4500.0),
        ] {
            let pause = pause(attempts);
            assert!((least..most).contains(&pause), "{attempts}: {pause}");
        }
    }

    #[test]
    fn an_error_is_cut_between_characters() {
        assert_eq!(shortened("no\0pe"), "nope");
        let long = shortened(&"ž".repeat(400));
        assert_eq!(long.chars().count(), 250);
    }
}
