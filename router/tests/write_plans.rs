//! Plans of everything that is not a plain read, as data: `tests/write_plans/*.txt` hold statements and
//! what their plans look like. `WRITE_PLANS=accept cargo test -p router --test write_plans` writes the
//! files anew; read the difference before committing it.

#[path = "write_plans/catalog.rs"]
mod catalog;
#[path = "write_plans/describe.rs"]
mod describe;

use std::fmt::Write as _;
use std::path::Path;

use router::parse;
use router::plan::{PlanContext, plan};

/// Statements of a case file with the lines that follow each.
fn cases(text: &str) -> Vec<(Vec<&str>, String, Vec<&str>)> {
    let mut cases: Vec<(Vec<&str>, String, Vec<&str>)> = Vec::new();
    let mut comments = Vec::new();
    for line in text.lines() {
        if let Some(statement) = line.strip_prefix("> ") {
            cases.push((
                std::mem::take(&mut comments),
                statement.to_owned(),
                Vec::new(),
            ));
        } else if line.starts_with('#') {
            comments.push(line);
        } else if let (false, Some(case)) = (line.is_empty(), cases.last_mut()) {
            case.2.push(line);
        }
    }
    cases
}

fn planned(text: &str) -> String {
    let snapshot = catalog::snapshot();
    let search_path = ["public".to_owned()];
    let rules = catalog::rules();
    let context = PlanContext {
        snapshot: &snapshot,
        search_path: &search_path,
        temporary: &|name| name == "scratch",
        rules: &rules,
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

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/write_plans")
        .join(name);
    let text = std::fs::read_to_string(&path).expect("a case file");
    let mut actual = String::new();
    for (comments, statement, _) in cases(&text) {
        for comment in comments {
            writeln!(actual, "{comment}").expect("a string takes all");
        }
        writeln!(actual, "> {statement}\n{}", planned(&statement)).expect("a string takes all");
    }
    if std::env::var_os("WRITE_PLANS").is_some() {
        std::fs::write(&path, &actual).expect("the case file is writable");
    }
    for (new, old) in cases(&actual).iter().zip(cases(&text)) {
        if std::env::var_os("WRITE_PLANS").is_none() {
            assert_eq!(new.2, old.2, "plan of: {}", new.1);
        }
    }
}

#[test]
fn inserts_are_planned_as_written_down() {
    check("insert.txt");
}

#[test]
fn session_statements_are_planned_as_written_down() {
    check("session.txt");
}

#[test]
fn ddl_is_planned_as_written_down() {
    check("ddl.txt");
}

#[test]
fn cluster_commands_are_planned_as_written_down() {
    check("cluster.txt");
}

#[test]
fn copies_are_planned_as_written_down() {
    check("copy.txt");
}
