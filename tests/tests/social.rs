//! The social network's own program, on plain PostgreSQL and on a cluster whose rules divide its tables.

use tests::{Cluster, ClusterOptions};

const RULES: &str = include_str!("../../schema/sql/social/rules.toml");

/// Migrates twice, lets people join and write, and counts.
async fn lives(url: &str) -> Vec<(&'static str, i64)> {
    let mut client = social_app::connect(url).await.unwrap();
    assert_eq!(social_app::migrate(&mut client).await.unwrap().len(), 1);
    assert!(social_app::migrate(&mut client).await.unwrap().is_empty());
    let people = "INSERT INTO people (handle, name) VALUES ($1, $2) RETURNING id";
    for name in ["ada", "bob", "eve", "joe", "mia", "tom"] {
        let id: i64 = client
            .query_one(people, &[&name, &name])
            .await
            .unwrap()
            .get(0);
        let post = "INSERT INTO posts (author_id, body) VALUES ($1, 'hello')";
        client.execute(post, &[&id]).await.unwrap();
        let follow = "INSERT INTO follows (follower_id, followee_id) VALUES ($1, 1)";
        client.execute(follow, &[&id]).await.unwrap();
    }
    let gone = "DELETE FROM people WHERE id = 2";
    assert_eq!(client.execute(gone, &[]).await.unwrap(), 1);
    social_app::counts(&client).await.unwrap()
}

#[test]
fn the_same_program_runs_on_one_postgresql_and_on_a_cluster() {
    let options = ClusterOptions {
        config: RULES.into(),
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(options);
    tests::block_on(async {
        let database = cluster.database("social");
        let on_cluster = lives(&database.url()).await;
        assert_eq!(on_cluster, [("people", 5), ("posts", 5), ("follows", 5)]);
        assert_eq!(lives(&database.oracle_url()).await, on_cluster);
        let shards = database.rows_by_shard("people").await;
        assert!(
            shards.iter().filter(|rows| **rows > 0).count() > 1,
            "{shards:?}"
        );
    });
}
