//! What constraints over shards cost, in one connection, beside one plain PostgreSQL. Not a test of anything but that
//! it runs: `cargo test -p tests --test constraint_costs -- --ignored --nocapture` prints microseconds a statement, and what
//! it takes to add constraints to a table of `BACKFILL_ROWS` (1,000,000) rows that is written meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tests::{Cluster, connect};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const STATEMENTS: i64 = 400;

/// The id of the next row that is written while a constraint is added.
static NEXT: AtomicI64 = AtomicI64::new(1_000_000_000);

fn email(number: i64) -> String {
    format!("e{number}")
}

async fn time(client: &Client, what: &str, sql: &str) {
    let statement = client.prepare(sql).await.unwrap();
    // Connections and plans are made by the first.
    for number in 0..40 {
        client
            .execute(
                &statement,
                &[&(1_000_000_i64 + number), &email(1_000_000 + number)],
            )
            .await
            .unwrap();
    }
    let started = Instant::now();
    for number in 0..STATEMENTS {
        client
            .execute(&statement, &[&number, &email(number)])
            .await
            .unwrap();
    }
    let each = started.elapsed().as_micros() / u128::try_from(STATEMENTS).unwrap();
    println!("{what:<60} {each:>6} us");
}

#[tokio::test]
#[ignore = "prints figures"]
async fn figures() {
    let database = Cluster::shared().database("costs");
    database.oracle().await;
    let cluster = database.client().await;
    let oracle = connect(&database.oracle_url()).await.unwrap();
    let tables = "create table plain (id bigint primary key, email text);
        create table named (id bigint primary key, email text unique);
        create table notes (id bigint primary key, writer bigint);
        create table kept (id bigint primary key, writer bigint)";
    for client in [&cluster, &oracle] {
        client.batch_execute(tables).await.unwrap();
    }
    let places = "select oskol.shard_table('plain', 'id'); select oskol.shard_table('named', 'id');
        select oskol.shard_table('notes', 'id'); select oskol.shard_table('kept', 'id')";
    cluster.batch_execute(places).await.unwrap();
    for client in [&cluster, &oracle] {
        let key = "alter table kept add foreign key (writer) references named";
        client.batch_execute(key).await.unwrap();
    }
    for (client, side) in [(&oracle, "one PostgreSQL"), (&cluster, "four shards")] {
        let name = |what: &str| format!("{side}: {what}");
        time(
            client,
            &name("INSERT, no constraint over shards"),
            "insert into plain values ($1, $2)",
        )
        .await;
        time(
            client,
            &name("INSERT, unique e-mail over shards"),
            "insert into named values ($1, $2)",
        )
        .await;
        time(
            client,
            &name("UPDATE of the e-mail, by key"),
            "update named set email = $2 where id = $1",
        )
        .await;
        time(
            client,
            &name("INSERT, no foreign key"),
            "insert into notes values ($1, length($2))",
        )
        .await;
        time(
            client,
            &name("INSERT, foreign key to another shard"),
            "insert into kept values ($1, length($2))",
        )
        .await;
        time(
            client,
            &name("SELECT by key"),
            "select * from named where id = $1 and email = $2",
        )
        .await;
    }
    for (client, side) in [(&oracle, "one PostgreSQL"), (&cluster, "four shards")] {
        for (table, how) in [
            ("named", "by unique e-mail"),
            ("plain", "by e-mail without a key"),
        ] {
            let index = format!("create index if not exists {table}_by on {table} (email)");
            client.batch_execute(&index).await.unwrap();
            let statement = client
                .prepare(&format!("select * from {table} where email = $1"))
                .await
                .unwrap();
            let started = Instant::now();
            for number in 0..STATEMENTS {
                let rows = client
                    .query(&statement, &[&format!("e{number}")])
                    .await
                    .unwrap();
                assert_eq!(rows.len(), 1);
            }
            let each = started.elapsed().as_micros() / u128::try_from(STATEMENTS).unwrap();
            let what = format!("{side}: SELECT {how}");
            println!("{what:<60} {each:>6} us");
        }
    }
}

