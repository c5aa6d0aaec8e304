//! Inputs that are too many for arrays.

use tests::{Both, Cluster, Database};
use wire::Format;

use crate::setting::{cluster_with, database, fill, grow};

const JOIN: &str = "select count(*), sum(p.score), count(distinct p.word), min(l.fan) from posts p join likes l on l.author % 40 = p.id % 40";

#[tokio::test]
async fn thirty_thousand_rows_go_through_a_table() {
    let database = database("thirty").await;
    for url in [database.url(), database.oracle_url()] {
        grow(&url, 30_000).await;
    }
    let mut both = Both::connect(&database).await;
    let rows = "select p.author, p.id, p.score, l.fan from posts p join likes l on l.author = p.id order by 1, 2, 4";
    for sql in [JOIN, rows] {
        both.query(sql).await;
        both.agree(sql, 1, |client| {
            client.extended(sql, &[], Format::Binary).sync();
        })
        .await;
    }
    for sql in [
        "begin",
        "update posts set score = 1000 where author = 150",
        "update countries set name = 'Yemen' where id = 1",
        "update settings set word = 'x1' where id = 1",
        "select max(c.name), sum(p.score), max(s.word) from posts p join likes l on l.author = p.id join countries c on c.id = p.country left join settings s on s.id = p.id",
        "select 1 / (max(p.id) - max(p.id)) from posts p join likes l on l.author = p.id",
        "rollback",
        "begin read only",
        JOIN,
        "commit",
        "set default_transaction_read_only to on",
        JOIN,
        "reset default_transaction_read_only",
        JOIN,
    ] {
        both.query(sql).await;
    }
    let notes = both.cluster.query("commit").transcript(1).await;
    assert!(
        notes
            .iter()
            .any(|note| note.contains("25P01") || note.contains("COMMIT"))
    );
}

#[tokio::test]
async fn a_two_phase_commit_follows_a_large_gather() {
    let database = database("two_phase").await;
    grow(&database.url(), 30_000).await;
    let client = database.client().await;
    client.batch_execute("begin").await.unwrap();
    client
        .batch_execute("update posts set score = 7")
        .await
        .unwrap();
    client.batch_execute(JOIN).await.unwrap();
    client.batch_execute("commit").await.unwrap();
    let row = client
        .query_one("select count(*) from posts where score <> 7", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn limits_gather_ends_the_statement() {
    let cluster = cluster_with(&[("OSKOL_LIMITS__GATHER", "1MiB")], "");
    let database = cluster.database("limited");
    fill(&database.url()).await;
    grow(&database.url(), 60_000).await;
    let client = database.client().await;
    let error = client.batch_execute(JOIN).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "53400");
    assert!(
        error.detail().unwrap().contains("limits.gather"),
        "{error:?}"
    );
    client
        .batch_execute("select count(*) from posts where author = 1")
        .await
        .unwrap();
    assert_no_transaction_is_left(&cluster, &database).await;
}

#[tokio::test]
async fn a_million_rows_pass_through_in_bounded_memory() {
    let cluster = cluster_with(&[], "");
    let database = cluster.database("million");
    fill(&database.url()).await;
    grow(&database.url(), 1_000_000).await;
    let client = database.client().await;
    let before = peak(&cluster);
    let row = client.query_one(JOIN, &[]).await.unwrap();
    assert!(row.get::<_, i64>(0) > 1_000_000);
    let grown = peak(&cluster).saturating_sub(before);
    assert!(grown < 48 << 10, "{grown} KiB");
    assert_no_transaction_is_left(&cluster, &database).await;
}

/// The router's highest memory so far, in KiB.
fn peak(cluster: &Cluster) -> u64 {
    let status = format!("/proc/{}/status", cluster.router_pid().unwrap());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn assert_no_transaction_is_left(cluster: &Cluster, database: &Database<'_>) {
    for number in 0..cluster.shard_count() {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() and state <> 'idle' \
                   and pid <> pg_backend_pid() and usename = 'postgres' and backend_type = 'client backend'";
        let shard = database.shard(number).await;
        let left: i64 = shard.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "shard {number}");
    }
}
