//! Times in buckets that double: 16 us, 32 us, ... 67 s, and beyond.

use std::time::Duration;

use super::Counter;

/// Upper bound of the first bucket: 2^4 microseconds.
const FIRST: u32 = 4;
/// Buckets with an upper bound; the last bound is 2^26 us, 67 s.
const BOUNDED: usize = 23;

/// One writer; see [`Counter`].
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BOUNDED + 1],
    microseconds: Counter,
}

/// Values of one or more histograms at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistogramTotal {
    buckets: [u64; BOUNDED + 1],
    /// Sum of all times.
    pub microseconds: u64,
}

impl Histogram {
    pub fn record(&self, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(microseconds)].increment();
        self.microseconds.add(microseconds);
    }

    pub fn add_to(&self, total: &mut HistogramTotal) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.get();
        }
        total.microseconds += self.microseconds.get();
    }
}

/// The bucket whose upper bound is the least power of two not below the time.
fn bucket(microseconds: u64) -> usize {
    let power = 64 - microseconds.saturating_sub(1).leading_zeros();
    (power.saturating_sub(FIRST) as usize).min(BOUNDED)
}

impl HistogramTotal {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// (upper bound in seconds, times not above it), ascending, without the unbounded one.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut sum = 0;
        (FIRST..)
            .zip(&self.buckets[..BOUNDED])
            .map(move |(power, count)| {
                sum += count;
                ((1_u64 << power) as f64 / 1e6, sum)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_times_up_to_its_bound() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(16), 0);
        assert_eq!(bucket(17), 1);
        assert_eq!(bucket(32), 1);
        assert_eq!(bucket(1 << 26), BOUNDED - 1);
        assert_eq!(bucket((1 << 26) + 1), BOUNDED);
        assert_eq!(bucket(u64::MAX), BOUNDED);
    }

    #[test]
    fn cumulative_counts_end_at_all_bounded_times() {
        let histogram = Histogram::default();
        for microseconds in [3, 17, 40, 1_000, 90_000_000] {
            histogram.record(Duration::from_micros(microseconds));
        }
        let mut total = HistogramTotal::default();
        histogram.add_to(&mut total);
        assert_eq!(total.count(), 5);
        assert_eq!(total.microseconds, 90_001_060);
        let cumulative: Vec<_> = total.cumulative().collect();
        assert_eq!(cumulative[0], (0.000_016, 1));
        assert_eq!(cumulative[1], (0.000_032, 2));
        assert_eq!(cumulative.last().unwrap().1, 4);
    }
}
