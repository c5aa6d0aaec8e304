//! Entries of unique keys while the shards of a transaction have not all committed yet.

use std::time::Duration;

use tests::{Cluster, connect};
use tokio_postgres::Client;

const TABLE: &str = "create table people (id bigint primary key, email text unique)";

/// E-mails whose entries are on another shard than the row of id 1.
async fn emails_elsewhere(cluster: &Cluster, shard: i32) -> Vec<String> {
    let home = cluster.shard(0).await;
    let sql = "select e, shard from (select 'e' || n as e from generate_series(1, 40) n) made
        join oskol.buckets on bucket = (hash_record_extended(row(e), 0) & 4095)::int";
    let rows = home.query(sql, &[]).await.unwrap();
    let elsewhere = rows.iter().filter(|row| row.get::<_, i32>(1) != shard);
    elsewhere.map(|row| row.get(0)).collect()
}

async fn shard_of_row(cluster: &Cluster) -> i32 {
    for shard in 0..3 {
        let client = cluster.shard(shard).await;
        let there = client.query("select from people where id = 1", &[]).await;
        if !there.unwrap().is_empty() {
            return i32::try_from(shard).unwrap();
        }
    }
    panic!("the row is on no shard");
}

async fn set_email(client: &Client, email: &str) -> Result<(), tokio_postgres::Error> {
    let sql = format!("update people set email = '{email}' where id = 1");
    client.batch_execute(&sql).await
}

/// The row's shard has committed and the entry's has not: whoever changes the row next sees the new value, and must take
/// away an entry that cannot be seen yet.
#[tokio::test]
async fn an_entry_that_is_only_prepared_is_waited_for() {
    let cluster = Cluster::start(3);
    let (first, second) = (cluster.client().await, cluster.client().await);
    first.batch_execute(TABLE).await.unwrap();
    let divide = "select oskol.shard_table('people', 'id')";
    first.batch_execute(divide).await.unwrap();
    let insert = "insert into people values (1, 'first')";
    first.batch_execute(insert).await.unwrap();
    let emails = emails_elsewhere(&cluster, shard_of_row(&cluster).await).await;
    let points = cluster.router().fault_points();
    points.arm("finished-0");
    let going_on = async {
        points.reached("finished-0").await;
        let change = set_email(&second, &emails[1]);
        tokio::pin!(change);
        // It waits for the entry, or it is done and has missed it.
        let early = tokio::time::timeout(Duration::from_millis(500), &mut change).await;
        points.release("finished-0");
        match early {
            Ok(done) => done,
            Err(_) => change.await,
        }
    };
    let (one, two) = tokio::join!(set_email(&first, &emails[0]), going_on);
    one.unwrap();
    two.unwrap();
    let mut entries: Vec<String> = Vec::new();
    for shard in 0..3 {
        let client = connect(&cluster.shard_url(shard, "postgres"))
            .await
            .unwrap();
        let rows = client.query("select v1 from oskol.unique_1", &[]).await;
        entries.extend(rows.unwrap().iter().map(|row| row.get::<_, String>(0)));
    }
    assert_eq!(entries, [emails[1].clone()]);
}
