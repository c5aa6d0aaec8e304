//! What transactions over several shards see of one another: REPEATABLE READ and `oskol.cross_shard_reads = 'consistent'`
//! see all shards at one moment, plain statements need not; SERIALIZABLE keeps to one shard.

use std::time::{Duration, Instant};

use tests::{Cluster, ClusterOptions, Database, PATIENCE, eventually};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const ACCOUNTS: i64 = 40;
const EACH: i64 = 1_000;
/// The lock on decisions (schema/sql/shard.sql).
const DECISIONS: i64 = 8030875938574;
const SUM: &str = "select sum(balance)::bigint from accounts";

async fn bank(database: &Database<'_>) {
    let client = database.client().await;
    let sql = format!(
        "create table accounts (id bigint primary key, balance bigint not null);
         select oskol.shard_table('accounts', 'id');
         insert into accounts select n, {EACH} from generate_series(1, {ACCOUNTS}) n"
    );
    client.batch_execute(&sql).await.expect("a bank");
}

/// Moves money between accounts until `end`.
async fn move_money(client: Client, seed: i64, end: Instant) -> usize {
    let mut moved = 0;
    for round in 0.. {
        if Instant::now() > end {
            break;
        }
        // Ascending, so that two never lock crosswise.
        let from = (seed * 7 + round * 13) % (ACCOUNTS - 1) + 1;
        let to = from + 1 + (seed + round) % (ACCOUNTS - from);
        let sql = format!(
            "begin; update accounts set balance = balance - 1 where id = {from};
             update accounts set balance = balance + 1 where id = {to}; commit"
        );
        client.batch_execute(&sql).await.expect("money is moved");
        moved += 1;
    }
    moved
}

async fn writers(database: &Database<'_>, end: Instant) -> JoinSet<usize> {
    let mut writers = JoinSet::new();
    for seed in 0..6 {
        writers.spawn(move_money(database.client().await, seed, end));
    }
    writers
}

/// How many of so many sums read by `read` are not the bank's.
async fn wrong_sums(sums: usize, mut read: impl AsyncFnMut() -> i64) -> usize {
    let mut wrong = 0;
    for _ in 0..sums {
        wrong += usize::from(read().await != ACCOUNTS * EACH);
    }
    wrong
}

async fn sum(client: &Client) -> i64 {
    client.query_one(SUM, &[]).await.expect("a sum").get(0)
}

async fn sum_in_repeatable_read(client: &Client) -> i64 {
    let begin = "begin isolation level repeatable read";
    client.batch_execute(begin).await.expect("begun");
    let sum = sum(client).await;
    client.batch_execute("commit").await.expect("ended");
    sum
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_are_torn_in_plain_statements_and_whole_at_one_moment() {
    let database = Cluster::shared().database("sums");
    bank(&database).await;
    let client = database.client().await;

    let mut moving = writers(&database, Instant::now() + PATIENCE).await;
    eventually(
        "a plain sum is torn: else this test cannot fail",
        async || wrong_sums(1, async || sum(&client).await).await > 0,
    )
    .await;

    let wrong = wrong_sums(40, async || sum_in_repeatable_read(&client).await).await;
    assert_eq!(wrong, 0, "in REPEATABLE READ");

    let set = "set oskol.cross_shard_reads = 'consistent'";
    client.batch_execute(set).await.unwrap();
    let wrong = wrong_sums(40, async || sum(&client).await).await;
    assert_eq!(wrong, 0, "in consistent reads");

    client.batch_execute("begin").await.unwrap();
    let refused = client.query_one(SUM, &[]).await.expect_err("in a block");
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.routine(), Some("consistent-read-in-block"));
    client.batch_execute("rollback").await.unwrap();

    let set =
        "reset oskol.cross_shard_reads; set default_transaction_isolation = 'repeatable read'";
    for statement in set.split("; ") {
        client.batch_execute(statement).await.unwrap();
    }
    let wrong = wrong_sums(20, async || sum(&client).await).await;
    assert_eq!(wrong, 0, "by default_transaction_isolation");

    moving.abort_all();
    while moving.join_next().await.is_some() {}
    assert_eq!(sum_in_repeatable_read(&client).await, ACCOUNTS * EACH);
}

/// Two ids on different shards.
async fn apart(database: &Database<'_>) -> (i64, i64) {
    let on = async |shard| {
        let sql = "select min(id), max(id) from accounts";
        let row = database
            .shard(shard)
            .await
            .query_one(sql, &[])
            .await
            .unwrap();
        row.get::<_, i64>(0)
    };
    (on(0).await, on(3).await)
}

