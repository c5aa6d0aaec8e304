//! Writes to reference tables.

use wire::Format;

use crate::setting::{Both, database};
use tests::RawClient;

#[tokio::test]
async fn writes_to_reference_tables_reach_every_shard() {
    let database = database("rates").await;
    let mut both = Both::connect(&database).await;
    let steps = [
        "insert into rates values (10, 1), (11, 2)",
        "insert into rates values (12, 3) returning *",
        "update rates set amount = amount + 1 where id > 2",
        "delete from rates where id = 1 returning id",
        "insert into rates values (10, 1)",
        "insert into rates values (10, 7) on conflict (id) do update set amount = excluded.amount",
        "select * from rates order by id",
    ];
    for sql in steps {
        both.query(sql).await;
    }
    both.agree("extended", 1, |client| {
        let sql = "insert into rates values ($1, $2) returning amount";
        client.extended(sql, &["20", "5"], Format::Binary).sync();
    })
    .await;
    let mut copies = Vec::new();
    for shard in 0..database.cluster.shard_count() {
        let client = database.shard(shard).await;
        let all = "select string_agg(r::text, ' ' order by id) from rates r";
        copies.push(
            client
                .query_one(all, &[])
                .await
                .unwrap()
                .get::<_, String>(0),
        );
    }
    assert!(copies.iter().all(|copy| *copy == copies[0]), "{copies:?}");
}

#[tokio::test]
async fn copies_that_differ_are_told_and_left_alone() {
    let database = database("differ").await;
    let shard = database.shard(2).await;
    shard
        .batch_execute("delete from rates where id = 3")
        .await
        .unwrap();
    let mut client = RawClient::connect(&database.url()).await;
    let notes = client
        .query("update rates set amount = 0")
        .transcript(1)
        .await;
    assert_eq!(
        notes,
        [
            "error 55000 the copies of a reference table differ between shards",
            "ready I"
        ]
    );
    for number in 0..4 {
        let shard = database.shard(number).await;
        let row = shard.query_one("select min(amount) from rates", &[]).await;
        assert_eq!(row.unwrap().get::<_, i32>(0), 10);
    }
}

#[tokio::test]
async fn many_writers_of_the_same_rows_do_not_wait_crosswise() {
    let database = database("writers").await;
    let url = database.url();
    let writers = (0..8).map(|_| {
        let url = url.clone();
        tokio::spawn(async move {
            let client = tests::connect(&url).await.unwrap();
            for _ in 0..10 {
                client
                    .batch_execute("update rates set amount = amount + 1")
                    .await
                    .unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    for number in 0..4 {
        let shard = database.shard(number).await;
        let row = shard.query_one("select sum(amount) from rates", &[]).await;
        assert_eq!(row.unwrap().get::<_, i64>(0), 100 + 4 * 80);
    }
}
