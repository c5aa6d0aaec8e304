//! Cases and outcomes as a Markdown table, and what is wrong with them.

use std::fmt::Write as _;
use std::time::Duration;

use crate::case::Told;

/// What became of one case.
pub struct Row {
    pub number: usize,
    pub point: String,
    pub victim: String,
    pub told: Told,
    /// Rows of the transaction on each shard.
    pub rows: Vec<i64>,
    /// Until nothing was prepared any more, after all ran again.
    pub recovered: Duration,
    /// What does not hold.
    pub faults: Vec<String>,
}

impl Row {
    fn outcome(&self) -> &'static str {
        let whole = self.rows.iter().all(|rows| *rows == 1);
        let none = self.rows.iter().all(|rows| *rows == 0);
        match (whole, none) {
            (true, _) => "on all shards",
            (_, true) => "on none",
            _ => "HALF DONE",
        }
    }

    /// The transaction is whole or not at all, and is what the client was told.
    fn is_atomic(&self) -> bool {
        match (self.outcome(), &self.told) {
            ("on all shards", Told::Refused(code)) => is_unknown(code),
            ("on none", Told::Committed) | ("HALF DONE", _) => false,
            _ => true,
        }
    }

    fn wrong(&self) -> Option<String> {
        let mut faults = self.faults.clone();
        if !self.is_atomic() {
            faults.push(format!("told {}, rows by shard {:?}", self.told, self.rows));
        }
        let place = format!("{} at {}", self.victim, self.point);
        (!faults.is_empty()).then(|| format!("{place}: {}", faults.join("; ")))
    }
}

/// The client was told that the outcome is not known.
fn is_unknown(code: &str) -> bool {
    matches!(code, "08007" | "40003")
}

pub struct Table {
    pub text: String,
    pub wrong: Vec<String>,
}

pub fn markdown(mut rows: Vec<Row>) -> Table {
    rows.sort_by_key(|row| row.number);
    let mut text = "| victim | at | client was told | transaction is | recovered after | |\n|---|---|---|---|---|---|\n".to_owned();
    for row in &rows {
        let holds = if row.wrong().is_none() { "" } else { "WRONG" };
        let seconds = row.recovered.as_secs_f64();
        let (victim, point, told, outcome) = (&row.victim, &row.point, &row.told, row.outcome());
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {victim} | {point} | {told} | {outcome} | {seconds:.1} s | {holds} |"
        );
    }
    let slowest = rows.iter().map(|row| row.recovered).max();
    let _ = writeln!(
        text,
        "\n{} cases, {} wrong, slowest recovery {:.1} s",
        rows.len(),
        rows.iter().filter(|row| row.wrong().is_some()).count(),
        slowest.unwrap_or_default().as_secs_f64()
    );
    Table {
        text,
        wrong: rows.iter().filter_map(Row::wrong).collect(),
    }
}

#[test]
fn what_is_half_done_or_not_as_told_is_wrong() {
    let row = |told: Told, rows: [i64; 3]| Row {
        number: 0,
        point: String::new(),
        victim: String::new(),
        told,
        rows: rows.into(),
        recovered: Duration::ZERO,
        faults: Vec::new(),
    };
    let refused = |code: &str| Told::Refused(code.to_owned());
    for told in [Told::Committed, Told::ConnectionLost, refused("08007")] {
        assert!(row(told.clone(), [1, 0, 1]).wrong().is_some());
        assert!(row(told, [1, 1, 1]).wrong().is_none());
    }
    assert!(row(Told::Committed, [0, 0, 0]).wrong().is_some());
    assert!(row(refused("08006"), [1, 1, 1]).wrong().is_some());
    assert!(row(refused("08006"), [0, 0, 0]).wrong().is_none());
}