/// A writer that changes one shard after another, each by itself: whoever sees the second change sees the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_from_a_commit_is_not_seen_without_it() {
    let database = Cluster::shared().database("follows");
    bank(&database).await;
    let (one, two) = apart(&database).await;
    for (first, second) in [(one, two), (two, one)] {
        let end = Instant::now() + Duration::from_secs(3);
        let writer = database.client().await;
        // The values count up from here: a first look between the two first writes is no fault.
        writer
            .batch_execute("update accounts set balance = 0")
            .await
            .unwrap();
        let writing = tokio::spawn(async move {
            let set = writer
                .prepare("update accounts set balance = $2 where id = $1")
                .await
                .unwrap();
            let mut value = 0_i64;
            while Instant::now() < end {
                value += 1;
                writer.execute(&set, &[&first, &value]).await.unwrap();
                writer.execute(&set, &[&second, &value]).await.unwrap();
            }
        });
        let client = database.client().await;
        let sql = format!(
            "select (select balance from accounts where id = {first}), (select balance from accounts where id = {second})"
        );
        let mut read = 0;
        while Instant::now() < end {
            client
                .batch_execute("begin isolation level repeatable read")
                .await
                .unwrap();
            let row = client.query_one(&sql, &[]).await.unwrap();
            client.batch_execute("commit").await.unwrap();
            let (before, after): (i64, i64) = (row.get(0), row.get(1));
            assert!(before >= after, "{after} is seen, and {before} before it");
            read += 1;
        }
        assert!(read > 3, "{read}");
        writing.await.unwrap();
    }
}

/// Prepared on one shard and decided on the other, by a router that is no more.
#[tokio::test]
async fn a_reader_finishes_what_was_decided() {
    let cluster = Cluster::start_with(ClusterOptions {
        shards: Some(2),
        ..ClusterOptions::default()
    });
    let database = cluster.database("decided");
    bank(&database).await;
    let (lead, other) = (database.shard(0).await, database.shard(1).await);
    // Of a router that seems to live: recovery leaves the transaction to it.
    let gid = "oskol:main:4000000000:1:0:2";
    let lives = "insert into oskol.routers (id, address, epoch, sequence_epoch, heartbeat)
        values (4000000000, 'nowhere', 0, 0, clock_timestamp() + interval '9 seconds')";
    cluster.shard(0).await.batch_execute(lives).await.unwrap();

    let take = "begin; update accounts set balance = balance - 7 where id = (select min(id) from accounts)";
    let give = "begin; update accounts set balance = balance + 7 where id = (select min(id) from accounts)";
    let cluster_name: String = lead
        .query_one("select cluster from oskol.meta", &[])
        .await
        .unwrap()
        .get(0);
    let gid = gid.replace("main", &cluster_name);
    other.batch_execute(give).await.unwrap();
    other
        .batch_execute(&format!("prepare transaction '{gid}'"))
        .await
        .unwrap();
    lead.batch_execute(take).await.unwrap();
    let client = database.client().await;
    client
        .batch_execute("begin isolation level repeatable read")
        .await
        .unwrap();
    assert_eq!(sum(&client).await, ACCOUNTS * EACH, "before the decision");
    client.batch_execute("commit").await.unwrap();
    lead.batch_execute(&format!("select oskol.decide('{gid}');commit"))
        .await
        .unwrap();
    assert_eq!(
        sum_in_repeatable_read(&client).await,
        ACCOUNTS * EACH,
        "after it"
    );
    let left = "select count(*) from pg_prepared_xacts where gid = $1";
    let left: i64 = other.query_one(left, &[&gid]).await.unwrap().get(0);
    assert_eq!(left, 0, "the reader has finished it");
}

async fn holders(database: &Database<'_>) -> i64 {
    let sql = "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and granted
        and (classid::int8 << 32 | objid::int8) = $1";
    let mut holders = 0;
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        holders += shard
            .query_one(sql, &[&DECISIONS])
            .await
            .unwrap()
            .get::<_, i64>(0);
    }
    holders
}

