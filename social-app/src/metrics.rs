//! Counters of this process, as Prometheus reads them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::App;

/// Upper bounds of the buckets of request times, in milliseconds.
const BOUNDS: [u64; 9] = [5, 10, 25, 50, 100, 250, 500, 1000, 5000];

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub struct Metrics {
    /// Answers by the first digit of their status: 1xx to 5xx.
    responses: [Counter; 5],
    /// Requests that took no longer than each bound, and those that took longer.
    times: [Counter; BOUNDS.len() + 1],
    microseconds: Counter,
    pub posts: Counter,
    pub messages: Counter,
    pub jobs_done: Counter,
    pub jobs_failed: Counter,
    pub connections: AtomicI64,
}

impl Metrics {
    pub fn answered(&self, status: u16, took: Duration) {
        if let Some(counter) = self
            .responses
            .get(usize::from(status / 100).wrapping_sub(1))
        {
            counter.add(1);
        }
        let milliseconds = took.as_millis() as u64;
        let bucket = BOUNDS.iter().position(|bound| milliseconds < *bound);
        self.times[bucket.unwrap_or(BOUNDS.len())].add(1);
        self.microseconds.add(took.as_micros() as u64);
    }
}

/// The text of `/metrics`.
pub fn text(app: &App) -> String {
    let metrics = &app.metrics;
    let mut out = String::new();
    // Writing to a String cannot fail.
    let mut line = |text: std::fmt::Arguments<'_>| {
        let _ = writeln!(out, "{text}");
    };
    line(format_args!("# TYPE social_responses_total counter"));
    for (class, counter) in (1..).zip(&metrics.responses) {
        line(format_args!(
            "social_responses_total{{class=\"{class}xx\"}} {}",
            counter.get()
        ));
    }
    line(format_args!("# TYPE social_request_seconds histogram"));
    let mut sum = 0;
    for (bound, counter) in BOUNDS.iter().zip(&metrics.times) {
        sum += counter.get();
        let bound = *bound as f64 / 1000.0;
        line(format_args!(
            "social_request_seconds_bucket{{le=\"{bound}\"}} {sum}"
        ));
    }
    sum += metrics.times[BOUNDS.len()].get();
    line(format_args!(
        "social_request_seconds_bucket{{le=\"+Inf\"}} {sum}"
    ));
    line(format_args!(
        "social_request_seconds_sum {}",
        metrics.microseconds.get() as f64 / 1e6
    ));
    line(format_args!("social_request_seconds_count {sum}"));
    let counters = [
        ("posts", &metrics.posts),
        ("messages", &metrics.messages),
        ("jobs_done", &metrics.jobs_done),
        ("jobs_failed", &metrics.jobs_failed),
    ];
    for (name, counter) in counters {
        line(format_args!(
            "# TYPE social_{name}_total counter\nsocial_{name}_total {}",
            counter.get()
        ));
    }
    let pool = app.pool.status();
    let gauges = [
        ("connections", metrics.connections.load(Ordering::Relaxed)),
        ("live_streams", app.live.streams() as i64),
        ("pool_connections", pool.size as i64),
        ("pool_idle", pool.available as i64),
        ("pool_waiting", pool.waiting as i64),
    ];
    for (name, value) in gauges {
        line(format_args!(
            "# TYPE social_{name} gauge\nsocial_{name} {value}"
        ));
    }
    out
}
