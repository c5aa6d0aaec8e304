//! INSERT ... ON CONFLICT over shards.

use wire::Format;

use crate::setting::Both;

#[tokio::test]
async fn upserts_over_several_shards_do_what_one_server_does() {
    let mut both = Both::new("upserts").await;
    for sql in [
        "insert into users values (1, 'a', 1, 1), (2, 'b', 2, 2), (70, 'c', 3, 3) on conflict (id) do update set name = excluded.name || users.name, score = users.score + excluded.score returning id, name, score",
        "insert into users values (1, 'a'), (71, 'b'), (72, 'c') on conflict do nothing returning id",
        "insert into users (id, name) values (1, 'x'), (2, 'y'), (3, 'z') on conflict (id) do update set name = excluded.name where users.score > 2 returning id",
        "insert into users (id, name) values (4, 'x'), (5, 'y') on conflict (id) do update set id = excluded.id, name = (select name from countries where countries.id = 1)",
        "insert into posts values (1, 8, 'new', 1), (1, 9, 'new', 1) on conflict (user_id, id) do update set (body, stars) = (excluded.body, posts.stars + 1) returning *",
        "insert into users values (1, 'a'), (1, 'b') on conflict (id) do update set name = excluded.name",
    ] {
        both.query(sql).await;
    }
    both.say("bound", |client| {
        let sql = "insert into users (id, name, score) values ($1, $2, 1), ($3, $2, 2) on conflict (id) do update set score = excluded.score returning id, score";
        client.extended(sql, &["6", "n", "90"], Format::Text).sync();
    })
    .await;
}
