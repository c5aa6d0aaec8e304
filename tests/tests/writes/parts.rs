//! WITH queries that write or lock rows on several shards, and what follows from their rows.

use wire::Format;

use crate::setting::Both;

#[tokio::test]
async fn rows_that_with_queries_give_are_read_by_the_rest() {
    let mut both = Both::new("parts_read").await;
    for sql in [
        "with gone as (delete from likes where weight > 30 returning *) select count(*), sum(weight), max(post_id) from gone",
        "with gone as (delete from likes where post_id % 7 = 3 returning user_id, post_id) select u.name, g.* from gone g join users u on u.id = g.user_id",
        "with gone as (delete from likes where post_id % 7 = 4 returning post_id as id) select p.body from posts p where p.id in (select id from gone) order by body",
        "with changed as (update users set score = score + 1 where country = 3 returning id, score, name) select * from changed order by name desc limit 3",
        "with new as (insert into users (id, name) values (900, 'x'), (901, 'y'), (902, 'z') returning id, name) select name || id from new",
        "with a as (delete from likes where user_id = 5 returning post_id), b as (update users set score = 5 where id in (select post_id from a) returning id),
            c as (insert into settings select id, 'b' from b where id > 40 returning *) select (select count(*) from a), (select count(*) from b), c.* from c",
        "with old(one, two) as (delete from posts where stars = 3 returning id, lower(body)) select two, one from old",
        "with gone as (delete from likes where post_id % 11 = 1) select count(*) from users",
        "with gone as (delete from likes where post_id % 11 = 2 returning 1) select 'nothing of it'",
        "with listed as (select id from users where country = 2), gone as (delete from posts where user_id in (select id from listed) returning id, user_id)
            select l.id, count(gone.id) from listed l left join gone on gone.user_id = l.id group by l.id",
        "with w as (update countries set name = upper(name) where id < 3 returning id, name) select w.name, u.id from w join users u on u.country = w.id and u.id < 20",
        "with w as (delete from likes where weight < 2 returning user_id / (post_id - post_id) as n) select * from w",
        "with w as (delete from likes where nosuch = 2 returning *) select * from w",
        "with w as (delete from likes where weight < 2 returning user_id) select nosuch from w",
    ] {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn rows_are_moved_from_table_to_table() {
    let mut both = Both::new("parts_moved").await;
    for sql in [
        "with d as (delete from likes where weight > 25 returning *) insert into posts (user_id, id, stars) select post_id, user_id + 1000, weight from d",
        "with d as (delete from likes where weight > 20 returning *) insert into posts (user_id, id, body) select user_id, post_id + 2000, 'moved' from d returning id, body",
        "with d as (delete from posts where stars = 4 returning id, body) insert into settings select id, body from d where id > 3 on conflict do nothing",
        "with d as (delete from likes where post_id < 20 returning *) insert into likes select user_id + 1, post_id + 5000, weight from d",
        "with d as (update posts set stars = 7 where stars = 1 returning id, user_id) update users u set score = d.id from d where u.id = d.user_id and d.id < 30 returning u.id, d.id",
        "with d as (delete from likes where post_id between 30 and 60 returning user_id) delete from posts using d where posts.user_id = d.user_id and posts.stars = 2",
        "with d as (insert into users (id, name) values (77, 'new') returning id), e as (insert into posts (user_id, id) select id, 1 from d returning *)
            insert into likes select user_id, id, 0.5 from e returning *",
        "with d as (delete from users where id = 77 returning id) insert into posts (user_id, id, body) values (1, 9000, 'apart')",
    ] {
        both.query(sql).await;
    }
    both.say("bound", |client| {
        let sql = "with d as (delete from likes where weight > $1 returning *) insert into posts (user_id, id, body) select user_id, post_id + $2, $3 from d returning *";
        client
            .extended(sql, &["10", "3000", "bound"], Format::Binary)
            .sync();
    })
    .await;
    for sql in [
        "begin; with d as (delete from likes where post_id > 100 returning *) insert into posts (user_id, id) select user_id, post_id + 7000 from d; rollback",
        "with d as (delete from likes returning *) insert into posts (user_id, id) select user_id, post_id / 0 from d",
        "with d as (delete from likes returning *) insert into posts (user_id, id) select user_id, 1 from d",
    ] {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn a_queue_is_worked_off_by_rows_locked_inside_a_write() {
    let mut both = Both::new("parts_queue").await;
    for sql in [
        "update posts set body = 'taken' where id = (select id from posts where body <> 'taken' order by stars desc, id limit 1 for update skip locked) returning id, stars",
        "delete from posts where (user_id, id) in (select user_id, id from posts order by body, id limit 3 for no key update) returning id",
        "with next as (select user_id, id from posts p where stars > 2 order by lower(body), id limit 2 for update of p nowait)
            update posts set stars = 0 from next where posts.user_id = next.user_id and posts.id = next.id returning posts.*",
    ] {
        both.query(sql).await;
        both.query(sql).await;
    }
}

#[tokio::test]
async fn parts_that_would_see_one_another_are_refused() {
    let mut both = Both::new("parts_refused").await;
    for sql in [
        "with d as (delete from likes where weight > 3 returning *) select count(*), (select count(*) from likes) from d",
        "with d as (update posts set stars = 3 where stars = 2 returning id) update posts set stars = 9 where id in (select id + 1 from d)",
        "with d as (delete from likes where weight > 3 returning post_id) insert into likes select 1, post_id from d on conflict do nothing",
    ] {
        let said = both.cluster_says(sql).await.join("\n");
        assert!(said.contains("0A000"), "{sql}: {said}");
    }
}

#[tokio::test]
async fn explain_tells_the_parts() {
    let mut both = Both::new("parts_explained").await;
    let sql = "explain with d as (delete from likes where weight > 3 returning *) insert into posts (user_id, id) select user_id, post_id from d";
    let said = both.cluster_says(sql).await.join("\n");
    for word in ["Oskol: in parts", "Part d:", "Rest: "] {
        assert!(said.contains(word), "{said}");
    }
}
