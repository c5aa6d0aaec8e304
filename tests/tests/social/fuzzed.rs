//! The OpenAPI document, taken at its word by a fuzzer, on four shards.

use std::process::Command;

use serde_json::json;
use tests::Cluster;
use tests::social::{Town, send};
use tests::toolchain::{directory, python, skip, succeed};

/// Requests of each operation that the fuzzer makes up; more by `SCHEMATHESIS_EXAMPLES`.
const EXAMPLES: &str = "6";
/// What has to be true of every answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_document_allows_and_forbids_no_answer_is_a_failure_of_the_server() {
    let requirements = directory().join("schemathesis/requirements.txt");
    let python = match python(&requirements) {
        Ok(python) => python,
        Err(missing) => return skip("schemathesis", &missing),
    };
    let database = Cluster::shared().database("social_fuzzed");
    let town = Town::start(&database.url(), &["--unlimited"]).await;
    let (ada, bruno) = (town.join("ada").await, town.join("bruno").await);
    let post = bruno.write("something to be found").await;
    ada.post(&format!("{post}/comments"), json!({ "body": "found" }))
        .await;
    ada.put(&format!("/people/{}/follow", bruno.id)).await;

    let examples = std::env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    let place = tempfile::tempdir().unwrap();
    let mut fuzzer = Command::new(python.with_file_name("schemathesis"));
    fuzzer
        .arg("--no-color")
        .args(["run", &town.url("/api/v1/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {}", ada.token)])
        .args([
            "--checks",
            CHECKS,
            "--max-examples",
            &examples,
            "--seed",
            "7",
        ])
        // One worker: CPython 3.11 mistakes the depth of one thread's parser for another's.
        .args([
            "--workers",
            "1",
            "--request-timeout",
            "60",
            "--no-shrink",
            "--warnings",
            "off",
        ])
        // It would take the token away that it needs itself.
        .args(["--exclude-path", "/tokens/{id}"])
        .current_dir(place.path());
    let told = tokio::task::spawn_blocking(move || succeed(&mut fuzzer))
        .await
        .unwrap();
    let summary: Vec<&str> = told.lines().rev().take(12).collect();
    println!(
        "{}",
        summary.into_iter().rev().collect::<Vec<_>>().join("\n")
    );

    let metrics = send(town.address, "GET", "/metrics", &[], b"").await.text();
    let count = |class: &str| {
        let start = format!("social_responses_total{{class=\"{class}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
        line.expect("counted").parse::<u64>().unwrap()
    };
    assert_eq!(count("5xx"), 0, "{metrics}");
    assert!(count("2xx") > 50 && count("4xx") > 50, "{metrics}");
    assert_eq!(ada.call("GET", "/me", None).await.status, 200);
}