/// Writes until told to stop; statements, how many were run again, and the longest one.
async fn writer(url: String, number: i64, ended: Arc<AtomicBool>) -> (usize, usize, Duration) {
    let client = connect(&url).await.unwrap();
    let insert = client
        .prepare("insert into people values ($1, $2, 1)")
        .await
        .unwrap();
    let update = client
        .prepare("update people set email = $2 where id = $1")
        .await
        .unwrap();
    let (mut count, mut repeated, mut longest) = (0, 0, Duration::ZERO);
    while !ended.load(Ordering::Relaxed) {
        let round = i64::try_from(count).unwrap();
        let started = Instant::now();
        let (statement, id) = match round % 2 {
            0 => (&insert, NEXT.fetch_add(1, Ordering::Relaxed)),
            _ => (&update, 1 + (round * 7919 + number) % 50_000),
        };
        // Who waited for the table while the key came is told to run the statement again.
        let value = format!("w{id}");
        while let Err(error) = client.execute(statement, &[&id, &value]).await {
            let again = error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE);
            assert!(again, "{error:?}");
            repeated += 1;
        }
        longest = longest.max(started.elapsed());
        count += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (count, repeated, longest)
}

/// Runs `sql` while four clients write.
async fn under_writes(client: &Client, url: &str, what: &str, sql: &str, rows: i64) {
    let ended = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|number| tokio::spawn(writer(url.to_owned(), number, Arc::clone(&ended))))
        .collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let started = Instant::now();
    client.batch_execute(sql).await.unwrap();
    let took = started.elapsed();
    ended.store(true, Ordering::Relaxed);
    let (mut count, mut again, mut longest) = (0, 0, Duration::ZERO);
    for writer in writers {
        let (written, repeated, slowest) = writer.await.unwrap();
        count += written;
        again += repeated;
        longest = longest.max(slowest);
    }
    println!(
        "{what}: {:.1} s, {:.0} rows/s; {count} writes meanwhile, {again} told to run again, the longest {:.2} s",
        took.as_secs_f64(),
        rows as f64 / took.as_secs_f64(),
        longest.as_secs_f64()
    );
}

#[tokio::test]
#[ignore = "prints figures"]
async fn constraints_are_added_under_writes() {
    let rows = std::env::var("BACKFILL_ROWS").map_or(1_000_000, |rows| rows.parse().unwrap());
    let database = Cluster::shared().database("backfill");
    let (client, url) = (database.client().await, database.url());
    for sql in [
        "create table people (id bigint primary key, email text, boss bigint)",
        "select oskol.shard_table('people', 'id')",
        &format!(
            "insert into people select n, 'e' || n, n % 1000 + 1 from generate_series(1, {rows}) n"
        ),
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    for (what, sql) in [
        (
            "ADD CONSTRAINT UNIQUE",
            "alter table people add constraint people_email unique (email)",
        ),
        (
            "ADD FOREIGN KEY",
            "alter table people add constraint people_boss foreign key (boss) references people (id)",
        ),
        (
            "CREATE UNIQUE INDEX CONCURRENTLY",
            "create unique index concurrently people_lower on people (lower(email))",
        ),
    ] {
        under_writes(&client, &url, what, sql, rows).await;
    }
    let keys = "select count(*) from pg_constraint where conname in ('people_email', 'people_boss') and convalidated";
    let valid: i64 = client.query_one(keys, &[]).await.unwrap().get(0);
    assert_eq!(valid, 2);
    let started = Instant::now();
    let faults =
        tests::constraints::verify::faults(&database.cluster.url_of("oskol"), &database.name).await;
    assert!(faults.is_empty(), "{faults:?}");
    println!("VERIFY: {:.1} s", started.elapsed().as_secs_f64());
}
