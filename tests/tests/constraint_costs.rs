//! What constraints over shards cost, in one connection, beside one plain PostgreSQL. Not a test of anything but that
//! it runs: `cargo test -p tests --test constraint_costs -- --ignored --nocapture` prints microseconds a statement.

use std::time::Instant;

use tests::{Cluster, connect};
use tokio_postgres::Client;

const STATEMENTS: i64 = 400;

async fn time(client: &Client, what: &str, sql: &str) {
    let statement = client.prepare(sql).await.unwrap();
    // Connections and plans are made by the first.
    for number in 0..40 {
        client
            .execute(&statement, &[&(1_000_000_i64 + number)])
            .await
            .unwrap();
    }
    let started = Instant::now();
    for number in 0..STATEMENTS {
        client.execute(&statement, &[&number]).await.unwrap();
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
            "insert into plain values ($1::bigint, 'e' || $1::bigint)",
        )
        .await;
        time(
            client,
            &name("INSERT, unique e-mail over shards"),
            "insert into named values ($1::bigint, 'e' || $1::bigint)",
        )
        .await;
        time(
            client,
            &name("UPDATE of another column's row, by key"),
            "update named set email = email where id = $1::bigint",
        )
        .await;
        time(
            client,
            &name("INSERT, no foreign key"),
            "insert into notes values ($1::bigint, $1::bigint)",
        )
        .await;
        time(
            client,
            &name("INSERT, foreign key to another shard"),
            "insert into kept values ($1::bigint, ($1::bigint + 7) % 300)",
        )
        .await;
        time(
            client,
            &name("SELECT by key"),
            "select * from named where id = $1::bigint",
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
