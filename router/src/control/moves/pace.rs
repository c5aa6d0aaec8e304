//! A limit of bandwidth that all who copy at the same time keep together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Bytes a second; zero: no limit.
    rate: u64,
    /// When all that was copied so far is due.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Self {
        Self {
            rate,
            due: Mutex::default(),
        }
    }

    /// Waits until `bytes` more may have been copied. Time in which nobody copied is not made up for.
    pub(super) async fn keep(&self, bytes: u64) {
        if self.rate > 0 {
            tokio::time::sleep_until(self.due_after(bytes)).await;
        }
    }

    fn due_after(&self, bytes: u64) -> Instant {
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        let now = Instant::now();
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let next = due.map_or(now, |due| due.max(now)) + takes;
        *due = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_copy_keep_the_limit_together() {
        let pace = Pace::new(1000);
        let began = Instant::now();
        let last = (0..10).map(|_| pace.due_after(100)).last();
        let waited = last.expect("ten").duration_since(began);
        // The first is due from when it asked.
        assert!((1.0..1.1).contains(&waited.as_secs_f64()), "{waited:?}");
    }

    #[test]
    fn time_in_which_nobody_copied_is_not_made_up_for() {
        let pace = Pace::new(1_000_000);
        pace.due_after(1);
        std::thread::sleep(Duration::from_millis(20));
        let (began, due) = (Instant::now(), pace.due_after(500_000));
        assert!(due.duration_since(began) >= Duration::from_millis(500));
    }
}
