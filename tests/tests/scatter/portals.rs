//! Portals over several shards that are fetched in parts.

use wire::Format;

use crate::setting::{Both, cluster_with, database, fill};
use tests::RawClient;

const SQL: &str = "select owner, id from items order by owner, id limit 10";

#[tokio::test]
async fn rows_come_in_the_parts_asked_for() {
    let database = database("parts").await;
    let mut both = Both::connect(&database).await;
    for part in [1, 3, 5, 10, 11] {
        both.agree(&format!("parts of {part}"), 1, |client| {
            client.parse("", SQL).bind("", &[], Format::Binary);
            client.describe_portal();
            for _ in 0..4 {
                client.execute(part);
            }
            client.execute(0).sync();
        })
        .await;
    }
}

#[tokio::test]
async fn a_portal_goes_on_behind_sync_inside_a_transaction_and_ends_with_it() {
    let database = database("behind_sync").await;
    let mut both = Both::connect(&database).await;
    both.query("begin").await;
    both.agree("first part", 1, |client| {
        client.parse("", SQL).bind("", &[], Format::Text);
        client.execute(4).sync();
    })
    .await;
    both.agree("second part", 1, |client| {
        client.execute(4).sync();
    })
    .await;
    both.agree("the rest", 1, |client| {
        client.execute(0).sync();
    })
    .await;
    both.query("commit").await;
    both.agree("too late", 1, |client| {
        client.execute(0).sync();
    })
    .await;
}

#[tokio::test]
async fn returning_is_fetched_in_parts_and_nothing_runs_twice() {
    let database = database("returning").await;
    let mut both = Both::connect(&database).await;
    let sql = "update items set amount = amount + 1 where id = 1 returning amount - amount";
    both.agree("in parts", 1, |client| {
        client.parse("", sql).bind("", &[], Format::Text);
        client
            .execute(15)
            .execute(15)
            .execute(15)
            .execute(15)
            .sync();
    })
    .await;
    let twice = "update items set amount = amount + 1";
    both.agree("twice", 1, |client| {
        client.parse("", twice).bind("", &[], Format::Text);
        client.execute(0).execute(0).sync();
    })
    .await;
    let sum = "select sum(amount) from items";
    both.query(sum).await;
}

#[tokio::test]
async fn rows_beyond_the_routers_memory_wait_in_a_file_and_beyond_its_bound_the_setting_is_named() {
    let limits = [
        ("OSKOL_LIMITS__MERGE", "64KiB"),
        ("OSKOL_LIMITS__CURSOR", "512KiB"),
    ];
    let cluster = cluster_with(&limits, "");
    let database = cluster.database("too_many");
    fill(&database.url()).await;
    let mut client = RawClient::connect(&database.url()).await;
    let sql = |length: u32| format!("select owner, repeat('x', {length}) from items order by 1");
    client.parse("", &sql(1_000)).bind("", &[], Format::Text);
    client.execute(10).execute(0).sync();
    let notes = client.transcript(1).await;
    assert_eq!(notes.iter().filter(|n| n.starts_with("row")).count(), 200);
    let large = sql(5_000);
    client.parse("", &large).bind("", &[], Format::Text);
    let notes = client.execute(10).sync().transcript(1).await;
    let errors: Vec<_> = notes.iter().filter(|note| note.contains("error")).collect();
    assert_eq!(errors.len(), 1, "{notes:?}");
    assert!(errors[0].contains("error 53400"), "{notes:?}");
    // All at once is no matter of the router's memory.
    client.parse("", &large).bind("", &[], Format::Text);
    let notes = client.execute(0).sync().transcript(1).await;
    assert_eq!(notes.iter().filter(|n| n.starts_with("row")).count(), 200);
}

#[tokio::test]
async fn rows_to_be_locked_beyond_the_routers_memory_are_refused_by_the_setting() {
    let cluster = cluster_with(&[("OSKOL_LIMITS__MERGE", "2MiB")], "");
    let client = cluster.database("too_many_locks").client().await;
    let tables = "create table notes (id bigint, n int); select oskol.shard_table('notes', 'id');
        insert into notes select i, i from generate_series(1, 22000) i";
    client.batch_execute(tables).await.unwrap();
    // So many that they are found in a temporary table: only where they are is kept in the router.
    let locks = |most: u32| {
        format!(
            "select id from notes a where n <= {most} and exists (select from notes b where b.n = a.n) for update"
        )
    };
    let rows = client.query(&locks(100), &[]).await.unwrap();
    assert_eq!(rows.len(), 100);
    let error = client.query(&locks(22_000), &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "53400", "{error:?}");
    assert!(error.hint().unwrap().contains("limits.merge"), "{error:?}");
    let rows = client.query(&locks(100), &[]).await.unwrap();
    assert_eq!(rows.len(), 100, "the session goes on");
}
