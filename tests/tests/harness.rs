//! The harness itself: what other tests stand on.

use shard_node::Stop;
use tests::{Cluster, ClusterOptions, connect};

fn shards_only(shards: usize) -> Cluster {
    Cluster::without_router(ClusterOptions {
        shards: Some(shards),
        ..ClusterOptions::default()
    })
}

#[tokio::test]
async fn each_test_has_a_database_of_its_own_on_every_shard_and_on_the_oracle() {
    let cluster = shards_only(2);
    let (one, other) = (cluster.database("same"), cluster.database("same"));
    assert_ne!(one.name, other.name);
    for client in [one.shard(0).await, one.shard(1).await, one.oracle().await] {
        client
            .batch_execute("create table posts as select 1 as id")
            .await
            .unwrap();
        let name: String = client
            .query_one("select current_database()::text", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(name, one.name);
    }
    assert_eq!(one.rows_by_shard("posts").await, [1, 1]);
    assert!(
        other
            .shard(0)
            .await
            .batch_execute("table posts")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_shard_killed_comes_back_and_a_shard_stopped_stays_away() {
    let cluster = shards_only(1);
    cluster
        .shard(0)
        .await
        .batch_execute("create table kept as select 42 as answer")
        .await
        .unwrap();
    cluster.kill_shard(0);
    let row = cluster
        .shard(0)
        .await
        .query_one("table kept", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);

    cluster.stop_shard(0, Stop::Fast);
    assert!(connect(&cluster.shard_url(0, "postgres")).await.is_err());
    cluster.start_shard(0);
    cluster
        .shard(0)
        .await
        .batch_execute("table kept")
        .await
        .unwrap();
}

#[test]
fn psql_gives_output_and_errors_apart() {
    let cluster = shards_only(1);
    let url = cluster.shard_url(0, "postgres");
    let arguments = ["--tuples-only", "--no-align"];
    assert_eq!(tests::psql(&url, &arguments, "select 41 + 1").ok(), "42\n");
    let failed = tests::psql(&url, &arguments, "select 1; select nonsense; select 2");
    assert_eq!((failed.stdout.as_str(), failed.status), ("1\n", Some(3)));
    assert!(failed.stderr.contains("nonsense"));
}
