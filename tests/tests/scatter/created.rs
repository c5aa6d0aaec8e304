//! Tables made of rows of several shards.

use crate::setting::{Both, database};

#[tokio::test]
async fn a_table_is_made_of_rows_of_all_shards() {
    let database = database("created").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "create table sums as select owner, sum(amount) as total, max(word) as word from items group by owner",
        "select * from sums order by owner",
        "create table words (w, n) as select word, count(*) from items group by word having count(*) > 1",
        "select * from words order by w",
        "select owner, id into picked from items where amount > 5 and owner < 9",
        "select * from picked order by owner, id",
        "create table nothing as select * from items with no data",
        "select count(*) from nothing",
        "create table one as select * from items where owner = 7",
        "select * from one order by id",
        "begin",
        "create table gone as select word from items",
        "select count(*), min(word) from gone",
        "rollback",
        "create table twice as select 1 / (amount - amount) as never from items",
        "create table mixed as select n.word, i.owner from notes n join items i on i.id = n.id",
        "insert into mixed select word, owner from items where owner = 3",
        "select * from mixed order by owner, word",
    ] {
        both.query(sql).await;
    }
    let client = database.client().await;
    let error = client
        .batch_execute("create materialized view m as select * from items")
        .await;
    let error = format!("{:?}", error.expect_err("refused").as_db_error());
    assert!(error.contains("create-table-as"), "{error}");
    // The table is on every shard, its rows at home.
    assert_eq!(database.rows_by_shard("sums").await, [40, 0, 0, 0]);
}
