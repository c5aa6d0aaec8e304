//! Changes of the schema while a shard, or the router, is down or dies.

use std::time::Duration;

use shard_node::Stop;
use tests::raw::RawClient;
use tests::{Cluster, connect, eventually};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::run;

/// Validity of the index on each shard; None where it is missing.
async fn validity(cluster: &Cluster, name: &str) -> Vec<Option<bool>> {
    let mut found = Vec::new();
    for shard in 0..cluster.shard_count() {
        let sql =
            "select (select indisvalid from pg_index where indexrelid = to_regclass($1::text))";
        let row = cluster.shard(shard).await.query_one(sql, &[&name]).await;
        found.push(row.expect("the catalog").get(0));
    }
    found
}

/// Kinds and objects of what VERIFY finds.
async fn faults(cluster: &Cluster, statement: &str) -> Vec<(String, String)> {
    let admin = connect(&cluster.url_of("oskol"))
        .await
        .expect("the admin database");
    let found = admin.simple_query(statement).await.expect(statement);
    let faults = found.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let cell = |at| row.get(at).unwrap_or_default().to_owned();
            Some((cell(0), cell(3)))
        }
        _ => None,
    });
    faults.collect()
}

/// An index that is valid on the first two shards and waits on the third for the transaction that is returned.
async fn half_built(cluster: &Cluster, name: &str) -> (Client, tokio::task::JoinHandle<bool>) {
    let blocker = cluster.shard(2).await;
    run(&blocker, "begin; insert into t values (7)").await;
    let builder = cluster.client().await;
    let sql = format!("create index concurrently {name} on t (id)");
    let built = tokio::spawn(async move { builder.batch_execute(&sql).await.is_ok() });
    eventually("the last shard is waited for", async || {
        validity(cluster, name).await == [Some(true), Some(true), Some(false)]
    })
    .await;
    (blocker, built)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrent_index_goes_on_where_it_was_broken_off() {
    let cluster = Cluster::start(3);
    run(&cluster.client().await, "create table t (id int)").await;

    // A shard dies in the middle: the client is told, the others are as before, and what is left is known.
    let (blocker, built) = half_built(&cluster, "i").await;
    cluster.kill_shard(2);
    drop(blocker);
    assert!(
        !built.await.expect("no panic"),
        "half an index is no success"
    );
    assert_eq!(validity(&cluster, "i").await, [None, None, Some(false)]);
    assert!(
        faults(&cluster, "VERIFY")
            .await
            .contains(&("invalid index".into(), "public.i".into()))
    );
    let again = "create index concurrently if not exists i on t (id)";
    run(&cluster.client().await, again).await;
    assert_eq!(validity(&cluster, "i").await, [Some(true); 3]);
    assert_eq!(faults(&cluster, "VERIFY").await, []);

    // The router dies: two shards have the index, the third has half of it.
    let (blocker, built) = half_built(&cluster, "j").await;
    cluster.kill_router();
    let end = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where query ~ '^create index concurrently j'";
    blocker.batch_execute(end).await.expect("ended");
    run(&blocker, "rollback").await;
    assert!(!built.await.expect("no panic"));
    assert_eq!(
        validity(&cluster, "j").await,
        [Some(true), Some(true), Some(false)]
    );
    cluster.start_router();
    let client = cluster.client().await;
    // Not another index under the name of the one that is there.
    let other = client
        .batch_execute("create index concurrently j on t (abs(id))")
        .await;
    let told = other.expect_err("another index");
    assert_eq!(told.code().expect("SQLSTATE").code(), "42P07", "{told:?}");
    run(&client, "create index concurrently j on t (id)").await;
    assert_eq!(validity(&cluster, "j").await, [Some(true); 3]);
    assert_eq!(faults(&cluster, "VERIFY").await, []);
    let exists = client
        .batch_execute("create index concurrently j on t (id)")
        .await;
    let told = exists.expect_err("it is everywhere");
    assert_eq!(told.code().expect("SQLSTATE").code(), "42P07", "{told:?}");

    // Nobody runs it again: VERIFY REPAIR takes the rest away.
    let (blocker, built) = half_built(&cluster, "k").await;
    cluster.kill_shard(2);
    drop(blocker);
    assert!(!built.await.expect("no panic"));
    faults(&cluster, "VERIFY REPAIR").await;
    assert_eq!(validity(&cluster, "k").await, [None; 3]);
    assert_eq!(faults(&cluster, "VERIFY").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_shard_is_down_nothing_changes_anywhere() {
    let cluster = Cluster::start(2);
    let client = cluster.client().await;
    run(&client, "create table t (id int)").await;
    cluster.stop_shard(1, Stop::Immediate);
    let home = cluster.shard(0).await;
    let statements = [
        "create table u (id int)",
        "alter table t add note text",
        "create role clerk",
        "create database other",
        "create index concurrently i on t (id)",
    ];
    for sql in statements {
        let told = client.batch_execute(sql).await.expect_err(sql);
        let state = told.code().expect("SQLSTATE").code();
        assert!(state.starts_with("08"), "{sql}: {told:?}");
    }
    let sql = "select (select count(*) from pg_attribute where attrelid = 't'::regclass and attnum > 0),
        (select count(*) from pg_class where relname in ('u', 'i')) + (select count(*) from pg_roles where rolname = 'clerk')
        + (select count(*) from pg_database where datname = 'other')";
    let row = home.query_one(sql, &[]).await.expect("the catalog");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1, 0));
    cluster.start_shard(1);
    for sql in statements {
        eventually(sql, async || {
            let outcome = client.batch_execute(sql).await;
            if outcome.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome.is_ok()
        })
        .await;
    }
    assert_eq!(faults(&cluster, "VERIFY").await, []);
}

/// Others that build an index of a table are waited for as long as the session's timeouts say, and not once the client has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn builders_of_a_tables_indexes_wait_no_longer_than_timeouts_say() {
    let cluster = Cluster::start(3);
    run(&cluster.client().await, "create table t (id int)").await;
    let (blocker, built) = half_built(&cluster, "i").await;
    let waiting = "create index concurrently j on t (id)";
    for (setting, sqlstate, words) in [
        ("lock_timeout", "55P03", "due to lock timeout"),
        ("statement_timeout", "57014", "due to statement timeout"),
    ] {
        let client = cluster.client().await;
        run(&client, &format!("set {setting} to '700ms'")).await;
        let began = std::time::Instant::now();
        let told = tokio::time::timeout(Duration::from_secs(20), client.batch_execute(waiting));
        let told = told.await.expect(setting).expect_err(setting);
        let told = told.as_db_error().expect("an error of the server's");
        assert_eq!(told.code().code(), sqlstate, "{told:?}");
        assert!(told.message().contains(words), "{told:?}");
        assert!(began.elapsed() >= Duration::from_millis(700));
        let rows = client.query("select 1 + count(*) from t", &[]).await;
        assert_eq!(rows.expect("the session goes on")[0].get::<_, i64>(0), 1);
    }
    let mut client = RawClient::connect(&cluster.url()).await;
    client.query(waiting).send().await;
    assert!(client.is_silent(Duration::from_millis(500)).await);
    drop(client);
    run(&blocker, "rollback").await;
    assert!(built.await.expect("no panic"));
    assert_eq!(validity(&cluster, "i").await, [Some(true); 3]);
    let next = "create index concurrently k on t (id)";
    run(&cluster.client().await, next).await;
    assert_eq!(validity(&cluster, "j").await, [None; 3], "nobody wants it");
}
