//! Sizes asked for by name are those on all shards together.

use tests::Database;

use crate::setting::database;

/// The sum of what the shards say.
async fn over_shards(database: &Database<'_>, sql: &str) -> i64 {
    let mut sum = 0;
    for shard in 0..database.cluster.shard_count() {
        let row = database.shard(shard).await.query_one(sql, &[]).await;
        let size: i64 = row.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0);
        sum += size;
    }
    sum
}

#[tokio::test]
async fn a_size_is_the_sum_over_the_shards() {
    let database = database("sizes").await;
    let client = database.client().await;
    for sql in [
        "select pg_total_relation_size('items')",
        "select pg_relation_size('public.items'::regclass)",
        "select pg_table_size('items')",
        "select pg_indexes_size('items')",
        "select pg_relation_size('items', 'fsm')",
        "select pg_total_relation_size('rates')",
    ] {
        let row = client.query_one(sql, &[]).await;
        let row = row.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(
            row.get::<_, i64>(0),
            over_shards(&database, sql).await,
            "{sql}"
        );
        let function = sql.split(['(', ' ']).nth(1).unwrap();
        assert_eq!(row.columns()[0].name(), function);
    }
    let sql = "select pg_size_pretty(pg_total_relation_size('items')) as all, pg_relation_size('notes') as local";
    let row = client.query_one(sql, &[]).await.unwrap();
    let total = over_shards(&database, "select pg_total_relation_size('items')").await;
    assert_eq!(row.get::<_, String>("all"), format!("{} kB", total / 1024));
    assert_eq!(row.get::<_, i64>("local"), 8192);
}

#[tokio::test]
async fn a_database_is_as_large_as_on_all_shards() {
    let database = database("sizes_of_database").await;
    let client = database.client().await;
    let one = "select pg_database_size(current_database())";
    let size: i64 = client.query_one(one, &[]).await.unwrap().get(0);
    let home: i64 = database
        .shard(0)
        .await
        .query_one(one, &[])
        .await
        .unwrap()
        .get(0);
    assert!(size > 3 * home, "{size} against {home}");
    // In a query of catalogs a size is the home shard's.
    let listed =
        "select pg_database_size(datname) from pg_database where datname = current_database()";
    let listed: i64 = client.query_one(listed, &[]).await.unwrap().get(0);
    assert!(listed < size);
}
