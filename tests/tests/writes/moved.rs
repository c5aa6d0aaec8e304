//! UPDATE of a shard key: the rows are on their new shards, as if they had always been there.

use tests::Cluster;
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
        "update posts p set user_id = l.post_id from likes l where l.user_id = p.user_id and l.post_id = p.id + 4 and p.id < 90",
        "update posts set (user_id, body) = (user_id + 300, 'pair ' || id) where stars = 4 and id < 60 returning user_id, body",
        "update users set id = id + 700, score = default where id between 20 and 23 returning *",
        "with w as (select max(id) as top from users) update posts set user_id = w.top + 1 from w where posts.id = 150",
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

/// A key that may not change, as others refer to it: the shards are asked to check that, one shard alone, too.
#[tokio::test]
async fn a_listed_key_that_is_referred_to_stays_on_its_shard() {
    let database = Cluster::shared().database("listed_key");
    let client = database.client().await;
    let tables = "create table places (id bigint primary key, code text unique);
        create table visits (id bigint primary key, code text references places (code));
        select oskol.shard_table('places', 'id'); select oskol.shard_table('visits', 'id');
        insert into places select n, 'c' || n from generate_series(1, 40) n";
    client.batch_execute(tables).await.unwrap();
    let mut kept = 0;
    for first in 1..=39 {
        let (second, aim) = (first + 1, 100 + first);
        let update = format!(
            "update places set id = {aim} where id in ({first}, {second}) and code = 'c{first}'"
        );
        let refused = client.batch_execute(&update).await.unwrap_err();
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.routine(), Some("shard-key-update"), "{update}");
        let same =
            format!("update places set id = {first} where id in ({first}, {first}) returning id");
        kept += client.query(&same, &[]).await.unwrap().len();
    }
    assert_eq!(kept, 39);
    let placed = "select count(*) from places where id <= 40";
    assert_eq!(
        client
            .query_one(placed, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        40
    );
}
