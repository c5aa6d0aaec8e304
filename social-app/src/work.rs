//! Background jobs: which function carries out which kind. Each may run twice and must then do no more than once.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_util::sync::CancellationToken;

use crate::jobs::Job;
use crate::models::{deletion, fan_out};
use crate::{App, Error, db};

/// How often the database is asked for jobs.
const INTERVAL: Duration = Duration::from_millis(250);

/// One attempt at a job; an error makes it be tried again later.
pub async fn run(app: &App, job: &Job) -> Result<(), Error> {
    match job.kind.as_str() {
        fan_out::SPREAD => fan_out::spread(app, job).await,
        fan_out::WITHDRAW => fan_out::withdraw(app, job).await,
        fan_out::FILL => fan_out::fill(app, job).await,
        fan_out::SWITCH => fan_out::switch(app, job).await,
        deletion::DELETE => deletion::delete(app, job).await,
        other => Err(anyhow::anyhow!("no such kind of job: {other}").into()),
    }
}

/// Takes jobs one after another until the process stops.
pub async fn work(app: App, stopping: CancellationToken) {
    while !stopping.is_cancelled() && app.config.workers > 0 {
        match turn(&app).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "jobs wait: the database does not answer"),
        }
        tokio::select! {
            () = stopping.cancelled() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Carries out the job that is due longest; false: there is none. The job's row is locked meanwhile, so a worker that dies
/// leaves it to others.
async fn turn(app: &App) -> Result<bool, Error> {
    let mut client = app.pool.get().await?;
    let due =
        "SELECT owner_id FROM jobs WHERE state = 'ready' AND due <= now() ORDER BY due LIMIT 1";
    let Some(row) = db::maybe(&client, due, &[]).await? else {
        return Ok(false);
    };
    let owner: i64 = row.get(0);
    let transaction = client.transaction().await?;
    let take = "SELECT owner_id, id, kind, payload, attempts + 1 AS attempts FROM jobs WHERE owner_id = $1 AND state = 'ready' \
        AND due <= now() ORDER BY due, id LIMIT 1 FOR UPDATE SKIP LOCKED";
    let Some(row) = db::maybe(&transaction, take, &[&owner]).await? else {
        return Ok(false);
    };
    let job = job_of(&row);
    match run(app, &job).await {
        Ok(()) => {
            let done = "DELETE FROM jobs WHERE owner_id = $1 AND id = $2";
            db::run(&transaction, done, &[&job.owner_id, &job.id]).await?;
            app.metrics.jobs_done.add(1);
        }
        Err(error) => {
            tracing::warn!(kind = job.kind, id = job.id, %error, "a job failed");
            let failed = "UPDATE jobs SET attempts = attempts + 1, last_error = $3, due = now() + interval '2 seconds' * 2 ^ attempts, \
                state = CASE WHEN attempts + 1 < max_attempts THEN 'ready' ELSE 'dead' END WHERE owner_id = $1 AND id = $2";
            db::run(
                &transaction,
                failed,
                &[&job.owner_id, &job.id, &error.to_string()],
            )
            .await?;
            app.metrics.jobs_failed.add(1);
        }
    }
    transaction.commit().await?;
    Ok(true)
}

fn job_of(row: &Row) -> Job {
    Job {
        owner_id: row.get("owner_id"),
        id: row.get("id"),
        kind: row.get("kind"),
        payload: row.get("payload"),
        attempts: row.get("attempts"),
    }
}
