//! Deadlocks between sessions that no shard sees whole: one side is told 40P01 within two seconds, the other goes on.

use std::time::{Duration, Instant};

use tests::{Cluster, Database, connect, eventually};
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

/// The issue's own bound.
const WITHIN: Duration = Duration::from_secs(2);

async fn database(name: &str) -> Database<'static> {
    let database = Cluster::shared().database(name);
    let client = database.client().await;
    client
        .batch_execute(
            "create table accounts (id bigint primary key, amount bigint not null, email text unique);
            select oskol.shard_table('accounts', 'id');
            insert into accounts select i, 100, 'mail' || i from generate_series(1, 200) i",
        )
        .await
        .unwrap();
    database
}

/// One key on each of `count` shards.
async fn keys(database: &Database<'_>, count: usize) -> Vec<i64> {
    let mut keys = Vec::new();
    for shard in 0..count {
        let shard = database.shard(shard).await;
        let row = shard.query_one("select min(id) from accounts", &[]).await;
        keys.push(row.unwrap().get(0));
    }
    keys
}

/// A session with a transaction that has changed one row.
async fn holding(url: &str, key: i64) -> Client {
    let client = connect(url).await.unwrap();
    let hold = format!("begin; update accounts set amount = amount - 1 where id = {key}");
    client.batch_execute(&hold).await.unwrap();
    client
}

fn change(key: i64) -> String {
    format!("update accounts set amount = amount + 1 where id = {key}")
}

struct Side {
    client: Client,
    outcome: Result<(), DbError>,
    took: Duration,
}

/// Every session changes its row at once, and ends its transaction when it has an answer.
async fn at_once(sessions: Vec<(Client, String)>) -> Vec<Side> {
    let tasks = sessions.into_iter().map(|(client, sql)| {
        tokio::spawn(async move {
            let began = Instant::now();
            let outcome = client.batch_execute(&sql).await;
            let took = began.elapsed();
            let outcome = outcome.map_err(|error| error.as_db_error().unwrap().clone());
            let end = if outcome.is_ok() {
                "commit"
            } else {
                "rollback"
            };
            client.batch_execute(end).await.unwrap();
            Side {
                client,
                outcome,
                took,
            }
        })
    });
    let mut sides = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        sides.push(task.await.unwrap());
    }
    sides
}

/// The only one that was told of a deadlock.
fn victim(sides: &[Side]) -> (usize, &DbError) {
    let mut failed = sides.iter().enumerate().filter_map(|(at, side)| {
        let error = side.outcome.as_ref().err()?;
        Some((at, error))
    });
    let (at, error) = failed.next().expect("somebody is told");
    assert_eq!(
        failed.next().map(|(_, error)| error),
        None,
        "only one is told"
    );
    assert_eq!(*error.code(), SqlState::T_R_DEADLOCK_DETECTED, "{error:?}");
    assert!(sides[at].took < WITHIN, "after {:?}", sides[at].took);
    (at, error)
}

