use super::*;
use crate::plan::{FetchDirection, FetchStep};

fn held(declared_at: usize) -> Cursor {
    Cursor {
        place: Place::OnShard(ShardId(0)),
        hold: true,
        lasts: false,
        declared_at,
    }
}

#[test]
fn only_a_committed_cursor_with_hold_outlives_its_transaction() {
    let mut cursors = Cursors::default();
    cursors.insert("held", held(0));
    cursors.insert(
        "plain",
        Cursor {
            hold: false,
            ..held(0)
        },
    );
    cursors.end_transaction(true);
    assert!(cursors.contains("held") && !cursors.contains("plain"));
    cursors.insert("rolled back", held(0));
    cursors.end_transaction(false);
    assert!(cursors.contains("held") && !cursors.contains("rolled back"));
}

#[test]
fn rollback_to_ends_what_was_declared_since_the_savepoint() {
    let mut cursors = Cursors::default();
    cursors.insert("before", held(0));
    cursors.insert("inside", held(1));
    cursors.insert("deeper", held(3));
    cursors.release(2);
    cursors.roll_back_to(2);
    assert!(cursors.contains("inside"));
    assert!(!cursors.contains("deeper"));
    cursors.roll_back_to(1);
    assert!(cursors.contains("before") && !cursors.contains("inside"));
}

fn numbers(position: &mut Position, direction: FetchDirection, count: i64) -> Vec<u64> {
    let step = FetchStep { direction, count };
    position.step(step, false).unwrap().numbers().collect()
}

#[test]
fn fetch_goes_forth_and_back_past_both_ends() {
    use FetchDirection::{Absolute, Backward, Forward, Relative};
    let mut at = Position::before_first(5, false);
    assert_eq!(numbers(&mut at, Forward, 2), [0, 1]);
    assert_eq!(numbers(&mut at, Forward, 0), [1]);
    assert_eq!(numbers(&mut at, Backward, 1), [0]);
    assert_eq!(numbers(&mut at, Backward, 1), [0_u64; 0]);
    assert_eq!(numbers(&mut at, Forward, i64::MAX), [0, 1, 2, 3, 4]);
    assert_eq!(numbers(&mut at, Forward, 0), [0_u64; 0]);
    assert_eq!(numbers(&mut at, Backward, i64::MAX), [4, 3, 2, 1, 0]);
    assert_eq!(numbers(&mut at, Absolute, -2), [3]);
    assert_eq!(numbers(&mut at, Relative, -2), [1]);
    assert_eq!(numbers(&mut at, Relative, 3), [4]);
    assert_eq!(numbers(&mut at, Absolute, 3), [2]);
    assert_eq!(numbers(&mut at, Absolute, 9), [0_u64; 0]);
    assert_eq!(numbers(&mut at, Forward, -1), [4]);
}

#[test]
fn a_cursor_without_scroll_takes_only_what_ends_up_ahead() {
    use FetchDirection::{Absolute, Backward, Forward};
    let mut at = Position::before_first(5, true);
    assert_eq!(numbers(&mut at, Absolute, 1), [0]);
    assert_eq!(numbers(&mut at, Absolute, 4), [3]);
    for (direction, count) in [(Absolute, 2), (Backward, 1), (Forward, 0), (Absolute, 0)] {
        let error = at.step(FetchStep { direction, count }, false).unwrap_err();
        assert_eq!(error.sqlstate, "55000");
    }
}
