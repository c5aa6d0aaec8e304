//! Random schemas with unique and foreign keys that leave the shard, and random statements on them: on four shards and
//! on one plain PostgreSQL the same statements succeed, the others fail with the same errors, and the rows are the
//! same. Many sessions at once leave no duplicate and no orphan. Long runs: CONTRIBUTING.md.

use std::time::Duration;

use tests::chaos;
use tests::constraints::{self, Options};

fn options() -> Options {
    Options {
        seed: 1,
        statements: 60,
        schemas: 4,
        sessions: 2,
        failures: std::env::temp_dir().join("constraints-failures.txt"),
        time: None,
        progress: false,
    }
}

#[test]
fn random_statements_fare_as_on_one_postgresql() {
    let cluster = constraints::cluster();
    let summary = constraints::run(&cluster, &options());
    println!("{summary}");
    assert!(summary.differences.is_empty(), "{:#?}", summary.differences);
    assert_eq!(summary.schemas, 4);
    assert!(summary.same > 60 && summary.same_errors > 20, "{summary}");
}

/// Two sharded tables.
#[test]
fn many_sessions_leave_no_duplicate_and_no_orphan() {
    many_sessions(11);
}

/// A reference table between two sharded ones.
#[test]
fn many_sessions_leave_the_copies_of_a_reference_table_alike() {
    many_sessions(12);
}

fn many_sessions(seed: u64) {
    let report = chaos::constraints::run(&chaos::Options {
        seed,
        time: Duration::from_secs(8),
        clients: 6,
        kills: false,
        progress: false,
    });
    println!("{report}");
    assert!(report.is_sound(), "{report}");
    assert!(report.done > 50, "{report}");
}
