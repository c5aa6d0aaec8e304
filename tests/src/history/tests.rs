//! Histories by hand, each with what it must be found to have.

use std::collections::BTreeMap;

use super::End::{Aborted, Committed, Unknown};
use super::Level::{ReadCommitted, RepeatableRead};
use super::Operation::{self, Append, Read};
use super::{End, Level, Transaction, check};

/// Each transaction by a client of its own.
fn names(
    level: Level,
    transactions: &[(End, &[Operation])],
    lists: &[(i64, &[i64])],
) -> Vec<&'static str> {
    let transactions = transactions.iter().enumerate();
    let history: Vec<Transaction> = transactions
        .map(|(client, (end, operations))| Transaction {
            client,
            operations: operations.to_vec(),
            end: *end,
        })
        .collect();
    let lists: BTreeMap<i64, Vec<i64>> = lists
        .iter()
        .map(|(key, list)| (*key, list.to_vec()))
        .collect();
    check(&history, &lists, level).names().into_iter().collect()
}

fn read(key: i64, list: &[i64]) -> Operation {
    Read(key, list.to_vec())
}

#[test]
fn a_serial_history_has_nothing() {
    let history: [(End, &[Operation]); 4] = [
        (Committed, &[Append(1, 10), Append(2, 20)]),
        (
            Committed,
            &[read(1, &[10]), Append(1, 11), read(1, &[10, 11])],
        ),
        (Aborted, &[Append(1, 12), read(1, &[10, 12])]),
        (Unknown, &[Append(2, 21)]),
    ];
    let lists: [(i64, &[i64]); 2] = [(1, &[10, 11]), (2, &[20])];
    for level in [ReadCommitted, RepeatableRead] {
        assert!(names(level, &history, &lists).is_empty());
    }
}

#[test]
fn lost_doubled_aborted_and_half_done_appends() {
    let committed: [(End, &[Operation]); 1] = [(Committed, &[Append(1, 10), Append(2, 20)])];
    let found = |lists: &[(i64, &[i64])]| names(ReadCommitted, &committed, lists);
    assert_eq!(found(&[(1, &[10])]), ["lost append"]);
    assert_eq!(found(&[(1, &[10, 10]), (2, &[20])]), ["doubled append"]);
    assert_eq!(found(&[(1, &[10]), (2, &[20, 99])]), ["garbage"]);
    let ended = |end: End| {
        let history: [(End, &[Operation]); 1] = [(end, &[Append(1, 10), Append(2, 20)])];
        names(ReadCommitted, &history, &[(1, &[10])])
    };
    assert_eq!(ended(Aborted), ["aborted append"]);
    assert_eq!(ended(Unknown), ["half done"]);
}

#[test]
fn dirty_and_intermediate_reads() {
    let history: [(End, &[Operation]); 2] =
        [(Aborted, &[Append(1, 10)]), (Committed, &[read(1, &[10])])];
    let found = names(ReadCommitted, &history, &[(1, &[])]);
    assert_eq!(found, ["G1a", "incompatible order"]);
    let history: [(End, &[Operation]); 2] = [
        (Committed, &[Append(1, 10), Append(1, 11)]),
        (Committed, &[read(1, &[10])]),
    ];
    assert!(names(ReadCommitted, &history, &[(1, &[10, 11])]).contains(&"G1b"));
}

#[test]
fn a_transaction_that_does_not_see_its_own_append() {
    let history: [(End, &[Operation]); 1] = [(Committed, &[Append(1, 10), read(1, &[])])];
    assert!(names(ReadCommitted, &history, &[(1, &[10])]).contains(&"internal"));
}

#[test]
fn writes_in_different_orders_are_g0() {
    let history: [(End, &[Operation]); 2] = [
        (Committed, &[Append(1, 10), Append(2, 20)]),
        (Committed, &[Append(1, 11), Append(2, 21)]),
    ];
    let lists: [(i64, &[i64]); 2] = [(1, &[10, 11]), (2, &[21, 20])];
    assert!(names(ReadCommitted, &history, &lists).contains(&"G0"));
}

#[test]
fn transactions_that_see_one_another_are_g1c() {
    let history: [(End, &[Operation]); 2] = [
        (Committed, &[Append(1, 10), read(2, &[20])]),
        (Committed, &[Append(2, 20), read(1, &[10])]),
    ];
    let found = names(ReadCommitted, &history, &[(1, &[10]), (2, &[20])]);
    assert_eq!(found, ["G1c"]);
}

#[test]
fn a_fractured_read_is_forbidden_to_snapshots_only() {
    let history: [(End, &[Operation]); 2] = [
        (Committed, &[Append(1, 10), Append(2, 20)]),
        (Committed, &[read(1, &[10]), read(2, &[])]),
    ];
    let lists: [(i64, &[i64]); 2] = [(1, &[10]), (2, &[20])];
    assert!(names(ReadCommitted, &history, &lists).is_empty());
    assert_eq!(names(RepeatableRead, &history, &lists), ["G-single"]);
}

#[test]
fn snapshots_that_see_two_writers_in_different_orders_are_forbidden() {
    // A long fork: each reader has one of two writes that do not depend on one another.
    let history: [(End, &[Operation]); 4] = [
        (Committed, &[Append(1, 10)]),
        (Committed, &[Append(2, 20)]),
        (Committed, &[read(1, &[10]), read(2, &[])]),
        (Committed, &[read(1, &[]), read(2, &[20])]),
    ];
    let lists: [(i64, &[i64]); 2] = [(1, &[10]), (2, &[20])];
    assert_eq!(names(RepeatableRead, &history, &lists), ["G-single"]);
    assert!(names(ReadCommitted, &history, &lists).is_empty());
}

#[test]
fn a_lost_update_is_forbidden_to_snapshots_only() {
    let history: [(End, &[Operation]); 2] = [
        (Committed, &[read(1, &[]), Append(1, 10)]),
        (Committed, &[read(1, &[]), Append(1, 11)]),
    ];
    let lists: [(i64, &[i64]); 1] = [(1, &[10, 11])];
    assert!(names(ReadCommitted, &history, &lists).is_empty());
    assert_eq!(names(RepeatableRead, &history, &lists), ["G-single"]);
}

#[test]
fn write_skew_is_what_snapshots_allow() {
    let history: [(End, &[Operation]); 2] = [
        (Committed, &[read(1, &[]), Append(2, 20)]),
        (Committed, &[read(2, &[]), Append(1, 10)]),
    ];
    let lists: [(i64, &[i64]); 2] = [(1, &[10]), (2, &[20])];
    assert!(names(RepeatableRead, &history, &lists).is_empty());
}

#[test]
fn a_session_that_misses_its_own_commit_is_found() {
    let transaction = |operation: Operation| Transaction {
        client: 0,
        operations: vec![operation],
        end: Committed,
    };
    let history = [transaction(Append(1, 10)), transaction(read(1, &[]))];
    let lists = BTreeMap::from([(1, vec![10])]);
    assert_eq!(check(&history, &lists, RepeatableRead).names().len(), 1);
    assert!(check(&history, &lists, ReadCommitted).names().is_empty());
}
