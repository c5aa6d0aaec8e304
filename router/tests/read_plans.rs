//! Plans of SELECT, UPDATE, DELETE, MERGE and EXPLAIN, as data: `tests/read_plans/*.txt` hold statements
//! and what their plans look like. `READ_PLANS=accept cargo test -p router --test read_plans` writes the
//! files anew; read the difference before committing it.

#[path = "read_plans/catalog.rs"]
mod catalog;
#[path = "read_plans/describe.rs"]
mod describe;

use std::path::Path;

use router::parse;
use router::plan::{PlanContext, plan};

fn planned(text: &str) -> String {
    let snapshot = catalog::snapshot();
    let search_path = ["public".to_owned()];
    let context = PlanContext {
        snapshot: &snapshot,
        search_path: &search_path,
        temporary: &|name| name == "scratch",
        rules: &[],
        database: "app",
        clock_in_parameters: false,
    };
    match parse::parse(text) {
        Ok(statements) => statements
            .iter()
            .map(|one| describe::plan(&plan(one, &context)))
            .collect(),
        Err(error) => format!("error {} {error}\n", error.sqlstate),
    }
}

/// The file with every plan written anew; comments and blank lines stay.
fn rewritten(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        if let Some(statement) = line.strip_prefix("> ") {
            while lines.peek().is_some_and(|line| line.starts_with("  ")) {
                lines.next();
            }
            for line in planned(statement).lines() {
                out.push_str("  ");
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

#[track_caller]
fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/read_plans")
        .join(name);
    let expected = std::fs::read_to_string(&path).expect("a case file");
    let actual = rewritten(&expected);
    if std::env::var_os("READ_PLANS").is_some() {
        std::fs::write(&path, &actual).expect("the case file is writable");
        return;
    }
    for (number, (actual, expected)) in actual.lines().zip(expected.lines()).enumerate() {
        assert_eq!(actual, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(actual.lines().count(), expected.lines().count(), "{name}");
}

#[test]
fn statements_are_placed_as_written_down() {
    check("place.txt");
}

#[test]
fn statements_are_pinned_to_keys_as_written_down() {
    check("by_key.txt");
}

#[test]
fn statements_spread_over_shards_as_written_down() {
    check("scatter.txt");
}

#[test]
fn statements_that_would_be_wrong_are_refused_as_written_down() {
    check("refused.txt");
}

#[test]
fn parts_of_several_shards_are_combined_as_written_down() {
    check("combine.txt");
}

#[test]
fn writes_are_planned_as_written_down() {
    check("write.txt");
}

#[test]
fn views_over_sharded_tables_are_read_through_as_written_down() {
    check("views.txt");
}

#[test]
fn statements_over_pulled_rows_are_planned_as_written_down() {
    check("gather.txt");
}
