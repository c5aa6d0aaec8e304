//! EXPLAIN shows which shards a statement runs on and why, above PostgreSQL's own plan.

use tests::RawClient;
use wire::Format;

use crate::setting::{Both, database};

async fn lines(client: &mut RawClient, sql: &str) -> Vec<String> {
    let notes = client.query(sql).transcript(1).await;
    let rows = notes.into_iter().filter(|note| note.starts_with("row"));
    rows.collect()
}

#[tokio::test]
async fn a_statement_of_one_shard_is_explained_by_that_shard() {
    let database = database("explain_one").await;
    let mut client = RawClient::connect(&database.url()).await;
    let said = lines(
        &mut client,
        "explain (costs off) select * from items where owner = 7",
    )
    .await;
    assert!(said[0].contains("Oskol: single-shard, shard "), "{said:?}");
    assert!(said[1].contains("  Why: "), "{said:?}");
    assert!(said[2].contains("Scan"), "{said:?}");
}

#[tokio::test]
async fn a_statement_of_all_shards_is_explained_by_each() {
    let database = database("explain_all").await;
    let mut client = RawClient::connect(&database.url()).await;
    let sql = "select owner from items order by owner, id limit 3";
    let said = lines(&mut client, &format!("explain (costs off) {sql}")).await;
    assert!(
        said[0].contains("Oskol: scatter, shards 0, 1, 2, 3"),
        "{said:?}"
    );
    assert!(said[2].contains("Merge: sorted by"), "{said:?}");
    for shard in 0..4 {
        let title = format!("  Shard {shard}:");
        assert!(said.iter().any(|line| line.contains(&title)), "{said:?}");
    }
    let notes = client
        .extended(&format!("explain {sql}"), &[], Format::Text)
        .sync()
        .transcript(1)
        .await;
    assert!(
        notes.iter().any(|note| note == "complete EXPLAIN"),
        "{notes:?}"
    );
}

#[tokio::test]
async fn a_limit_that_is_a_constant_with_its_type_moves_no_rows() {
    let database = database("explain_limit").await;
    let mut client = RawClient::connect(&database.url()).await;
    for limit in ["'7'::int8", "7::bigint", "'7'", "7::int2 offset '3'::int4"] {
        let sql =
            format!("explain (costs off) select owner from items order by owner, id limit {limit}");
        let said = lines(&mut client, &sql).await;
        assert!(said[0].contains("Oskol: scatter, "), "{limit}: {said:?}");
    }
}

#[tokio::test]
async fn explain_analyze_runs_the_statement_and_a_transaction_takes_it_back() {
    let database = database("analyze").await;
    let mut both = Both::connect(&database).await;
    let count = "select count(*) from items";
    for (end, left) in [("rollback", "200"), ("commit", "160")] {
        let client = &mut both.cluster;
        client.query("begin").transcript(1).await;
        let said = lines(client, "explain analyze delete from items where id = 1").await;
        assert!(
            said.iter().any(|line| line.contains("actual time")),
            "{said:?}"
        );
        client.query(end).transcript(1).await;
        let rows = lines(client, count).await;
        assert!(rows[0].contains(left), "{rows:?}");
    }
}

#[tokio::test]
async fn other_formats_are_passed_on_from_one_shard_and_refused_for_several() {
    let database = database("formats").await;
    let mut client = RawClient::connect(&database.url()).await;
    let one = "explain (format json) select * from items where owner = 7";
    let said = lines(&mut client, one).await;
    assert!(said[0].contains("Plan"), "{said:?}");
    let all = "explain (format json) select * from items";
    let notes = client.query(all).transcript(1).await;
    assert!(notes[0].starts_with("error 0A000"), "{notes:?}");
}
