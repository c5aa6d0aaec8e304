//! Both ways of following: posts written to each follower, and those of accounts with very many that are read.

use tests::social::Town;
use tests::{Cluster, eventually};

async fn mixed(url: &str) -> Vec<String> {
    let town = Town::start(url, &["--unlimited", "--fan-in-from", "4"]).await;
    let star = town.join("star").await;
    let friend = town.join("friend").await;
    star.write("star, written").await;
    let mut fans = Vec::new();
    for number in 0..5 {
        let fan = town.join(&format!("fan{number}")).await;
        if number < 2 {
            fan.put(&format!("/people/{}/follow", friend.id)).await;
        }
        fan.put(&format!("/people/{}/follow", star.id)).await;
        fans.push(fan);
    }
    for fan in &fans {
        eventually("the older post comes", async || fan.feed().await.len() == 1).await;
    }
    // The fourth follower has made the account one that is read; the first ones are told by a job.
    let client = tests::connect(url).await.unwrap();
    eventually("all followers know", async || {
        let sql = "SELECT count(*) FROM follows WHERE followee_id = $1 AND fan_in";
        client
            .query_one(sql, &[&star.id])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 5
    })
    .await;
    star.write("star, read").await;
    friend.write("friend").await;
    star.write("star, read again").await;
    let mut feeds = Vec::new();
    for (number, fan) in fans.iter().enumerate() {
        let posts = if number < 2 { 4 } else { 3 };
        eventually("all is there", async || fan.feed().await.len() == posts).await;
        let mut cursor = String::new();
        let mut seen = Vec::new();
        loop {
            let page = fan.get(&format!("/feed?limit=1&cursor={cursor}")).await;
            seen.extend(tests::social::texts(&page, "body"));
            match page["next"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, fan.feed().await, "pages of one make up the whole");
        feeds.push(seen.join(" | "));
    }
    let written = "SELECT count(*) FROM feed f JOIN posts p ON p.author_id = f.author_id AND p.id = f.post_id WHERE p.fan_in";
    let rows: i64 = client.query_one(written, &[]).await.unwrap().get(0);
    feeds.push(format!("{rows} written, the star's own"));
    feeds
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_that_are_read_and_posts_that_were_written_mix_in_their_order() {
    let database = Cluster::shared().database("social_feeds");
    let on_cluster = mixed(&database.url()).await;
    let (with, without) = (
        "star, read again | friend | star, read | star, written",
        "star, read again | star, read | star, written",
    );
    assert_eq!(
        on_cluster,
        [
            with,
            with,
            without,
            without,
            without,
            "2 written, the star's own"
        ]
    );
    assert_eq!(mixed(&database.oracle_url()).await, on_cluster);
}
