//! The statements of PostgreSQL's own regression files, on tables made sharded: the same as on one plain PostgreSQL, or
//! refused; never different. The files come from Debian's source package and are not kept here.
//!
//! The suite runs a part of the files. `REGRESSION=all cargo test --test regression -- --nocapture` runs all,
//! `REGRESSION=join,with` these only, and `REGRESSION_REPORT=FILE` writes every statement's verdict to the file.

mod anatomy;
mod judge;
mod report;
mod rules;
mod run;
mod script;
mod source;

use std::path::Path;

use report::Report;
use tests::Cluster;
use tests::sides::{Protocol, Sides};

/// Files that make what the others use; their statements are not counted.
const SETUP: [&str; 3] = ["test_setup", "create_misc", "create_aggregate"];

#[tokio::test]
async fn regression_statements_are_answered_alike_or_refused() {
    let folder = match source::folder() {
        Ok(folder) => folder,
        Err(why) => {
            eprintln!("SKIPPED: PostgreSQL's regression files cannot be had: {why}");
            return;
        }
    };
    let only = std::env::var("REGRESSION").unwrap_or_default();
    let is_asked = |name: &str, suite: bool| match only.as_str() {
        "" => suite,
        "all" => true,
        list => list.split(',').any(|asked| asked == name),
    };
    let cluster = Cluster::start(4);
    let database = cluster.database("regression");
    set_up(&mut Sides::connect(&database).await, &folder).await;
    let mut report = Report::default();
    for (name, suite) in rules::FILES {
        if is_asked(name, suite) {
            let mut sides = Sides::connect(&database).await;
            report.add(name, run::file(&mut sides, &folder, name).await);
        }
    }
    report.finish();
}

async fn set_up(sides: &mut Sides, folder: &Path) {
    for name in SETUP {
        run::set_up(sides, folder, name).await;
    }
    let sharded =
        rules::SHARDED.map(|(table, key)| format!("oskol.shard_table('{table}', '{key}')"));
    let reference = rules::REFERENCE.map(|table| format!("oskol.reference_table('{table}')"));
    for call in sharded.into_iter().chain(reference) {
        let answer = sides
            .cluster
            .ask(Protocol::Simple, &format!("select {call}"), &[])
            .await;
        assert!(answer.failure.is_none(), "{call}: {answer}");
    }
}
