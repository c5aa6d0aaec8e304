//! An account that is deleted leaves nothing behind, on any shard.

use serde_json::json;
use social_app::db::migrate::TABLES;
use tests::social::Town;
use tests::{Cluster, eventually};
use tokio_postgres::Client;

use super::attacks::picture;

/// Every column of whole numbers in which the person's id could be.
async fn traces(client: &Client, person: i64) -> Vec<String> {
    let mut found = Vec::new();
    for (table, _) in TABLES {
        let sql = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 \
            AND atttypid = 20 AND (attname LIKE '%\\_id' AND attname <> 'post_id' OR $1 = 'users' AND attname = 'id')";
        for row in client.query(sql, &[&table]).await.unwrap() {
            let column: String = row.get(0);
            let count = format!("SELECT count(*) FROM {table} WHERE {column} = {person}");
            let rows: i64 = client.query_one(&count, &[]).await.unwrap().get(0);
            if rows > 0 {
                found.push(format!("{table}.{column}: {rows}"));
            }
        }
    }
    found
}

/// Files of a person in the store.
fn files(town: &Town, person: i64) -> usize {
    let mut count = 0;
    for kind in ["public", "incoming"] {
        let mut places = vec![town.media().join(kind).join(person.to_string())];
        while let Some(place) = places.pop() {
            // Not there: nothing in it.
            for entry in std::fs::read_dir(place).into_iter().flatten() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => places.push(path),
                    false => count += 1,
                }
            }
        }
    }
    count
}

async fn leaves(url: &str) {
    let town = Town::start(url, &["--unlimited"]).await;
    let leaver = town.join("leaver").await;
    let mut others = Vec::new();
    for number in 0..6 {
        others.push(town.join(&format!("stays{number}")).await);
    }
    let mut posts = Vec::new();
    for other in &others {
        let post = other.write("mine").await;
        leaver.put(&format!("{post}/like")).await;
        leaver
            .post(&format!("{post}/comments"), json!({ "body": "first" }))
            .await;
        leaver
            .post(&format!("{post}/comments"), json!({ "body": "second" }))
            .await;
        leaver.put(&format!("/people/{}/follow", other.id)).await;
        other.put(&format!("/people/{}/follow", leaver.id)).await;
        leaver
            .post(
                &format!("/conversations/{}/messages", other.id),
                json!({ "body": "hello" }),
            )
            .await;
        posts.push(post);
    }
    leaver
        .put(&format!("/people/{}/friend", others[0].id))
        .await;
    others[0]
        .put(&format!("/people/{}/friend", leaver.id))
        .await;
    leaver
        .put(&format!("/people/{}/friend", others[1].id))
        .await;
    leaver.put(&format!("/people/{}/block", others[2].id)).await;
    let post = leaver.write("soon gone").await;
    // One picture in a post, one for the face, one that nothing uses.
    let mut pictures = Vec::new();
    for _ in 0..3 {
        pictures.push(picture(&town, &leaver).await);
    }
    leaver
        .post("/posts", json!({ "body": "", "media": [pictures[0]] }))
        .await;
    let face = json!({ "name": "L", "bio": "", "avatar_id": pictures[1] });
    assert_eq!(leaver.call("PATCH", "/me", Some(face)).await.status, 200);
    eventually("the sizes are made", async || files(&town, leaver.id) >= 3).await;
    others[3].put(&format!("{post}/like")).await;
    eventually("the post is in the feeds", async || {
        others[4].feed().await.contains(&"soon gone".to_owned())
    })
    .await;
    let client = tests::connect(url).await.unwrap();
    assert!(
        traces(&client, leaver.id).await.len() > 15,
        "there is something to be removed"
    );

    let wrong = leaver
        .call(
            "DELETE",
            "/me",
            Some(json!({ "password": "wrong password" })),
        )
        .await;
    assert_eq!(wrong.status, 422);
    let answer = leaver
        .call(
            "DELETE",
            "/me",
            Some(json!({ "password": "a long password" })),
        )
        .await;
    assert_eq!(answer.status, 202);
    assert_eq!(leaver.call("GET", "/me", None).await.status, 401);
    let profile = format!("/people/{}", leaver.id);
    assert_eq!(
        others[0].call("GET", &profile, None).await.status,
        404,
        "hidden at once"
    );
    eventually("no trace is left", async || {
        traces(&client, leaver.id).await.is_empty()
    })
    .await;
    assert_eq!(files(&town, leaver.id), 0, "in the store");
    let limits = format!(
        "SELECT count(*) FROM rate_limits WHERE name LIKE '%:{}'",
        leaver.id
    );
    let left: i64 = client.query_one(&limits, &[]).await.unwrap().get(0);
    assert_eq!(left, 0);
    for (other, post) in others.iter().zip(&posts) {
        let post = other.get(post).await;
        assert_eq!(
            (&post["like_count"], &post["comment_count"]),
            (&json!(0), &json!(0))
        );
        let me = other.get("/me").await;
        assert_eq!(
            (&me["follower_count"], &me["following_count"]),
            (&json!(0), &json!(0))
        );
    }
    // The name is free again.
    town.join("leaver").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_deleted_leaves_no_trace() {
    let database = Cluster::shared().database("social_deletion");
    leaves(&database.url()).await;
    leaves(&database.oracle_url()).await;
}