/// What is deferred is looked at by COMMIT, which waits then; and rolls back before it tells.
#[tokio::test]
async fn a_deadlock_at_commit_is_told_as_one() {
    let database = database("at_commit").await;
    let client = database.client().await;
    for sql in [
        "create table notes (owner bigint, account bigint references accounts deferrable initially deferred)",
        "select oskol.shard_table('notes', 'owner')",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let keys = keys(&database, 2).await;
    let mut sessions = Vec::new();
    for (own, other) in [(keys[0], keys[1]), (keys[1], keys[0])] {
        let client = database.client().await;
        let begin = format!(
            "begin; select from accounts where id = {own} for update; insert into notes values ({own}, {other})"
        );
        client.batch_execute(&begin).await.unwrap();
        sessions.push((client, "commit".to_owned()));
    }
    let sides = at_once(sessions).await;
    let (_, error) = victim(&sides);
    assert_eq!(error.message(), "deadlock detected");
    let row = client.query_one("select count(*) from notes", &[]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn the_younger_of_two_is_told_and_the_older_goes_on() {
    let database = database("two").await;
    let keys = keys(&database, 2).await;
    let older = holding(&database.url(), keys[0]).await;
    let younger = holding(&database.url(), keys[1]).await;
    let sides = at_once(vec![(older, change(keys[1])), (younger, change(keys[0]))]).await;
    let (at, error) = victim(&sides);
    assert_eq!(at, 1);
    assert_eq!(error.message(), "deadlock detected");
    let detail = error.detail().unwrap();
    for key in &keys {
        assert!(detail.contains(&change(*key)), "{detail}");
    }
    assert!(
        detail.contains("waits for ShareLock on transaction"),
        "{detail}"
    );
    assert!(
        detail.contains("of shard 0") && detail.contains("of shard 1"),
        "{detail}"
    );
    let sum = "select sum(amount)::bigint from accounts";
    let row = sides[1].client.query_one(sum, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 20_000);
}

#[tokio::test]
async fn the_locks_of_the_one_told_are_free_before_it_rolls_back() {
    let database = database("locks").await;
    let keys = keys(&database, 2).await;
    let older = holding(&database.url(), keys[0]).await;
    let younger = holding(&database.url(), keys[1]).await;
    let wanted = change(keys[1]);
    let waits = tokio::spawn(async move {
        older.batch_execute(&wanted).await.unwrap();
        older.batch_execute("commit").await.unwrap();
    });
    let told = younger.batch_execute(&change(keys[0])).await.unwrap_err();
    assert_eq!(told.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED));
    waits.await.unwrap();
    let failed = younger.batch_execute("select 1").await.unwrap_err();
    assert_eq!(failed.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
    younger.batch_execute("rollback").await.unwrap();
}

#[tokio::test]
async fn a_savepoint_of_before_can_be_gone_back_to() {
    let database = database("savepoint").await;
    let keys = keys(&database, 3).await;
    let older = holding(&database.url(), keys[0]).await;
    let younger = holding(&database.url(), keys[2]).await;
    younger.batch_execute("savepoint before").await.unwrap();
    younger.batch_execute(&change(keys[1])).await.unwrap();
    let wanted = change(keys[1]);
    let waits = tokio::spawn(async move {
        older.batch_execute(&wanted).await.unwrap();
        older.batch_execute("commit").await.unwrap();
    });
    let told = younger.batch_execute(&change(keys[0])).await.unwrap_err();
    assert_eq!(told.code(), Some(&SqlState::T_R_DEADLOCK_DETECTED));
    waits.await.unwrap();
    younger.batch_execute("rollback to before").await.unwrap();
    younger.batch_execute(&change(keys[0])).await.unwrap();
    younger.batch_execute("commit").await.unwrap();
    let sql = "select amount from accounts where id = $1";
    let amount = younger.query_one(sql, &[&keys[0]]).await.unwrap();
    assert_eq!(amount.get::<_, i64>(0), 100);
}

#[tokio::test]
async fn a_circle_of_three_is_broken_once() {
    let database = database("three").await;
    let keys = keys(&database, 3).await;
    let mut sessions = Vec::new();
    for at in 0..3 {
        let session = holding(&database.url(), keys[at]).await;
        sessions.push((session, change(keys[(at + 1) % 3])));
    }
    let sides = at_once(sessions).await;
    assert_eq!(victim(&sides).0, 2);
}

#[tokio::test]
async fn a_circle_through_two_routers_is_broken_once() {
    let database = database("routers").await;
    let other = Cluster::shared().another_router();
    let keys = keys(&database, 2).await;
    let older = holding(&database.url(), keys[0]).await;
    let younger = holding(&other.url_of(&database.name), keys[1]).await;
    let sides = at_once(vec![(older, change(keys[1])), (younger, change(keys[0]))]).await;
    assert_eq!(victim(&sides).0, 1);
}

#[tokio::test]
async fn entries_of_unique_keys_can_be_part_of_a_circle() {
    let database = database("entries").await;
    let keys = keys(&database, 2).await;
    let mut sessions = Vec::new();
    for (at, mail) in ["first", "second"].into_iter().enumerate() {
        let client = database.client().await;
        let sql = format!(
            "begin; update accounts set email = '{mail}' where id = {}",
            keys[at]
        );
        client.batch_execute(&sql).await.unwrap();
        sessions.push(client);
    }
    let (second, first) = (sessions.pop().unwrap(), sessions.pop().unwrap());
    // Other rows, with one another's values.
    let sides = at_once(vec![
        (first, insert(901, "second")),
        (second, insert(902, "first")),
    ])
    .await;
    let failed: Vec<_> = sides
        .iter()
        .filter_map(|side| side.outcome.as_ref().err())
        .collect();
    let deadlocks = failed
        .iter()
        .filter(|error| *error.code() == SqlState::T_R_DEADLOCK_DETECTED);
    // The other one is refused by the key once the first has let go, or goes on.
    assert_eq!(deadlocks.count(), 1, "{failed:?}");
}

fn insert(id: i64, mail: &str) -> String {
    format!("insert into accounts values ({id}, 0, '{mail}')")
}

#[tokio::test]
async fn a_deadlock_on_one_shard_is_left_to_postgresql() {
    let database = database("local").await;
    let shard = database.shard(0).await;
    let rows = shard
        .query("select id from accounts order by id limit 2", &[])
        .await
        .unwrap();
    let keys: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let elsewhere = self::keys(&database, 3).await;
    let mut sessions = Vec::new();
    for at in 0..2 {
        let session = holding(&database.url(), keys[at]).await;
        // On two shards, as the router looks at such sessions only.
        session
            .batch_execute(&change(elsewhere[at + 1]))
            .await
            .unwrap();
        sessions.push((session, change(keys[1 - at])));
    }
    let sides = at_once(sessions).await;
    let (_, error) = victim(&sides);
    assert_eq!(error.hint(), Some("See server log for query details."));
}

#[tokio::test]
async fn a_long_wait_that_is_no_deadlock_goes_on() {
    let database = database("plain").await;
    let keys = keys(&database, 3).await;
    let holder = holding(&database.url(), keys[0]).await;
    let waiting = holding(&database.url(), keys[1]).await;
    let third = holding(&database.url(), keys[2]).await;
    let (first, second) = (change(keys[0]), change(keys[1]));
    let wait = tokio::spawn(async move {
        waiting.batch_execute(&first).await.unwrap();
        waiting.batch_execute("commit").await.unwrap();
    });
    let queued = tokio::spawn(async move {
        third.batch_execute(&second).await.unwrap();
        third.batch_execute("commit").await.unwrap();
    });
    let shard = database.shard(0).await;
    eventually("it has waited for four seconds", async || {
        let sql = "select count(*) from pg_locks l join pg_database d on true where not granted
            and d.datname = current_database() and waitstart < clock_timestamp() - interval '4 seconds'";
        shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 0
    })
    .await;
    assert!(!wait.is_finished() && !queued.is_finished());
    holder.batch_execute("commit").await.unwrap();
    wait.await.unwrap();
    queued.await.unwrap();
}

#[tokio::test]
async fn statements_of_another_role_are_not_shown() {
    let database = database("roles").await;
    let client = database.client().await;
    let name = &database.name;
    let roles = format!(
        "create role reader_{name} login password 'secret'; grant select, update on accounts to reader_{name}"
    );
    client.batch_execute(&roles).await.unwrap();
    let keys = keys(&database, 2).await;
    let older = holding(&database.url(), keys[0]).await;
    let url = format!(
        "postgres://reader_{name}:secret@127.0.0.1:{}/{name}",
        Cluster::shared().port()
    );
    let younger = holding(&url, keys[1]).await;
    let sides = at_once(vec![(older, change(keys[1])), (younger, change(keys[0]))]).await;
    let (at, error) = victim(&sides);
    assert_eq!(at, 1);
    let detail = error.detail().unwrap();
    assert!(detail.contains(&change(keys[0])), "{detail}");
    assert!(!detail.contains(&change(keys[1])), "{detail}");
    assert!(detail.contains("<insufficient privilege>"), "{detail}");
}

/// Long: `DEADLOCKS=1000 cargo test -p tests --test deadlocks -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "takes minutes"]
async fn many_deadlocks_are_each_broken_once_and_in_time() {
    let count: usize = std::env::var("DEADLOCKS").map_or(1_000, |count| count.parse().unwrap());
    let database = database("many").await;
    let keys: Vec<(i64, i64)> = pairs(&database).await;
    let other = Cluster::shared().another_router();
    let other = other.url_of(&database.name);
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let mut running = Vec::new();
        for (number, &(first, second)) in keys.iter().enumerate() {
            let url = if number % 2 == 0 {
                database.url()
            } else {
                other.clone()
            };
            let own = database.url();
            running.push(tokio::spawn(async move {
                let one = holding(&own, first).await;
                let two = holding(&url, second).await;
                let sides = at_once(vec![(one, change(second)), (two, change(first))]).await;
                sides[victim(&sides).0].took
            }));
        }
        for one in running {
            times.push(one.await.unwrap());
        }
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{} deadlocks, each broken on exactly one side: median {:?}, 95% {:?}, 99% {:?}, longest {:?}",
        times.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
}

/// Pairs of keys on different shards, each key once.
async fn pairs(database: &Database<'_>) -> Vec<(i64, i64)> {
    let mut of = Vec::new();
    for number in 0..2 {
        let shard = database.shard(number).await;
        let rows = shard
            .query("select id from accounts order by id limit 10", &[])
            .await
            .unwrap();
        of.push(rows.iter().map(|row| row.get(0)).collect::<Vec<i64>>());
    }
    of[0].iter().copied().zip(of[1].iter().copied()).collect()
}
