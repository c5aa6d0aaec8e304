//! UPDATE of a shard key: the rows are on their new shards, as if they had always been there.

use wire::Format;

use crate::setting::Both;

#[tokio::test]
async fn rows_whose_key_is_changed_move() {
    let mut both = Both::new("moved").await;
    for sql in [
        "update posts set user_id = 6 where user_id = 5",
        "select id, user_id, body from posts where user_id = 6",
        "select id from posts where user_id = 5",
        "update posts set user_id = user_id % 10 + 100, body = body || '!' where id = 7",
        "update posts set user_id = user_id + 1000, stars = '3', body = upper(body) where id % 9 = 0 returning *",
        "update posts p set user_id = (select max(u.id) from users u where u.country = p.stars) where p.id < 20 returning p.id, p.user_id, p.stars + 1 as more",
        "update likes set user_id = post_id, weight = weight * 1.005 where post_id in (select id from posts where stars = 2)",
        "update likes set user_id = 1, post_id = 1 where user_id in (12, 23)",
        "update posts set user_id = null where id = 3",
        "update posts set user_id = 5 where false returning id",
        "update posts set user_id = 'x' where id = 3",
        "update posts set user_id = 1 / (id - id) where id = 3",
        "update users set id = id + 500 where id > 55",
        "update posts set user_id = user_id where user_id = 8",
        "select user_id, count(*), min(body) from posts group by 1 order by 1",
    ] {
        both.query(sql).await;
    }
    both.say("bound", |client| {
        let sql = "update posts set user_id = $1, body = $2 where user_id = $3 and id = $4 returning user_id, body";
        client.extended(sql, &["77", "moved", "8", "1"], Format::Binary).sync();
    })
    .await;
    both.say("the same key", |client| {
        let sql = "update posts set user_id = $1, body = $2 where id = $3";
        client
            .extended(sql, &["77", "stays", "1"], Format::Text)
            .sync();
    })
    .await;
    both.query("select user_id, body from posts where id = 1")
        .await;
}

#[tokio::test]
async fn a_move_is_undone_with_its_transaction() {
    let mut both = Both::new("moved_back").await;
    for sql in [
        "begin; update posts set user_id = 6 where user_id = 5 returning id; select id from posts where user_id = 6; rollback",
        "update likes set post_id = 1, user_id = case when user_id = 12 then 23 else user_id end where user_id in (12, 23) and post_id < 3",
        "begin; update posts set user_id = 60 - user_id where user_id < 30; update posts set user_id = 70 where user_id = 31 returning id; commit",
        "begin; update posts set user_id = 3 where id = 4; insert into posts values (4, 3); commit",
    ] {
        both.query(sql).await;
    }
}
