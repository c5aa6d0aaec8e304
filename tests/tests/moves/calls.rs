//! What moving a row costs on the shards: the functions that note and fence what clients write are for these alone.

use std::time::Duration;

use tests::{Cluster, eventually};

use super::{admin, admin_client, load::prepare, moved};

const USER: i64 = 7;

/// Calls of the functions behind the move's triggers, as far as they have been counted.
async fn calls(cluster: &Cluster, shard: usize) -> i64 {
    let sql = "select coalesce(sum(calls), 0)::int8 from pg_stat_user_functions where funcname ~ '^on_move_[0-9]+$'";
    let row = cluster.shard(shard).await.query_one(sql, &[]).await;
    row.expect("the calls").get(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_move_call_nothing() {
    let cluster = Cluster::start(2);
    prepare(&cluster).await;
    for shard in 0..2 {
        let shard = cluster.shard(shard).await;
        let count = "alter system set track_functions = 'all'";
        shard.batch_execute(count).await.expect("to be counted");
        let reload = "select pg_reload_conf()";
        shard.batch_execute(reload).await.expect("to be read");
    }
    let home = cluster.shard(0).await;
    let sql =
        "select bucket, shard from oskol.buckets where bucket = hashint8extended($1, 0) & 4095";
    let row = home.query_one(sql, &[&USER]).await.expect("a bucket");
    let (bucket, from): (i32, i32) = (row.get(0), row.get(1));
    let operator = admin_client(&cluster).await;
    // There, back and there: with fences on both ends.
    for target in [1 - from, from, 1 - from] {
        admin(&operator, &format!("MOVE BUCKET {bucket} TO {target}")).await;
        moved(&cluster).await;
    }
    let client = cluster.client().await;
    let sql = "update users set balance = balance + 1 where id = $1";
    let written = client.execute(sql, &[&USER]).await.expect("an update");
    assert_eq!(written, 1);
    eventually("the client's row is counted", async || {
        calls(&cluster, 1 - from as usize).await > 0
    })
    .await;
    // Nothing is counted at once; the mover's were before.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (there, back) = (
        calls(&cluster, 1 - from as usize).await,
        calls(&cluster, from as usize).await,
    );
    assert_eq!((there, back), (1, 0), "calls for rows that moved");
}
