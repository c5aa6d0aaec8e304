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

/// Workers whose transactions are open, and what each has taken in its turn.
async fn queue(database: &Database<'_>, sql: &str, count: usize) -> (Vec<Client>, Vec<String>) {
    let (mut workers, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let worker = database.client().await;
        run(&worker, "begin").await;
        taken.extend(values(&worker, sql).await);
        workers.push(worker);
    }
    (workers, taken)
}

#[tokio::test]
async fn workers_that_skip_locked_rows_share_a_queue_between_them() {
    let database = database("queue").await;
    let sql = "select owner * 10 + id from items order by owner, id limit 1 for update skip locked";
    let (workers, taken) = queue(&database, sql, 8).await;
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

/// Statements whose rows no shard finds by itself, or in an order that the router does not know.
const FOUND_FIRST: [&str; 14] = [
    "select owner, id, word from items order by lower(word), owner, id limit 5 offset 2 for update",
    "select * from items order by amount % 5, owner, id for no key update",
    "select i.*, r.* from items i join rates r on r.id = i.amount order by i.word, i.owner, i.id, r.amount for update of i nowait",
    "select a.owner, a.id, b.owner, b.id from items a join items b on b.amount = a.owner and b.id = a.id order by 1, 2, 3, 4 for share",
    "select owner, id from items where amount in (select owner from items where id = 3) order by word desc, id, owner for key share",
    "select owner, id from items where amount > (select avg(amount) from items) order by lower(word), owner, id limit 3 for update skip locked",
    "select n.word, i.id, i.owner from notes n join items i on i.amount = n.id order by n.word, i.owner, i.id for update",
    "select i.owner, i.id, x.n from items i left join (select owner, count(*) n from items group by owner) x on x.owner = i.amount order by i.word, i.owner, i.id for update of i",
    "with w as (select owner as o from items where id = 1) select owner, id from items, w where w.o = items.amount order by word, owner, id for update",
    "select word from items where owner in (3, 8, 9) order by word, id limit 4 for share",
    "select i.owner as amount, i.id from items i order by word || id, i.owner limit 6 for update",
    "select owner from items order by word, id, owner fetch first 3 rows only for update",
    "select owner from items where word < 'a' order by word for update",
    "select owner / (amount - amount) from items order by word, id for update",
];

#[tokio::test]
async fn rows_that_have_to_be_found_first_are_those_of_one_postgresql() {
    let database = database("found").await;
    let mut both = Both::connect(&database).await;
    for sql in FOUND_FIRST {
        both.query(sql).await;
        both.query("begin").await;
        both.query(sql).await;
        both.query("rollback").await;
        both.agree(sql, 1, |client| {
            client.extended(sql, &[], wire::Format::Binary).sync();
        })
        .await;
    }
    both.agree("bound", 1, |client| {
        let sql = "select owner, id from items where amount = $3::int order by word, id, owner limit $1 offset $2 for update";
        let values = ["3", "2", "4"];
        client.extended(sql, &values, wire::Format::Text).sync();
    })
    .await;
    both.query("begin isolation level repeatable read").await;
    both.query(FOUND_FIRST[0]).await;
    both.query("commit").await;
}

#[tokio::test]
async fn only_the_rows_of_the_result_are_locked_after_they_were_found() {
    let database = database("found_locked").await;
    let client = database.client().await;
    for (sql, count) in [
        (
            "select id from items order by lower(word), id limit 3 for update",
            3,
        ),
        (
            "select id from items order by lower(word), id limit 3 offset 4 for update",
            7,
        ),
        (
            "select i.id from items i join rates r on r.id = i.amount where i.owner < 9 order by i.word, i.id for update of i",
            7,
        ),
        (
            "select i.id from items i join rates r on r.id = i.amount order by i.word, i.id for update of r",
            0,
        ),
    ] {
        run(&client, "begin").await;
        let given = values(&client, sql).await.len();
        assert!(given > 0, "{sql}");
        let held = locked(&database).await;
        match sql.contains("rates") && count > 0 {
            true => assert_eq!(held, given, "{sql}"),
            false => assert_eq!(held, count, "{sql}"),
        }
        run(&client, "rollback").await;
        assert_eq!(locked(&database).await, 0);
    }
}

#[tokio::test]
async fn workers_share_a_queue_whose_order_is_not_the_router_s() {
    let database = database("found_queue").await;
    let sql = "select owner * 10 + id from items where owner < 10 order by lower(word), id limit 1 for update skip locked";
    let (workers, taken) = queue(&database, sql, 7).await;
    assert_eq!(taken, ["11", "12", "13", "14", "15", "21", "22"]);
    let error = workers[0]
        .simple_query("select id from items order by lower(word), id for share nowait")
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "55P03");
    for worker in &workers {
        run(worker, "rollback").await;
    }
    assert_eq!(locked(&database).await, 0);
}

#[tokio::test]
async fn a_row_that_was_changed_meanwhile_is_looked_at_again() {
    let database = database("found_changed").await;
    let one = database.client().await;
    let other = database.client().await;
    run(&one, "begin").await;
    run(
        &one,
        "update items set word = 'zzz' where owner = 1 and id = 1",
    )
    .await;
    run(
        &one,
        "update items set amount = 1000 where owner = 1 and id = 2",
    )
    .await;
    run(&one, "delete from items where owner = 1 and id = 3").await;
    let sql = "select owner * 10 + id + amount from items where word < 'w2' order by lower(word), id, owner limit 3 for update";
    let waiting = async {
        run(&other, "begin").await;
        values(&other, sql).await
    };
    let committing = async {
        let blocked = "select count(*)::int from pg_stat_activity where wait_event_type = 'Lock'";
        let shards: Vec<Client> = {
            let mut shards = Vec::new();
            for number in 0..database.cluster.shard_count() {
                shards.push(database.shard(number).await);
            }
            shards
        };
        eventually("somebody waits for a row", async || {
            for shard in &shards {
                if values(shard, blocked).await != ["0"] {
                    return true;
                }
            }
            false
        })
        .await;
        run(&one, "commit").await;
    };
    let (found, ()) = tokio::join!(waiting, committing);
    // 12 has another amount, 11 another word, 13 is gone.
    assert_eq!(found, ["1012", "18", "20"]);
    run(&other, "commit").await;
}
