//! Random statements on the cluster and on one PostgreSQL: a bounded number of them. Long runs: CONTRIBUTING.md.

use std::time::Duration;

use tests::differential::{self, Options, Summary};

/// Sessions that run at the same time, and the statements of each.
const SESSIONS: usize = 2;
const STATEMENTS: usize = 900;

/// Longest run of one seed's sessions; a loaded machine runs fewer statements.
const TIME: Duration = Duration::from_secs(25);

/// Most refusals, in percent of the statements.
const REFUSED: usize = 2;

fn run(seed: u64) -> Summary {
    let options = Options {
        seed,
        statements: SESSIONS * STATEMENTS,
        sessions: SESSIONS,
        scale: 100,
        failures: tests::toolchain::target().join("differential-failures.txt"),
        time: Some(TIME),
        progress: false,
    };
    let summary = differential::run(&differential::cluster(), &options);
    eprintln!("seeds {seed} and {}: {summary}", seed + 1);
    summary
}

fn holds(summary: &Summary) {
    assert!(summary.is_clean(), "{summary}");
    assert!(summary.with_rows > summary.statements / 5, "{summary}");
    let refused = summary.refusals() * 100;
    assert!(refused <= REFUSED * summary.statements, "{summary}");
}

#[test]
fn random_statements_are_answered_as_by_one_postgresql() {
    holds(&run(2001));
}

/// A seed of the day, where continuous integration sets one.
#[test]
fn random_statements_of_another_seed_are_answered_as_by_one_postgresql() {
    let seed = std::env::var("DIFFERENTIAL_SEED").ok();
    let seed = seed.map(|seed| seed.parse().expect("DIFFERENTIAL_SEED is a number"));
    holds(&run(seed.unwrap_or(3001)));
}
