//! Where the primary's WAL was, and when: what tells a standby's position from its age.

use std::collections::VecDeque;

use super::Moment;

/// At two a second, half an hour: a standby that is further behind has no age that is known.
const KEPT: usize = 4_096;

/// Of one shard.
#[derive(Debug, Default)]
pub struct History {
    timeline: u32,
    /// Ascending in both: a moment, and where the WAL was inserted no earlier than then.
    points: VecDeque<(Moment, u64)>,
}

impl History {
    /// The primary's WAL was at `position` when it was asked at `moment`. One of an older timeline is a primary that has
    /// been replaced: false.
    pub fn primary(&mut self, timeline: u32, moment: Moment, position: u64) -> bool {
        if timeline < self.timeline {
            return false;
        }
        if timeline > self.timeline {
            self.timeline = timeline;
            self.points.clear();
        }
        if self
            .points
            .back()
            .is_some_and(|(last, at)| *last >= moment || *at > position)
        {
            // Asked twice at a time.
            return true;
        }
        if self.points.len() == KEPT {
            self.points.pop_front();
        }
        self.points.push_back((moment, position));
        true
    }

    /// The last moment of which a standby on `timeline` that has replayed up to `position` shows all.
    pub fn as_of(&self, timeline: u32, position: u64) -> Option<Moment> {
        if timeline != self.timeline {
            return None;
        }
        let shown = self.points.partition_point(|(_, at)| *at <= position);
        let (moment, _) = self.points.get(shown.checked_sub(1)?)?;
        Some(*moment)
    }

    /// Bytes that a standby at `position` is behind what is known of the primary.
    pub fn behind(&self, position: u64) -> Option<u64> {
        let (_, last) = self.points.back()?;
        Some(last.saturating_sub(position))
    }
}

/// Where the last record ends, for the position at which the next one will begin: that stands behind the header of a page
/// where a page is full, and no standby would ever reach it while nothing is written.
pub fn end_of_records(insert: u64, page: u64, segment: u64) -> u64 {
    const SHORT_HEADER: u64 = 24;
    const LONG_HEADER: u64 = 40;
    if insert % segment == LONG_HEADER {
        insert - LONG_HEADER
    } else if insert % page == SHORT_HEADER {
        insert - SHORT_HEADER
    } else {
        insert
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_as_of_the_last_point_that_it_has_replayed() {
        let mut history = History::default();
        for (moment, position) in [(10, 100), (20, 100), (30, 250)] {
            assert!(history.primary(1, Moment(moment), position));
        }
        assert_eq!(history.as_of(1, 99), None);
        assert_eq!(history.as_of(1, 100), Some(Moment(20)));
        assert_eq!(history.as_of(1, 249), Some(Moment(20)));
        assert_eq!(history.as_of(1, 250), Some(Moment(30)));
        assert_eq!(history.behind(200), Some(50));
    }

    #[test]
    fn positions_of_another_timeline_say_nothing() {
        let mut history = History::default();
        history.primary(1, Moment(10), 1_000);
        assert!(history.primary(2, Moment(20), 500));
        assert_eq!(history.as_of(1, 1_000), None, "not of the new primary's");
        assert_eq!(history.as_of(2, 500), Some(Moment(20)));
        assert!(
            !history.primary(1, Moment(30), 2_000),
            "the old primary is back"
        );
        assert_eq!(history.as_of(2, 2_000), Some(Moment(20)));
    }

    #[test]
    fn a_full_page_ends_where_its_last_record_does() {
        let (page, segment) = (8_192, 16 << 20);
        assert_eq!(end_of_records(8_192 * 3 + 24, page, segment), 8_192 * 3);
        assert_eq!(end_of_records((16 << 20) + 40, page, segment), 16 << 20);
        assert_eq!(end_of_records(8_192 + 40, page, segment), 8_192 + 40);
        assert_eq!(end_of_records(8_192 + 64, page, segment), 8_192 + 64);
    }
}
