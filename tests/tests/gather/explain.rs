//! EXPLAIN shows what is pulled and where it is finished, above PostgreSQL's own plans.

use tests::RawClient;
use wire::Format;

use crate::setting::database;

const JOIN: &str = "select p.word, count(*) from posts p join likes l on l.post = p.id join countries c on c.id = p.country \
                    where p.score > 1 group by p.word order by 1";

async fn lines(client: &mut RawClient, sql: &str) -> Vec<String> {
    let notes = client.query(sql).transcript(1).await;
    assert!(notes.contains(&"complete EXPLAIN".to_owned()), "{notes:?}");
    let rows = notes.into_iter().filter(|note| note.starts_with("row"));
    rows.collect()
}

fn has(lines: &[String], wanted: &str) {
    assert!(
        lines.iter().any(|line| line.contains(wanted)),
        "{wanted} in {lines:#?}"
    );
}

#[tokio::test]
async fn explain_tells_of_each_pull_and_of_the_finish() {
    let database = database("explain").await;
    let mut client = RawClient::connect(&database.url()).await;
    let said = lines(&mut client, &format!("explain (costs off) {JOIN}")).await;
    has(&said, "Oskol: gather, finished on shard");
    has(&said, "  Why: ");
    has(
        &said,
        "  Single shard with: p.author = ... AND l.fan = ... (one value)",
    );
    has(&said, "  Pull posts AS p: shards 0, 1, 2, 3");
    has(&said, "Scan");
    has(&said, "  Finish: shard");
    let said = lines(&mut client, &format!("explain (analyze, costs off) {JOIN}")).await;
    has(&said, " rows, ");
    has(&said, " ms");
    has(&said, "actual time");
    client.query("begin").transcript(1).await;
    let said = lines(&mut client, &format!("explain analyze {JOIN}")).await;
    has(&said, "Oskol: gather");
    client.query("commit").transcript(1).await;
    let sql =
        "explain select p.word from posts p join likes l on l.author = p.author where p.id = $1";
    let notes = client
        .extended(sql, &["3"], Format::Text)
        .sync()
        .transcript(1)
        .await;
    assert!(notes.contains(&"complete EXPLAIN".to_owned()), "{notes:?}");
}

#[tokio::test]
async fn a_scatter_tells_what_would_make_it_one_shards() {
    let database = database("explain_scatter").await;
    let mut client = RawClient::connect(&database.url()).await;
    let said = lines(&mut client, "explain select count(*) from posts").await;
    has(&said, "  Single shard with: posts.author = ...");
    let said = lines(
        &mut client,
        "explain select count(*) from posts where author = 3",
    )
    .await;
    assert!(
        !said.iter().any(|line| line.contains("Single shard with")),
        "{said:?}"
    );
}
