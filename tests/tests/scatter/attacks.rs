//! What must not hurt: shards that die, clients that cancel, leave or read slowly.

use std::time::Duration;

use tests::{Cluster, Database, RawClient, eventually};
use tokio::io::AsyncWriteExt as _;
use wire::Format;

use crate::setting::{cluster, cluster_with, database, fill};

const SLOW_ROWS: &str = "select owner, pg_sleep(30) from items";

/// Statements of the router's clients that run on any shard.
async fn running(database: &Database<'_>) -> i64 {
    let mut count = 0;
    for number in 0..database.cluster.shard_count() {
        let sql = "select count(*) from pg_stat_activity where datname = current_database() \
                   and state <> 'idle' and pid <> pg_backend_pid() and query like '%items%'";
        let shard = database.shard(number).await;
        count += shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    }
    count
}

async fn until_all_run(database: &Database<'_>) {
    eventually("all shards run it", async || running(database).await == 4).await;
}

async fn until_none_runs(database: &Database<'_>) {
    eventually("no shard runs it", async || running(database).await == 0).await;
}

async fn cancel(database: &Database<'_>, client: &RawClient) {
    let address = ("127.0.0.1", database.cluster.port());
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut request = bytes::BytesMut::new();
    wire::frontend::write::cancel_request(&mut request, client.process_id, &client.secret);
    stream.write_all(&request).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_scatter_leaves_no_statement_running() {
    let database = database("cancelled").await;
    let mut client = RawClient::connect(&database.url()).await;
    for extended in [false, true] {
        if extended {
            client
                .extended(SLOW_ROWS, &[], Format::Text)
                .sync()
                .send()
                .await;
        } else {
            client.query(SLOW_ROWS).send().await;
        }
        until_all_run(&database).await;
        cancel(&database, &client).await;
        let notes = client.transcript(1).await;
        let errors = notes
            .iter()
            .filter(|note| note.starts_with("error 57014"))
            .count();
        assert_eq!(errors, 1, "{notes:?}");
        assert_eq!(running(&database).await, 0);
        let notes = client
            .query("select count(*) from items")
            .transcript(1)
            .await;
        assert!(notes.contains(&"complete SELECT 1".to_owned()), "{notes:?}");
    }
}

#[tokio::test]
async fn an_error_on_one_shard_ends_the_others_at_once() {
    let database = database("ends_others").await;
    let mut client = RawClient::connect(&database.url()).await;
    let shard = database.shard(2).await;
    let owners = "select string_agg(distinct owner::text, ', ') from items";
    let owners: String = shard.query_one(owners, &[]).await.unwrap().get(0);
    // The rows of one shard fail; the others would sleep.
    let sql = format!(
        "select case when owner in ({owners}) then 1 / (amount - amount) else length(pg_sleep(30)::text) end from items"
    );
    let started = std::time::Instant::now();
    let notes = client.query(&sql).transcript(1).await;
    assert!(started.elapsed() < Duration::from_secs(29), "{notes:?}");
    assert_eq!(notes[notes.len() - 2], "error 22012 division by zero");
    assert_eq!(running(&database).await, 0);
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_statements_along() {
    let database = database("left").await;
    let mut client = RawClient::connect(&database.url()).await;
    client.query(SLOW_ROWS).send().await;
    until_all_run(&database).await;
    drop(client);
    until_none_runs(&database).await;
    let client = database.client().await;
    client
        .batch_execute("select count(*) from items")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_that_leaves_in_a_write_leaves_nothing_behind() {
    let database = database("left_write").await;
    let mut client = RawClient::connect(&database.url()).await;
    client.query("begin").transcript(1).await;
    client
        .query("update items set amount = -1")
        .transcript(1)
        .await;
    client.query(SLOW_ROWS).send().await;
    until_all_run(&database).await;
    drop(client);
    until_none_runs(&database).await;
    let client = database.client().await;
    client
        .batch_execute("update items set amount = 1")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_shard_that_dies_in_the_middle_is_an_error_and_no_more() {
    let cluster = cluster_with(&[], "");
    let database = cluster.database("dies");
    fill(&database.url()).await;
    let mut client = RawClient::connect(&database.url()).await;
    client.query(SLOW_ROWS).send().await;
    until_all_run(&database).await;
    cluster.kill_shard(2);
    let notes = client.transcript(1).await;
    let errors = notes
        .iter()
        .filter(|note| note.starts_with("error"))
        .count();
    assert_eq!(
        (errors, notes.last().unwrap().as_str()),
        (1, "ready I"),
        "{notes:?}"
    );
    until_none_runs(&database).await;
    let mut last = Vec::new();
    eventually("it serves again", async || {
        last = client
            .query("select count(*) from items")
            .transcript(1)
            .await;
        last.iter().any(|note| note.contains("200"))
    })
    .await;
    in_a_transaction(&cluster, &database, &mut client).await;
}

/// The same inside a transaction, which then is failed.
async fn in_a_transaction(cluster: &Cluster, database: &Database<'_>, client: &mut RawClient) {
    client.query("begin").transcript(1).await;
    client
        .query("update items set amount = -1")
        .transcript(1)
        .await;
    client.query(SLOW_ROWS).send().await;
    until_all_run(database).await;
    cluster.kill_shard(1);
    let notes = client.transcript(1).await;
    assert_eq!(notes.last().unwrap(), "ready E", "{notes:?}");
    let notes = client.query("commit").transcript(1).await;
    assert_eq!(notes, ["complete ROLLBACK", "ready I"]);
    eventually("it serves again", async || {
        let sql = "select count(*) from items where amount = -1";
        let notes = client.query(sql).transcript(1).await;
        notes.iter().any(|note| note == "row [Some(\"0\")]")
    })
    .await;
}

/// Resident memory of a process, in KiB.
fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_slow_reader_of_a_huge_result_costs_no_memory() {
    let cluster = cluster_with(&[], "");
    let database = cluster.database("huge");
    fill(&database.url()).await;
    let pid = cluster.router_pid().unwrap();
    let mut client = RawClient::connect(&database.url()).await;
    // 200 rows of 2 MB each.
    for sql in [
        "select owner, repeat('x', 2000000) from items",
        "select owner, repeat('x', 2000000) from items order by owner, id",
    ] {
        client
            .query("select count(*) from items")
            .transcript(1)
            .await;
        let before = memory(pid);
        client.query(sql).send().await;
        let mut most = 0;
        let mut rows = 0;
        loop {
            let (tag, _) = client.message().await;
            rows += usize::from(tag == b'D');
            most = most.max(memory(pid));
            if tag == b'Z' {
                break;
            }
        }
        assert_eq!(rows, 200);
        let grown = most.saturating_sub(before);
        assert!(grown < 64 * 1024, "{sql}: grew by {grown} KiB");
    }
    let _ = cluster;
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_shards_back_and_can_leave() {
    let database = database("stops").await;
    let pid = cluster().router_pid().unwrap();
    let before = memory(pid);
    let mut client = RawClient::connect(&database.url()).await;
    client
        .query("select repeat('x', 1000000) from items, generate_series(1, 20) g")
        .send()
        .await;
    client.message().await;
    eventually("the shards wait for the client", async || {
        let mut waiting = 0;
        for number in 0..4 {
            let sql = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'ClientWrite'";
            let shard = database.shard(number).await;
            waiting += shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
        }
        waiting == 4
    })
    .await;
    assert!(memory(pid) < before + 128 * 1024);
    drop(client);
    until_none_runs(&database).await;
}

#[tokio::test]
async fn cancels_at_any_moment_leave_a_session_that_works() {
    let database = database("any_moment").await;
    let mut client = RawClient::connect(&database.url()).await;
    let mut cancelled = 0;
    for round in 0..80_u64 {
        client.query("select count(*) from items, generate_series(1, 5000) g");
        client
            .query("update items set amount = amount")
            .send()
            .await;
        tokio::time::sleep(Duration::from_millis(round % 20)).await;
        cancel(&database, &client).await;
        let notes = client.transcript(2).await;
        assert_eq!(notes.last().unwrap(), "ready I", "{notes:?}");
        cancelled += notes
            .iter()
            .filter(|note| note.starts_with("error 57014"))
            .count();
        let other = notes
            .iter()
            .find(|note| note.starts_with("error") && !note.contains("57014"));
        assert_eq!(other, None, "{notes:?}");
    }
    assert!(cancelled > 0);
    let notes = client
        .query("select count(*) from items")
        .transcript(1)
        .await;
    assert!(
        notes.contains(&"row [Some(\"200\")]".to_owned()),
        "{notes:?}"
    );
    assert_eq!(prepared(&database).await, 0);
}

/// Prepared transactions left on the shards.
async fn prepared(database: &Database<'_>) -> i64 {
    let mut count = 0;
    for number in 0..database.cluster.shard_count() {
        let sql = "select count(*) from pg_prepared_xacts where database = current_database()";
        let shard = database.shard(number).await;
        count += shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    }
    count
}

#[tokio::test]
async fn a_statement_timeout_is_one_error() {
    let database = database("timeout").await;
    let mut client = RawClient::connect(&database.url()).await;
    client
        .query("set statement_timeout = '300ms'")
        .transcript(1)
        .await;
    let notes = client.query(SLOW_ROWS).transcript(1).await;
    let errors = notes
        .iter()
        .filter(|note| note.starts_with("error 57014"))
        .count();
    assert_eq!(errors, 1, "{notes:?}");
    let notes = client
        .query("select count(*) from items")
        .transcript(1)
        .await;
    assert!(
        notes.contains(&"row [Some(\"200\")]".to_owned()),
        "{notes:?}"
    );
}

#[tokio::test]
async fn many_clients_on_few_server_connections_wait_and_do_not_lock_up() {
    let cluster = cluster_with(&[("OSKOL_POOL__SIZE", "3")], "");
    let database = cluster.database("few");
    fill(&database.url()).await;
    let clients = (1..=24).map(|owner| tokio::spawn(transactions(database.url(), owner)));
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
}

/// Transactions that begin on one shard and go on to all.
async fn transactions(url: String, owner: i64) {
    let client = tests::connect(&url).await.unwrap();
    for _ in 0..8 {
        for sql in [
            "begin",
            &format!("update items set amount = amount + 1 where owner = {owner}"),
            "select count(*), sum(amount) from items",
            "select owner, id from items order by id, owner limit 20",
            "commit",
            "select owner from items",
        ] {
            client.batch_execute(sql).await.unwrap();
        }
    }
}
