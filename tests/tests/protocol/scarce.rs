//! Pools that are too small, clients that die, cancel requests: nobody waits for ever, and nothing is
//! left behind.

use std::time::{Duration, Instant};

use tests::{Cluster, ClusterOptions, Database, RawClient, eventually};
use tokio_postgres::{Client, NoTls};

use crate::RULES;

const LIMIT: Duration = Duration::from_secs(20);

/// Fails the test where it would hang.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("hangs: {what}"),
    }
}

/// Two shards and two workers, with as many server connections a shard.
pub fn small(size: usize, pool: &str) -> Cluster {
    Cluster::start_with(ClusterOptions {
        shards: Some(2),
        config: format!("[pool]\nsize = {size}\n{pool}\n{RULES}"),
        ..ClusterOptions::default()
    })
}

pub async fn things(database: &Database<'_>) -> Client {
    let client = soon("connect", database.client()).await;
    let tables = "create table things (id bigint primary key, name text, n int check (n > 0));
         create table lonely (id int primary key, name text)";
    soon("create table", client.batch_execute(tables))
        .await
        .unwrap();
    for id in 1..=12 {
        let insert = format!("insert into things values ({id}, 'x', 1)");
        soon("insert", client.batch_execute(&insert)).await.unwrap();
    }
    client
}

fn code(error: &tokio_postgres::Error) -> String {
    error
        .code()
        .map(|code| code.code().to_owned())
        .unwrap_or_default()
}

/// An id of a row on each shard.
pub async fn one_on_each(database: &Database<'_>) -> Vec<i64> {
    let mut ids = Vec::new();
    for shard in 0..database.cluster.shard_count() {
        let row = database
            .shard(shard)
            .await
            .query_one("select min(id) from things", &[])
            .await;
        ids.push(row.unwrap().get(0));
    }
    ids
}

