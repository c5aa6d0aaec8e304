//! MERGE whose source is elsewhere than its target: each row of the source goes to the shard of the key it is matched by.

use wire::Format;

use crate::setting::Both;

#[tokio::test]
async fn a_source_is_divided_by_the_key_that_it_is_matched_by() {
    let mut both = Both::new("merged").await;
    for sql in [
        "merge into users u using (values (3, 'three'), (500, 'new'), (501, null), (59, 'last')) v(i, n) on u.id = v.i
            when matched then update set name = v.n when not matched and v.n is not null then insert (id, name) values (v.i, v.n)",
        "merge into users using countries c on users.id = c.id when matched and c.rating > 2 then delete when not matched then insert (id, name) values (c.id, 'c')",
        "merge into posts p using (select post_id, user_id, weight from likes where weight > 10) l on l.post_id = p.user_id and p.id = l.user_id
            when matched then update set stars = l.weight when not matched then insert (user_id, id, body) values (post_id, l.user_id, 'merged ' || weight)",
        "with w as (select country, count(*) n from users group by 1) merge into users u using w on w.country = u.id
            when matched then update set score = n when not matched then insert (id, name, score) values (w.country, 'w', w.n)",
        "merge into likes l using posts p on l.user_id = p.stars and l.post_id = p.id when not matched then insert values (p.stars, p.id, 1) when matched then do nothing",
        "merge into users u using settings s on s.id = u.id and u.score > 1 when matched then update set name = value",
        "merge into users u using (values (null::bigint, 'nobody')) v(i, n) on u.id = v.i when not matched then do nothing",
        "merge into users u using (values (null::bigint, 'nobody')) v(i, n) on u.id = v.i when not matched then insert (id, name) values (v.i, v.n)",
        "merge into users u using (values (1, 'a'), (1, 'b')) v(i, n) on u.id = v.i when matched then update set name = v.n",
        "merge into users u using (values (1.5, 'a'), (2.0, 'b')) v(i, n) on u.id = v.i when matched then update set name = v.n when not matched then insert (id, name) values (v.i + 0, v.n)",
        "merge into users u using (values (1111.0, 'a'), (2.0, 'b')) v(i, n) on u.id = v.i when matched then update set name = v.n when not matched then insert (id, name) values (v.i, v.n)",
        "merge into users u using (select 7 as i where false) v on u.id = v.i when matched then delete",
        "merge into users u using posts p on p.stars = u.id when matched then update set nosuch = 1",
    ] {
        if sql.contains("v.i + 0") {
            let said = both.cluster_says(sql).await.join("\n");
            assert!(said.contains("0A000"), "{said}");
            continue;
        }
        both.query(sql).await;
    }
    both.say("bound", |client| {
        let sql = "merge into users u using (values ($1::int8, $2), (801, $3)) v(i, n) on u.id = v.i
            when matched then update set name = v.n || $4 when not matched then insert (id, name) values (v.i, v.n)";
        client
            .extended(sql, &["4", "four", "eight", "!"], Format::Text)
            .sync();
    })
    .await;
}
