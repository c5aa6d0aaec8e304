//! Figures per second over the last minute, from two samples of the counters.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Total;

/// How far apart samples are taken.
pub const PERIOD: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Averages {
    samples: Mutex<Samples>,
}

#[derive(Debug, Default)]
struct Samples {
    before: Option<(Instant, Total)>,
    last: Option<(Instant, Total)>,
}

/// Counters a while ago, and how long ago that was.
#[derive(Debug, Clone, Default)]
pub struct Since {
    pub total: Total,
    /// More than zero.
    pub seconds: f64,
}

impl Averages {
    /// To be called every [`PERIOD`].
    pub fn sample(&self, now: Instant, total: Total) {
        let mut samples = self.lock();
        samples.before = samples.last.replace((now, total));
    }

    /// The sample that is at least one period old, or the oldest, or the start.
    pub fn since(&self, now: Instant, started: Instant) -> Since {
        let samples = self.lock();
        let sample = samples.before.clone().or_else(|| samples.last.clone());
        let (then, total) = sample.unwrap_or((started, Total::default()));
        let seconds = now.saturating_duration_since(then).as_secs_f64().max(1e-3);
        Since { total, seconds }
    }

    /// Both samples are replaced whole, so a panicking holder leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
