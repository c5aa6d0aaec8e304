//! Shards that die in each state of a session: the right class of error, and the session goes on.

use std::time::Duration;

use shard_node::Stop;
use tests::{Cluster, RawClient};
use tokio_postgres::Client;

use crate::scarce::{one_on_each, small, soon, things};

/// The SQLSTATE, or `ok`.
async fn outcome(client: &Client, sql: &str) -> String {
    match soon(sql, client.simple_query(sql)).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.code() {
            Some(code) => code.code().to_owned(),
            None => format!("{error:?}"),
        },
    }
}

fn is_lost(code: &str) -> bool {
    matches!(
        code,
        "08006" | "40003" | "57P01" | "57P02" | "57P03" | "08001"
    )
}

/// Waits until the statement works again.
async fn recovers(client: &Client, sql: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let code = outcome(client, sql).await;
        if code == "ok" {
            return;
        }
        assert!(is_lost(&code), "{sql}: {code}");
        assert!(std::time::Instant::now() < deadline, "{sql}: {code}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kills shard 1 while `client` is in a state that `before` brings it to.
async fn killed_in(cluster: &Cluster, client: &Client, before: &str, after: &str, ids: &[i64]) {
    for how in ["kill", "immediate"] {
        for statement in before.split("; ").filter(|text| !text.is_empty()) {
            assert_eq!(outcome(client, statement).await, "ok", "{statement}");
        }
        match how {
            "kill" => cluster.kill_shard(1),
            _ => {
                cluster.stop_shard(1, Stop::Immediate);
                cluster.start_shard(1);
            }
        }
        if before.is_empty() {
            recovers(client, after).await;
        } else {
            let code = outcome(client, after).await;
            assert!(is_lost(&code), "{how} after {before}: {code}");
            assert_eq!(outcome(client, "select 1").await, "25P02", "{before}");
            assert_eq!(outcome(client, "rollback").await, "ok");
        }
        let all = format!(
            "select name from things where id in ({}, {})",
            ids[0], ids[1]
        );
        recovers(client, &all).await;
    }
}

#[tokio::test]
async fn a_shard_that_dies_fails_the_transaction_only() {
    let cluster = small(2, "");
    let database = cluster.database("losses");
    let client = things(&database).await;
    let ids = one_on_each(&database).await;
    let on = |shard: usize| format!("update things set n = n + 1 where id = {}", ids[shard]);
    killed_in(&cluster, &client, "", &on(1), &ids).await;
    killed_in(
        &cluster,
        &client,
        &format!("begin; {}", on(1)),
        &on(1),
        &ids,
    )
    .await;
    let both = format!("begin; {}; {}", on(0), on(1));
    killed_in(&cluster, &client, &both, &on(1), &ids).await;
    killed_in(&cluster, &client, &both, "savepoint a", &ids).await;
    // COMMIT with a dead writer changes nothing anywhere.
    for statement in both.split("; ") {
        assert_eq!(outcome(&client, statement).await, "ok");
    }
    let count = format!("select n from things where id = {}", ids[0]);
    let before = database
        .shard(0)
        .await
        .query_one(&count, &[])
        .await
        .unwrap();
    cluster.kill_shard(1);
    let code = outcome(&client, "commit").await;
    assert!(is_lost(&code) || code == "08007", "{code}");
    recovers(&client, &on(1)).await;
    let after = database
        .shard(0)
        .await
        .query_one(&count, &[])
        .await
        .unwrap();
    assert_eq!(before.get::<_, i32>(0), after.get::<_, i32>(0));
}

#[tokio::test]
async fn a_shard_that_dies_under_a_statement_ends_it() {
    let cluster = small(2, "");
    let database = cluster.database("under");
    let client = things(&database).await;
    let ids = one_on_each(&database).await;
    for sql in [
        format!("select pg_sleep(60) from things where id = {}", ids[1]),
        "select id, pg_sleep(60) from things".to_owned(),
        "update things set n = n + 1 where pg_sleep(60) is not null".to_owned(),
    ] {
        let (code, ()) = tokio::join!(outcome(&client, &sql), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let direct = database.shard(1).await;
            let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and query like '%pg_sleep%' and pid <> pg_backend_pid()";
            direct.query(kill, &[]).await.unwrap();
        });
        assert_eq!(code, "57P01", "{sql}");
        recovers(&client, "select count(*) from things").await;
    }
}

#[tokio::test]
async fn a_deferred_constraint_fails_the_commit_everywhere() {
    let cluster = small(2, "");
    let database = cluster.database("deferred");
    let client = things(&database).await;
    let ids = one_on_each(&database).await;
    for shard in 0..2 {
        let trigger = "create function no() returns trigger language plpgsql as
                $$ begin if new.n = 99 then raise exception 'not 99' using errcode = '23514'; end if; return null; end $$;
            create constraint trigger no after update on things deferrable initially deferred
                for each row execute function no()";
        database
            .shard(shard)
            .await
            .batch_execute(trigger)
            .await
            .unwrap();
    }
    for (bad, good) in [(0, 1), (1, 0)] {
        for order in [[bad, good], [good, bad]] {
            assert_eq!(outcome(&client, "begin").await, "ok");
            for shard in order {
                let n = if shard == bad { 99 } else { 7 };
                let sql = format!("update things set n = {n} where id = {}", ids[shard]);
                assert_eq!(outcome(&client, &sql).await, "ok");
            }
            assert_eq!(outcome(&client, "commit").await, "23514");
            let sql = format!("select 1 / (n - 7) from things where id = {}", ids[good]);
            assert_eq!(
                outcome(&client, &sql).await,
                "ok",
                "the good half was rolled back"
            );
        }
        let one = format!("update things set n = 99 where id = {}", ids[bad]);
        assert_eq!(outcome(&client, &one).await, "23514");
        // One writer, one reader.
        assert_eq!(outcome(&client, "begin").await, "ok");
        assert_eq!(outcome(&client, &one).await, "ok");
        assert_eq!(outcome(&client, "select count(*) from things").await, "ok");
        assert_eq!(outcome(&client, "commit").await, "23514");
        assert_eq!(outcome(&client, "select 1").await, "ok");
    }
    let all = "update things set n = 99";
    assert_eq!(outcome(&client, all).await, "23514");
    for shard in 0..2 {
        let left = "select (select count(*) from pg_prepared_xacts) + (select count(*) from things where n in (7, 99))";
        let left: i64 = database
            .shard(shard)
            .await
            .query_one(left, &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn malformed_and_huge_messages_hurt_nobody_else() {
    use bytes::BufMut;
    let cluster = small(2, "");
    let database = cluster.database("malformed");
    let other = things(&database).await;
    for (words, fatal) in [
        (&b"Q\0\0\0\x03"[..], true),
        (b"Q\x7f\xff\xff\xff", true),
        (b"Q\xff\xff\xff\xff", true),
        (b"!\0\0\0\x04", true),
        (b"B\0\0\0\x06\0\0", false),
        (b"P\0\0\0\x05x", false),
        (b"E\0\0\0\x06\0\0", false),
        (b"D\0\0\0\x06?\0", false),
        (b"Q\0\0\0\x0aselect", false),
        (b"F\0\0\0\x0e\0\0\0\0\0\0\0\0\0\0", false),
    ] {
        let mut client = RawClient::connect(&database.url()).await;
        client.query("begin");
        client.query("update things set n = n + 1 where id = 3");
        client.heard(Duration::from_millis(100)).await;
        client.out.put_slice(words);
        let heard = client.heard(Duration::from_millis(300)).await;
        let closed = heard
            .last()
            .is_some_and(|last| last == "closed by the peer");
        assert!(closed || !fatal, "{words:?}: {heard:?}");
        drop(client);
        assert_eq!(
            outcome(&other, "update things set n = n + 1 where id = 3").await,
            "ok",
            "{words:?}"
        );
    }
}
