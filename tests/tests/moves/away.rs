//! A shard that dies when its buckets have moved and it has not heard so yet: all others are served meanwhile, and nothing is
//! looked for where it is not.

use std::time::{Duration, Instant};

use shard_node::Stop;
use tests::{Cluster, ClusterOptions, eventually};
use tokio_postgres::Client;

use super::{admin, admin_client, is_clean, load::USERS, load::prepare, rebalance_is};

const SOURCE: usize = 1;
const TARGET: usize = 2;
/// Of one statement that needs nothing of the shard that is away.
const PATIENCE: Duration = Duration::from_secs(8);

async fn balance(client: &Client, user: i64) -> Result<i64, String> {
    let sql = "select balance from users where id = $1";
    match client.query_one(sql, &[&user]).await {
        Ok(row) => Ok(row.get(0)),
        Err(error) => Err(error
            .code()
            .map_or_else(|| error.to_string(), |code| code.code().to_owned())),
    }
}

/// Some user of a shard, and the bucket, which is another one than `not`.
async fn user_on(cluster: &Cluster, shard: usize, not: i64) -> (i64, i64) {
    let sql = "select u, b.bucket::int8 from generate_series(1, $2::int8) u join oskol.buckets b
        on b.bucket = hashint8extended(u, 0) & 4095 where b.shard = $1 and b.bucket <> $3 limit 1";
    let (home, shard) = (cluster.shard(0).await, i32::try_from(shard).expect("few"));
    let row = home
        .query_one(
            sql,
            &[&shard, &USERS, &i32::try_from(not).expect("a bucket")],
        )
        .await;
    let row = row.expect("a user");
    (row.get(0), row.get(1))
}

async fn dies_after_the_decision(victim: usize) {
    let cluster = Cluster::start_with(ClusterOptions {
        shards: Some(3),
        ..ClusterOptions::default()
    });
    prepare(&cluster).await;
    let (moved, bucket) = user_on(&cluster, SOURCE, -1).await;
    let (at_home, _) = user_on(&cluster, 0, bucket).await;
    let other = if victim == SOURCE { TARGET } else { SOURCE };
    let (elsewhere, _) = user_on(&cluster, other, bucket).await;
    let client = cluster.client().await;
    let (points, operator) = (
        cluster.router().fault_points(),
        admin_client(&cluster).await,
    );
    points.arm("move-decided");
    admin(&operator, &format!("MOVE BUCKET {bucket} TO {TARGET}")).await;
    points.reached("move-decided").await;
    cluster.stop_shard(victim, Stop::Immediate);
    points.release("move-decided");

    let began = Instant::now();
    for user in [at_home, elsewhere] {
        let read = tokio::time::timeout(PATIENCE, balance(&client, user)).await;
        assert_eq!(read, Ok(Ok(0)), "user {user}");
        let write = "update users set balance = 0 where id = $1";
        let written = tokio::time::timeout(PATIENCE, client.execute(write, &[&user])).await;
        assert!(matches!(written, Ok(Ok(1))), "user {user}: {written:?}");
    }
    println!("others were served after {:?}", began.elapsed());
    // The moved row is at the target, whose part may not be committed yet.
    let there = balance(&client, moved).await;
    match victim {
        TARGET => assert_eq!(there, Err("08001".into())),
        _ => assert_eq!(there, Ok(0)),
    }
    let all = client.query("select count(*) from users", &[]).await;
    assert!(all.is_err(), "one shard is away: {all:?}");

    cluster.start_shard(victim);
    eventually("the row is there", async || {
        match balance(&client, moved).await {
            Ok(balance) => balance == 0,
            // Never "no row".
            Err(error) => {
                assert!(
                    ["08001", "08006", "57P03"].contains(&error.as_str()),
                    "{error}"
                );
                false
            }
        }
    })
    .await;
    eventually("all rows are there", async || {
        match client.query_one("select count(*) from users", &[]).await {
            Ok(row) => {
                assert_eq!(row.get::<_, i64>(0), USERS);
                true
            }
            Err(_) => false,
        }
    })
    .await;
    rebalance_is(&operator, "finished").await;
    is_clean(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_dies_after_the_decision_holds_nobody_else_up() {
    dies_after_the_decision(TARGET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_dies_after_the_decision_holds_nobody_else_up() {
    dies_after_the_decision(SOURCE).await;
}
