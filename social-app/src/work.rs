//! Background jobs: which function carries out which kind. Each may run twice and must then do no more than once.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::jobs::Job;
use crate::jobs::worker::{self, Carry};
use crate::models::{deletion, fan_out};
use crate::{App, Error, media};

/// One attempt at a job; an error makes it be tried again later.
pub async fn run(app: &App, job: &Job) -> Result<(), Error> {
    match job.kind.as_str() {
        fan_out::SPREAD => fan_out::spread(app, job).await,
        fan_out::WITHDRAW => fan_out::withdraw(app, job).await,
        fan_out::FILL => fan_out::fill(app, job).await,
        fan_out::SWITCH => fan_out::switch(app, job).await,
        deletion::DELETE => deletion::delete(app, job).await,
        media::PUBLISH => media::publish(app, job).await,
        media::REMOVE => media::remove(app, job).await,
        media::EXPIRE => media::expire(app, job).await,
        other => Err(anyhow::anyhow!("no such kind of job: {other}").into()),
    }
}

struct ByKind;

impl Carry for ByKind {
    async fn carry(&self, app: &App, job: &Job) -> Result<(), Error> {
        run(app, job).await
    }
}

/// Takes jobs until the process stops.
pub async fn work(app: App, stopping: CancellationToken) {
    let workers = usize::from(app.config.workers);
    if workers > 0 {
        let bell = Arc::clone(&app.bell);
        worker::run(app, bell, Arc::new(ByKind), workers, stopping).await;
    }
}
