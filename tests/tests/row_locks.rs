//! SELECT ... FOR UPDATE and its like over several shards.

#[path = "scatter/setting.rs"]
#[allow(dead_code, reason = "shared with the tests of scatter")]
mod setting;

use setting::{Both, database};
use tests::{Database, eventually};
use tokio_postgres::{Client, SimpleQueryMessage};

async fn values(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap();
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
        _ => None,
    });
    rows.collect()
}

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// How many rows somebody else could not lock now.
async fn locked(database: &Database<'_>) -> usize {
    let client = database.client().await;
    let sql = "select id from items for no key update skip locked";
    200 - values(&client, sql).await.len()
}

#[tokio::test]
async fn rows_and_errors_are_those_of_one_postgresql() {
    let database = database("answers").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "select owner, id, word from items order by owner, id for update",
        "select owner, id from items order by id desc, owner limit 7 offset 3 for no key update",
        "select owner, id from items where owner in (3, 8, 9) order by owner, id for share limit 4",
        "select i.owner, i.id, r.amount from items i join rates r on r.id = i.id
         order by i.owner, i.id limit 5 for key share of i nowait",
        "select owner, amount from items order by owner, id fetch first 3 rows only for update skip locked",
        "select owner, id from items order by owner, id limit 0 for update",
    ] {
        both.query(sql).await;
        both.query("begin").await;
        both.query(sql).await;
        both.query("rollback").await;
        both.agree(sql, 1, |client| {
            client.extended(sql, &[], wire::Format::Binary).sync();
        })
        .await;
    }
    for refused in [
        "select count(*) from items for update",
        "select distinct owner from items for update",
        "select owner from items order by owner, id for update of nothing",
    ] {
        both.query(refused).await;
    }
    both.query_unordered("select owner, id from items for update")
        .await;
    both.agree("a limit by parameter", 1, |client| {
        let sql = "select owner, id from items order by owner, id limit $1 offset $2 for update";
        client.extended(sql, &["3", "2"], wire::Format::Text).sync();
    })
    .await;
}

#[tokio::test]
async fn rows_stay_locked_until_the_transaction_ends() {
    let database = database("held").await;
    let one = database.client().await;
    let other = database.client().await;
    run(&one, "begin").await;
    let sql = "select id from items where owner < 20 for update";
    let count = values(&one, sql).await.len();
    assert_eq!(locked(&database).await, count);
    let error = other
        .simple_query("select * from items for share nowait")
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "55P03");
    run(&one, "commit").await;
    assert_eq!(locked(&database).await, 0);
    let prepared = "select count(*)::int from pg_prepared_xacts";
    assert_eq!(values(&other, prepared).await, ["0"]);
}

#[tokio::test]
async fn a_limit_locks_no_more_rows_than_it_gives() {
    let database = database("limited").await;
    let client = database.client().await;
    for (sql, count) in [
        ("select id from items limit 1 for update skip locked", 1),
        ("select id from items limit 70 for update", 70),
        (
            "select id from items order by owner, id limit 1 for update skip locked",
            1,
        ),
    ] {
        run(&client, "begin").await;
        assert_eq!(values(&client, sql).await.len(), count, "{sql}");
        assert_eq!(locked(&database).await, count, "{sql}");
        run(&client, "rollback").await;
    }
}

#[tokio::test]
async fn workers_that_skip_locked_rows_share_a_queue_between_them() {
    let database = database("queue").await;
    let sql = "select owner * 10 + id from items order by owner, id limit 1 for update skip locked";
    let mut workers = Vec::new();
    let mut taken = Vec::new();
    for _ in 0..8 {
        let worker = database.client().await;
        run(&worker, "begin").await;
        taken.extend(values(&worker, sql).await);
        workers.push(worker);
    }
    assert_eq!(taken, ["11", "12", "13", "14", "15", "21", "22", "23"]);
    for worker in &workers {
        run(worker, "commit").await;
    }
}

#[tokio::test]
async fn two_that_lock_the_same_rows_wait_and_never_deadlock() {
    let database = database("crosswise").await;
    let sql = "select id from items where amount >= 0 for update";
    let clients = [
        database.client().await,
        database.client().await,
        database.client().await,
    ];
    let lock = async |client: &Client| {
        for _ in 0..10 {
            run(client, "begin").await;
            assert_eq!(values(client, sql).await.len(), 200);
            run(client, "commit").await;
        }
    };
    tokio::join!(lock(&clients[0]), lock(&clients[1]), lock(&clients[2]));
}

#[tokio::test]
async fn what_was_locked_is_written_and_committed_on_all_shards() {
    let database = database("written").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "begin",
        "select owner, id from items where id = 2 order by owner for update",
        "update items set amount = -1 where owner = 4 and id = 2",
        "commit",
        "select owner, id, amount from items where amount < 0",
        "begin",
        "savepoint s",
        "select owner from items order by owner, id limit 2 for update",
        "rollback to s",
        "update items set amount = -2 where owner in (5, 6) and id = 1",
        "commit",
        "select owner, id, amount from items where amount < 0 order by owner",
        "begin; select owner from items order by owner, id limit 1 for update; commit",
    ] {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn a_failed_lock_fails_the_transaction_and_lets_all_rows_go() {
    let database = database("failed").await;
    let one = database.client().await;
    run(&one, "begin").await;
    run(
        &one,
        "update items set amount = 0 where owner = 40 and id = 5",
    )
    .await;
    let other = database.client().await;
    run(&other, "begin").await;
    let error = other
        .simple_query("select id from items for update nowait")
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "55P03");
    run(&other, "rollback").await;
    eventually("only one row is locked", async || {
        locked(&database).await == 1
    })
    .await;
    let error = other
        .simple_query("select id from items order by owner for update nowait")
        .await;
    assert_eq!(error.unwrap_err().code().unwrap().code(), "55P03");
    eventually("only one row is locked", async || {
        locked(&database).await == 1
    })
    .await;
}