#[tokio::test]
async fn a_reader_that_is_cancelled_or_leaves_lets_the_barrier_go() {
    let database = Cluster::shared().database("barrier");
    bank(&database).await;
    // Busy, so that it is not taken for one that stands still.
    let lock = format!("select pg_advisory_lock({DECISIONS}), pg_sleep(600)");
    for leaves in [false, true] {
        let holder = database.shard(2).await;
        let stop = holder.cancel_token();
        let lock = lock.clone();
        let holding = tokio::spawn(async move { holder.batch_execute(&lock).await });
        eventually("the lock is held", async || holders(&database).await == 1).await;
        let client = database.client().await;
        let cancel = client.cancel_token();
        let reading = tokio::spawn(async move {
            let outcome = client
                .batch_execute(
                    "begin isolation level repeatable read; select count(*) from accounts",
                )
                .await;
            (client, outcome)
        });
        eventually("the reader waits", async || holders(&database).await > 1).await;
        if leaves {
            reading.abort();
            let _ = reading.await;
        } else {
            cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
            let (client, outcome) = reading.await.unwrap();
            assert_eq!(outcome.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
            client.batch_execute("rollback").await.unwrap();
        }
        eventually("the reader lets go", async || holders(&database).await <= 1).await;
        stop.cancel_query(tokio_postgres::NoTls).await.unwrap();
        assert!(holding.await.unwrap().is_err());
        eventually("nothing is held", async || holders(&database).await == 0).await;
    }
    let client = database.client().await;
    assert_eq!(sum_in_repeatable_read(&client).await, ACCOUNTS * EACH);
}

/// A router that stands still in the middle of opening snapshots.
#[tokio::test]
async fn who_keeps_decisions_out_and_says_nothing_is_ended() {
    let database = Cluster::shared().database("silent");
    bank(&database).await;
    let (one, two) = apart(&database).await;
    for shard in [0, 3] {
        let silent = database.shard(shard).await;
        let lock = format!("select pg_advisory_lock({DECISIONS})");
        silent.batch_execute(&lock).await.unwrap();
        let client = database.client().await;
        let began = Instant::now();
        let sql = format!(
            "begin; update accounts set balance = 0 where id = {one}; update accounts set balance = 0 where id = {two}; commit"
        );
        client.batch_execute(&sql).await.expect("committed");
        let waited = began.elapsed();
        assert!(waited < Duration::from_secs(10), "{waited:?}");
        let lead_waits = waited > Duration::from_secs(1);
        let ended = silent.batch_execute("select 1").await.is_err();
        assert_eq!(lead_waits, ended, "only who is in the way is ended");
    }
    eventually("nothing is held", async || holders(&database).await == 0).await;
}

#[tokio::test]
async fn serializable_transactions_keep_to_one_shard() {
    let database = Cluster::shared().database("serializable");
    bank(&database).await;
    let (one, two) = apart(&database).await;
    let client = database.client().await;
    let one_shard = format!(
        "begin isolation level serializable; select * from accounts where id = {one}; update accounts set balance = 1 where id = {one}; commit"
    );
    client.batch_execute(&one_shard).await.expect("one shard");
    // The entry of a unique key on another shard is no second shard of the client's.
    for sql in [
        "create table people (id bigint primary key, mail text unique)",
        "select oskol.shard_table('people', 'id')",
        "set default_transaction_isolation = serializable",
        "insert into people values (3, 'c')",
        "insert into people values (4, 'd')",
        "insert into people values (5, 'e')",
        "reset default_transaction_isolation",
    ] {
        client.batch_execute(sql).await.expect(sql);
    }
    let refused = [
        format!(
            "begin isolation level serializable; select * from accounts where id = {one}; select * from accounts where id = {two}"
        ),
        "begin isolation level serializable; select count(*) from accounts".into(),
        "begin; set transaction isolation level serializable; update accounts set balance = 0"
            .into(),
        "set default_transaction_isolation = serializable; select count(*) from accounts".into(),
    ];
    for sql in refused {
        let client = database.client().await;
        let mut outcome = Ok(());
        for statement in sql.split("; ") {
            if outcome.is_ok() {
                outcome = client.batch_execute(statement).await;
            }
        }
        let error = outcome.expect_err(&sql);
        assert_eq!(
            error.code(),
            Some(&SqlState::FEATURE_NOT_SUPPORTED),
            "{sql}"
        );
        let error = error.as_db_error().unwrap();
        assert_eq!(error.routine(), Some("serializable-over-shards"), "{sql}");
        client
            .batch_execute("rollback")
            .await
            .expect("the session goes on");
    }
}

#[tokio::test]
async fn a_snapshot_is_taken_by_the_first_statement_that_reads() {
    let database = Cluster::shared().database("moment");
    bank(&database).await;
    let (one, two) = apart(&database).await;
    let (reader, writer) = (database.client().await, database.client().await);
    let begins = [
        "begin isolation level repeatable read",
        "start transaction isolation level repeatable read, read only",
        "begin; set transaction isolation level repeatable read",
        "begin; set local work_mem = '8MB'; set transaction isolation level repeatable read; savepoint s",
        "begin; set transaction isolation level repeatable read; commit and chain",
        "set session characteristics as transaction isolation level repeatable read; begin",
    ];
    for (round, begin) in begins.iter().enumerate() {
        let round = round as i64;
        for statement in begin.split("; ") {
            reader.batch_execute(statement).await.expect(begin);
        }
        let write = async |id: i64, value: i64| {
            let sql = format!("update accounts set balance = {value} where id = {id}");
            writer.batch_execute(&sql).await.unwrap();
        };
        let read = async |id: i64| {
            let sql = format!("select balance from accounts where id = {id}");
            let row = reader.query_one(&sql, &[]).await.unwrap();
            row.get::<_, i64>(0)
        };
        write(one, 100 + round).await;
        write(two, 200 + round).await;
        assert_eq!(
            read(one).await,
            100 + round,
            "{begin}: what was committed before"
        );
        write(one, -1).await;
        write(two, -1).await;
        assert_eq!(
            read(two).await,
            200 + round,
            "{begin}: of the same moment on another shard"
        );
        assert_eq!(read(one).await, 100 + round, "{begin}");
        reader.batch_execute("commit").await.unwrap();
    }
}
