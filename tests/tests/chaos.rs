//! Routers and shards are killed at random while clients work: some seconds of what `tests::chaos` can do for longer.

use std::time::Duration;

use tests::chaos::bank::{self, Reads};
use tests::chaos::{self, Options, appends};
use tests::history::Level;

fn options(seconds: u64, kills: bool) -> Options {
    let seed = std::env::var("CHAOS_SEED").ok();
    let seed = seed.map(|seed| seed.parse().expect("CHAOS_SEED is a number"));
    Options {
        seed: seed.unwrap_or(4001),
        time: Duration::from_secs(seconds),
        clients: 16,
        kills,
        progress: false,
    }
}

#[test]
fn no_money_is_lost_or_made_while_routers_and_shards_are_killed() {
    let report = bank::run(&options(20, true), Reads::RepeatableRead);
    eprintln!("{report}");
    assert!(report.is_sound(), "{report}");
    assert_eq!(report.wrong_sums, 0, "{report}");
    assert!(report.kills.count() > 1, "{report}");
    assert!(report.acknowledged > 30, "{report}");
}

/// So that a reader that is to see no torn sum can fail.
#[test]
fn plain_reads_see_torn_sums() {
    let report = bank::run(&options(12, false), Reads::Plain);
    eprintln!("{report}");
    assert!(report.is_sound(), "{report}");
    assert!(report.wrong_sums > 0, "{report}");
    assert_eq!(report.kills.count(), 0);
}

#[test]
fn read_committed_keeps_its_promises_while_routers_and_shards_are_killed() {
    let report = appends::run(&options(15, true), Level::ReadCommitted);
    eprintln!("{}\n{}", report.kills, report.findings);
    assert!(report.findings.anomalies.is_empty(), "{}", report.findings);
    assert!(report.kills.count() > 0, "{}", report.kills);
    assert!(report.findings.dependencies > 100, "{}", report.findings);
}

#[test]
fn repeatable_read_keeps_its_promises_while_routers_and_shards_are_killed() {
    let report = appends::run(&options(15, true), Level::RepeatableRead);
    eprintln!("{}\n{}", report.kills, report.findings);
    assert!(report.findings.anomalies.is_empty(), "{}", report.findings);
    assert!(report.findings.dependencies > 100, "{}", report.findings);
}

#[test]
fn no_duplicate_and_no_orphan_is_left_while_routers_and_shards_are_killed() {
    let report = chaos::constraints::run(&options(15, true));
    eprintln!("{report}");
    assert!(report.is_sound(), "{report}");
    assert!(report.kills.count() > 0, "{report}");
    assert!(report.done > 30, "{report}");
}
