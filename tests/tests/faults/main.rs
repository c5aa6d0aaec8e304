//! A two-phase commit is stopped at each of its points, and something dies there: the router, the lead shard, another
//! participant, or a connection in one direction. Afterwards the transaction is whole or not at all, nothing is left
//! prepared or locked, and transactions go on.
//!
//! The suite runs every point, and every victim, but not each with each; `FAULTS=all` does. The table of cases and
//! outcomes is written to `target/fault-cases.md`.

mod case;
mod entries;
mod rig;
mod table;

use std::sync::{Mutex, PoisonError};

use case::{Case, POINTS, VICTIMS, Victim};
use rig::Rig;
use table::Row;

/// Clusters that work side by side.
const RIGS: usize = 3;

fn all_cases() -> Vec<Case> {
    let pairs = VICTIMS
        .iter()
        .flat_map(|victim| POINTS.iter().map(move |point| (*victim, *point)));
    pairs
        .enumerate()
        .map(|(number, (victim, point))| Case::new(number, point, victim))
        .collect()
}

/// Each point with the router and with the lead, and all else on the diagonal.
fn is_in_suite(number: usize, case: &Case) -> bool {
    matches!(case.victim, Victim::Router | Victim::Lead) || number.is_multiple_of(4)
}

fn run_all(cases: Vec<Case>) -> Vec<Row> {
    let queue = Mutex::new(cases.into_iter());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..RIGS {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let runtime = runtime.expect("a runtime");
                let rig = Rig::start();
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(case) = next else { break };
                    let row = runtime.block_on(case.run(&rig));
                    rows.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(row);
                }
            });
        }
    });
    rows.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn whatever_dies_in_a_two_phase_commit_it_is_done_everywhere_or_nowhere() {
    let all = std::env::var("FAULTS").is_ok_and(|value| value == "all");
    let cases = all_cases().into_iter().enumerate();
    let cases: Vec<Case> = cases
        .filter(|(number, case)| all || is_in_suite(*number, case))
        .map(|(_, case)| case)
        .collect();
    let table = table::markdown(run_all(cases));
    eprintln!("{}", table.text);
    std::fs::write(
        tests::toolchain::target().join("fault-cases.md"),
        &table.text,
    )
    .unwrap();
    assert!(table.wrong.is_empty(), "{}", table.wrong.join("\n"));
}
