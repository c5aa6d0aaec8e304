//! What every request and job has at hand.

use std::sync::Arc;

use deadpool_postgres::Pool;
use object_store::ObjectStore;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::jobs::worker::Bell;
use crate::live::Hub;
use crate::media::{Desk, Limits};
use crate::metrics::Metrics;
use crate::models::names::Names;
use crate::{db, media};

/// Cheap to clone.
#[derive(Clone)]
pub struct App {
    pub pool: Pool,
    pub media: Arc<dyn ObjectStore>,
    /// Where files are received.
    pub desk: Arc<Desk>,
    /// Tells this process's workers of new jobs.
    pub bell: Arc<Bell>,
    pub config: Arc<Config>,
    pub live: Arc<Hub>,
    pub names: Arc<Names>,
    pub metrics: Arc<Metrics>,
    /// Argon2 takes 19 MiB and a core for each: as many at a time as there are cores.
    pub passwords: Arc<Semaphore>,
}

impl App {
    /// Connects when first asked to, so a database that is down is no error here.
    pub fn open(config: Config) -> anyhow::Result<App> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(App {
            pool: db::pool(&config.url, config.pool_size.into())?,
            media: media::open_store(&config.media, std::env::vars())?,
            desk: Arc::new(Desk::new(Limits::default())),
            bell: Arc::new(Bell::default()),
            live: Arc::new(Hub::default()),
            names: Arc::new(Names::default()),
            metrics: Arc::new(Metrics::default()),
            passwords: Arc::new(Semaphore::new(cores)),
            config: Arc::new(config),
        })
    }
}