#[tokio::test]
async fn one_connection_a_shard_serves_clients_of_both_workers() {
    let cluster = small(1, "");
    let database = cluster.database("narrow");
    let first = things(&database).await;
    let mut clients = vec![first];
    for _ in 0..5 {
        clients.push(soon("connect", database.client()).await);
    }
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        for client in &clients {
            let started = Instant::now();
            for id in 1..=4i64 {
                let parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[&id];
                let asked = client.query_one("select name from things where id = $1", parameters);
                soon("select", asked).await.unwrap();
            }
            soon(
                "count",
                client.query_one("select count(*) from things", &[]),
            )
            .await
            .unwrap();
            if round > 0 {
                slowest = slowest.max(started.elapsed());
            }
        }
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

#[tokio::test]
async fn transactions_over_shards_do_not_starve_one_another() {
    let cluster = small(1, "");
    let database = cluster.database("starve");
    things(&database).await;
    let ids = one_on_each(&database).await;
    let work = |number: usize| {
        let (database, ids) = (&database, &ids);
        async move {
            let client = database.client().await;
            for round in 0..5 {
                let (a, b) = if usize::is_multiple_of(number + round, 2) {
                    (0, 1)
                } else {
                    (1, 0)
                };
                client.batch_execute("begin").await.unwrap();
                for id in [ids[a], ids[b]] {
                    client
                        .query("select name from things where id = $1", &[&id])
                        .await
                        .unwrap();
                }
                client.batch_execute("commit").await.unwrap();
            }
        }
    };
    let all = futures_util::future::join_all((0..8).map(work));
    soon("transactions", all).await;
}

#[tokio::test]
async fn a_full_pool_says_so() {
    let cluster = small(1, "queue = 1\ncheckout_timeout = \"500ms\"");
    let database = cluster.database("full");
    let holder = things(&database).await;
    let id = one_on_each(&database).await[0];
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(soon("connect", database.client()).await);
    }
    holder.batch_execute("begin").await.unwrap();
    let hold = format!("select 1 from things where id = {id}");
    soon("hold", holder.simple_query(&hold)).await.unwrap();
    let asked = clients.iter().map(|client| async {
        let sql = format!("select name from things where id = {id}");
        code(
            &soon("refusal", client.simple_query(&sql))
                .await
                .expect_err("no connection is free"),
        )
    });
    let refused = futures_util::future::join_all(asked).await;
    assert_eq!(refused, ["53300"; 4]);
    holder.batch_execute("commit").await.unwrap();
    for client in &clients {
        let sql = format!("select name from things where id = {id}");
        soon("again", client.simple_query(&sql)).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_dies_leaves_no_lock() {
    let cluster = small(2, "");
    let database = cluster.database("dies");
    let witness = things(&database).await;
    let id = one_on_each(&database).await[1];
    let update = format!("update things set n = n + 1 where id = {id}");
    for (state, words) in [
        ("in a transaction", format!("begin; {update}")),
        (
            "in mid query",
            format!("begin; {update}; select pg_sleep(60)"),
        ),
        (
            "in mid copy",
            format!("begin; {update}; copy lonely from stdin"),
        ),
        (
            "in mid divided copy",
            format!("begin; {update}; copy things from stdin"),
        ),
        ("with a lock", "select pg_advisory_lock(1)".to_owned()),
        ("in an alien lock", "select pg_advisory_lock(2)".to_owned()),
    ] {
        let mut client = RawClient::connect(&database.url()).await;
        if state == "in an alien lock" {
            witness
                .batch_execute("select pg_advisory_lock(2)")
                .await
                .unwrap();
        }
        for statement in words.split("; ") {
            client.query(statement);
            client.heard(Duration::from_millis(200)).await;
        }
        drop(client);
        if state == "with a lock" {
            soon(state, witness.batch_execute("select pg_advisory_lock(1)"))
                .await
                .unwrap();
            soon(state, witness.batch_execute("select pg_advisory_unlock(1)"))
                .await
                .unwrap();
            continue;
        }
        let started = Instant::now();
        soon(state, witness.batch_execute(&update)).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(2), "{state}");
    }
    witness
        .batch_execute("select pg_advisory_unlock(2)")
        .await
        .unwrap();
    drop(witness);
    for shard in 0..2 {
        let direct = database.shard(shard).await;
        let left = "select count(*) from pg_stat_activity where datname = current_database()
            and pid <> pg_backend_pid() and state <> 'idle'";
        eventually("nothing runs for nobody", async || {
            direct.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
        // Shared ones are the routers' signs of life.
        let locks =
            "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock'";
        eventually("no advisory lock", async || {
            direct.query_one(locks, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    }
}

#[tokio::test]
async fn a_cancel_ends_what_runs_and_nothing_else() {
    let cluster = small(1, "");
    let database = cluster.database("cancels");
    let client = things(&database).await;
    let token = client.cancel_token();
    for sql in [
        "select pg_sleep(60)",
        "select pg_sleep(60) from things where id = 1",
        "select count(*) from things where pg_sleep(10) is not null",
        "update things set n = n + 1 where pg_sleep(10) is not null",
    ] {
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (ended, ()) = tokio::join!(soon(sql, client.simple_query(sql)), cancel);
        assert_eq!(code(&ended.expect_err(sql)), "57014", "{sql}");
    }
    // Late ones may hit this client's next statement, as in PostgreSQL, and nobody else's.
    let other = database.client().await;
    for _ in 0..50 {
        let own = soon(
            "own",
            client.simple_query("select 1 from things where id = 1"),
        )
        .await;
        assert!(own.is_ok() || code(&own.unwrap_err()) == "57014");
        let late = token.cancel_query(NoTls);
        let query = other.simple_query("select pg_sleep(0.01) from things where id = 1");
        let (late, query) = tokio::join!(late, soon("other", query));
        late.unwrap();
        query.unwrap();
    }
}

#[tokio::test]
async fn a_cancel_ends_the_wait_for_the_pool() {
    let cluster = small(1, "checkout_timeout = \"15s\"");
    let database = cluster.database("waits");
    let holder = things(&database).await;
    let id = one_on_each(&database).await[0];
    let waiter = database.client().await;
    holder.batch_execute("begin").await.unwrap();
    let hold = format!("select 1 from things where id = {id}");
    soon("hold", holder.simple_query(&hold)).await.unwrap();
    let token = waiter.cancel_token();
    let sql = format!("select name from things where id = {id}");
    let started = Instant::now();
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (ended, ()) = tokio::join!(soon("wait", waiter.simple_query(&sql)), cancel);
    assert_eq!(code(&ended.expect_err("cancelled")), "57014");
    assert!(started.elapsed() < Duration::from_secs(5));
    holder.batch_execute("commit").await.unwrap();
    soon("after", waiter.simple_query(&sql)).await.unwrap();
}

#[tokio::test]
async fn nobody_hears_the_answer_to_a_dead_clients_statement() {
    let cluster = small(1, "");
    let database = cluster.database("alien");
    let client = things(&database).await;
    let ids = one_on_each(&database).await;
    let one = format!(
        "select 'alien', pg_sleep(0.5) from things where id = {}",
        ids[0]
    );
    let all = "select id, 'alien', pg_sleep(0.1) from things order by id";
    for words in [one.as_str(), all] {
        for extended in [false, true] {
            let mut dead = RawClient::connect(&database.url()).await;
            if extended {
                dead.extended(words, &[], wire::Format::Text).sync();
            } else {
                dead.query(words);
            }
            dead.send().await;
            assert!(dead.is_silent(Duration::from_millis(150)).await);
            drop(dead);
            for id in &ids {
                let sql = format!("select 'own' from things where id = {id}");
                let rows = soon("own", client.simple_query(&sql)).await.unwrap();
                let answer = rows.iter().find_map(|message| match message {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                });
                assert_eq!(answer, Some("own"), "after {words}");
            }
        }
    }
}
