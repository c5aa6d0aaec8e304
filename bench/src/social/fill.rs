//! The town of `bench social`: made by PostgreSQL itself on one side, copied from there to the other.

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use tokio_postgres::Client;

use super::Options;
use crate::endpoint::Endpoint;

/// Entries of a home feed, about.
const FEED: u64 = 40;

/// Who wrote a post: few write much. The same formula as in SQL below.
pub fn author_of(post: u64, people: u64) -> u64 {
    let place = (post * 7919 % 1_000_003) as f64 / 1_000_003.0;
    (place.powf(1.5) * people as f64).floor() as u64 + 1
}

/// Each table's rows, in an order in which foreign keys hold.
const ROWS: [(&str, &str); 5] = [
    (
        "users",
        "INSERT INTO users (id, user_name, email, password_hash, name) \
         SELECT i, 'user_' || i, 'user_' || i || '@bench.example', '-', 'User ' || i FROM generate_series(1, $people) i",
    ),
    (
        "follows",
        "INSERT INTO follows (user_id, followee_id) \
         SELECT DISTINCT i, floor($people * power(random(), 3))::bigint + 1 \
         FROM generate_series(1, $people) i, generate_series(1, $follows) n; \
         DELETE FROM follows WHERE user_id = followee_id; \
         UPDATE follows SET fan_in = true WHERE followee_id IN \
         (SELECT followee_id FROM follows GROUP BY followee_id HAVING count(*) >= $many)",
    ),
    (
        "followers",
        "INSERT INTO followers (user_id, follower_id) SELECT followee_id, user_id FROM follows; \
         UPDATE users SET follower_count = c.n, fan_in = c.n >= $many \
         FROM (SELECT user_id, count(*) AS n FROM followers GROUP BY user_id) c WHERE c.user_id = users.id; \
         UPDATE users SET following_count = c.n \
         FROM (SELECT user_id, count(*) AS n FROM follows GROUP BY user_id) c WHERE c.user_id = users.id",
    ),
    (
        "posts",
        "INSERT INTO posts (author_id, id, body, fan_in, like_count, created) \
         SELECT u.id, i, 'Post ' || i || ' of ' || u.name || ': ' || repeat('what a day in this town. ', 1 + i % 8), u.fan_in, i % 50, \
         now() - ($posts - i) * interval '5 seconds' \
         FROM generate_series(1, $posts) i \
         JOIN users u ON u.id = floor(power((i::bigint * 7919 % 1000003) / 1000003.0::float8, 1.5) * $people)::bigint + 1; \
         UPDATE users SET post_count = c.n \
         FROM (SELECT author_id, count(*) AS n FROM posts GROUP BY author_id) c WHERE c.author_id = users.id",
    ),
    (
        "feed",
        "INSERT INTO feed (user_id, author_id, post_id, created) \
         SELECT f.user_id, p.author_id, p.id, p.created FROM posts p JOIN follows f ON f.followee_id = p.author_id \
         WHERE NOT p.fan_in AND p.id > $posts - $window",
    ),
];

/// Migrates both and fills both with the same.
pub async fn fill(plain: &Endpoint, cluster: &Endpoint, options: &Options) -> anyhow::Result<()> {
    for side in [plain, cluster] {
        let mut client = social_app::db::connect(&side.url()).await?;
        social_app::db::migrate::migrate(&mut client).await?;
    }
    let (plain, cluster) = (plain.connect().await?, cluster.connect().await?);
    let window = (options.people * FEED / options.follows.max(1)).min(options.posts);
    for (table, sql) in ROWS {
        eprintln!("making {table}");
        let sql = sql
            .replace("$people", &options.people.to_string())
            .replace("$follows", &options.follows.to_string())
            .replace("$posts", &options.posts.to_string())
            .replace("$window", &window.to_string())
            .replace("$many", &options.fan_in_from.to_string());
        plain
            .batch_execute(&sql)
            .await
            .with_context(|| table.to_owned())?;
    }
    for (table, _) in ROWS {
        eprintln!("copying {table}");
        copy(&plain, &cluster, table)
            .await
            .with_context(|| table.to_owned())?;
    }
    for side in [&plain, &cluster] {
        for (table, last) in [("users", options.people), ("posts", options.posts)] {
            let sql = format!("SELECT setval('{table}_id_seq', {last})");
            side.batch_execute(&sql).await?;
        }
        for (table, _) in ROWS {
            side.batch_execute(&format!("VACUUM ANALYZE {table}"))
                .await?;
        }
    }
    Ok(())
}

async fn copy(from: &Client, to: &Client, table: &str) -> anyhow::Result<()> {
    let rows = from.copy_out(&format!("COPY {table} TO STDOUT")).await?;
    let sink = to.copy_in(&format!("COPY {table} FROM STDIN")).await?;
    let (mut rows, mut sink) = (std::pin::pin!(rows), std::pin::pin!(sink));
    while let Some(chunk) = rows.next().await {
        sink.send(chunk?).await?;
    }
    sink.finish().await?;
    Ok(())
}
