//! Written cases (`tests/cases/*.slt`): the cluster answers as one plain PostgreSQL with the same rows, or refuses by
//! the id that the case names. `CASES=window cargo test --test cases` runs the files whose names contain `window`.

mod page;
mod reader;
mod run;
mod setting;

use reader::Kind;
use setting::Setting;

async fn all_files(protocol: usize) {
    let (name, protocol) = run::PROTOCOLS[protocol];
    let only = std::env::var("CASES").unwrap_or_default();
    let setting = Setting::new(&format!("cases_{name}")).await;
    let mut wrong = Vec::new();
    for (file, cases) in reader::files(&setting::folder()) {
        if !file.contains(&only) {
            continue;
        }
        let started = std::time::Instant::now();
        let mut sides = setting.sides().await;
        wrong.extend(run::run(&mut sides, &file, &cases, protocol).await);
        drop(sides);
        if cases
            .iter()
            .any(|case| matches!(case.kind, Kind::Statement | Kind::Text))
        {
            setting.fill().await;
        }
        println!(
            "{name} {file}: {} cases in {:?}",
            cases.len(),
            started.elapsed()
        );
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} cases:\n\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn cases_in_the_simple_protocol() {
    all_files(0).await;
}

#[tokio::test]
async fn cases_in_the_extended_protocol() {
    all_files(1).await;
}

#[tokio::test]
async fn cases_in_the_extended_protocol_with_binary_results() {
    all_files(2).await;
}
