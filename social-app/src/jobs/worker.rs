//! Takes jobs and runs them, as many at a time as the configuration says, until this process stops.
//!
//! Whose jobs are due is asked of all shards at each interval, and told at once by this process's own requests ([`Bell`]): so the
//! jobs of people whose shards are up go on while another shard is down and the question cannot be answered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::GenericClient;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::jobs::{Job, queue};
use crate::{App, Error};

/// How often all shards are asked.
const INTERVAL: Duration = Duration::from_millis(500);
/// People with due jobs that are kept in mind; others are found at the next interval.
const MOST_OWNERS: usize = 1000;
/// Longest run of one attempt.
const LONGEST: Duration = Duration::from_secs(600);
/// How long running jobs may go on when this process stops.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Rung with the id of somebody who has a new job.
#[derive(Debug, Default)]
pub struct Bell {
    owners: Mutex<VecDeque<i64>>,
    rung: Notify,
}

impl Bell {
    /// After the transaction that enqueued the job has committed.
    pub fn ring(&self, owner_id: i64) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() < MOST_OWNERS && !owners.contains(&owner_id) {
            owners.push_back(owner_id);
        }
        drop(owners);
        self.rung.notify_one();
    }

    fn take(&self) -> Option<i64> {
        self.owners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

/// Carries out one attempt.
pub trait Carry: Send + Sync + 'static {
    fn carry(&self, app: &App, job: &Job) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Runs until `stop`, then lets running jobs end for a moment.
pub async fn run(
    app: App,
    bell: Arc<Bell>,
    carry: Arc<impl Carry>,
    at_once: usize,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(at_once));
    // People of whom a task of this process takes jobs already; true: the bell has rung for them since.
    let busy: Arc<Mutex<HashMap<i64, bool>>> = Arc::default();
    let mut tasks = JoinSet::new();
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = interval.tick() => look(&app, &bell).await,
            () = bell.rung.notified() => {}
        }
        while let Some(owner_id) = bell.take() {
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            // The semaphore is never closed.
            let Ok(place) = place else { break };
            if lock(&busy).insert(owner_id, false).is_some() {
                lock(&busy).insert(owner_id, true);
                continue;
            }
            let (app, carry, busy, bell, stop) = (
                app.clone(),
                Arc::clone(&carry),
                Arc::clone(&busy),
                Arc::clone(&bell),
                stop.clone(),
            );
            tasks.spawn(async move {
                let outcome = jobs_of(&app, owner_id, &*carry, &stop).await;
                let again = lock(&busy).remove(&owner_id).unwrap_or(false);
                drop(place);
                match outcome {
                    Ok(more) if more || again => bell.ring(owner_id),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::warn!(owner_id, %error, "jobs wait: the database does not answer")
                    }
                }
            });
        }
        while tasks.try_join_next().is_some() {}
    }
    let all_end = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_WAIT, all_end).await.is_err() {
        // Leases end; another process takes over.
        tracing::warn!("stopping with jobs that still run");
    }
}

async fn look(app: &App, bell: &Bell) {
    let owners = async {
        let client = app.pool.get().await?;
        queue::owners_due(&client, MOST_OWNERS as i64).await
    };
    match owners.await {
        Ok(owners) => owners.into_iter().for_each(|owner_id| bell.ring(owner_id)),
        Err(error) => tracing::debug!(%error, "cannot ask all shards for jobs"),
    }
}

/// Jobs of one person that are taken in a row, so that others have their turn.
const IN_A_ROW: usize = 8;

/// True: there may be more.
async fn jobs_of(
    app: &App,
    owner_id: i64,
    carry: &impl Carry,
    stop: &CancellationToken,
) -> Result<bool, Error> {
    for _ in 0..IN_A_ROW {
        if stop.is_cancelled() {
            return Ok(false);
        }
        let job = {
            let client = app.pool.get().await?;
            queue::claim(&client, owner_id).await?
        };
        match job {
            Some(job) => attempt(app, job, carry, stop).await?,
            None => {
                let client = app.pool.get().await?;
                let lost = queue::bury_lost(&client, owner_id).await?;
                if lost > 0 {
                    tracing::error!(
                        owner_id,
                        lost,
                        "jobs are dead: their workers ended in the last attempt"
                    );
                }
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn attempt(
    app: &App,
    job: Job,
    carry: &impl Carry,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(LONGEST, carry.carry(app, &job)) => outcome,
        () = lease_lost(app, &job) => {
            tracing::warn!(job.id, job.owner_id, "a job's lease was lost");
            return Ok(());
        }
        () = stopped(stop) => {
            let client = app.pool.get().await?;
            return queue::give_back(&client, &job).await;
        }
    };
    let outcome =
        outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("it took longer than {LONGEST:?}").into()));
    let client = app.pool.get().await?;
    match outcome {
        Ok(()) => {
            queue::finish(&client, &job).await?;
            app.metrics.jobs_done.add(1);
        }
        Err(error) => failed(app, &client, &job, &error).await?,
    }
    Ok(())
}

/// While a part of the database is away a job waits for it: only what the job itself does wrong uses up its attempts.
async fn failed(
    app: &App,
    client: &impl GenericClient,
    job: &Job,
    error: &Error,
) -> Result<(), Error> {
    app.metrics.jobs_failed.add(1);
    let text = error.to_string();
    if error.is_outage() {
        tracing::warn!(job.kind, job.id, job.owner_id, %error, "a job waits for the database");
        return queue::put_off(client, job, &text).await;
    }
    let dead = job.is_last_attempt();
    tracing::warn!(job.kind, job.id, job.owner_id, job.attempts, dead, %error, "a job failed");
    queue::fail(client, job, &text).await
}

/// Ends when another worker may have the job. While the database does not answer the lease may still be ours.
async fn lease_lost(app: &App, job: &Job) {
    let mut interval = tokio::time::interval(queue::LEASE / 4);
    interval.tick().await;
    loop {
        interval.tick().await;
        let renewed = async {
            let client = app.pool.get().await?;
            queue::renew(&client, job).await
        };
        if let Ok(false) = renewed.await {
            return;
        }
    }
}

/// A moment after this process was told to stop.
async fn stopped(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_WAIT / 2).await;
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
