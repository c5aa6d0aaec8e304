//! Writes that read what is on other shards.

use wire::Format;

use crate::setting::Both;

#[tokio::test]
async fn rows_are_changed_by_what_is_on_other_shards() {
    let mut both = Both::new("carried_update").await;
    for sql in [
        "update posts set stars = (select count(*) from likes where likes.post_id = posts.id)",
        "update posts p set stars = stars + l.n from (select post_id, count(*) n from likes group by 1) l where l.post_id = p.id returning p.*, l.n",
        "update users set score = (select max(score) from users) where id % 3 = 0 returning id, score",
        "update users u set score = score + n from (select country, count(*) n from users group by country) c where c.country = u.country",
        "update users set name = s.value || users.name from settings s where s.id = users.id returning name",
        "update users u set name = c.name || u.id from countries c, posts p where c.id = u.country and p.id = u.id returning u.id, c.labels, u.name",
        "update posts set body = 'liked' where id in (select post_id from likes where weight > 20) and user_id in (1, 2, 3, 8)",
        "update posts p set body = 'x' from likes l join users u on u.id = l.user_id where l.post_id = p.id and p.user_id = 8 and u.country = 1 returning p.id, u.name",
        "with top as (select user_id, sum(weight) w from likes group by 1 order by 2 desc, 1 limit 5) update users set score = 1000 + w from top where top.user_id <> id and users.id = top.user_id + 1 returning id, score",
        "update users set (score, name) = (select count(*), 'n' || max(body) from posts where stars = users.country)",
        "update users set score = 1 / (select count(*) from likes where false)",
        "update users set nosuch = (select max(id) from posts)",
        "update users set score = -1 where exists (select from posts p join likes l on l.post_id = p.id where l.user_id = users.id and p.user_id <> users.id) returning id",
    ] {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn rows_are_deleted_by_what_is_on_other_shards() {
    let mut both = Both::new("carried_delete").await;
    for sql in [
        "delete from posts where id in (select id from posts order by id desc limit 7) returning id, body",
        "delete from posts using likes l where l.post_id = posts.id and l.user_id = 12 returning posts.id, l.weight",
        "delete from users u where not exists (select from posts p where p.id = u.id) returning id",
        "delete from likes where post_id not in (select id from posts)",
        "delete from users where name in (select 'user ' || id from settings)",
        "delete from likes l using users u, countries c where u.id = l.post_id and c.id = u.country and c.rating > 1 returning l.*, c.name",
        "delete from posts where stars > (select avg(stars) from posts)",
    ] {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn local_tables_are_written_from_sharded_ones() {
    let mut both = Both::new("carried_home").await;
    for sql in [
        "update settings set value = (select count(*) from posts)::text",
        "update settings s set value = u.name from users u where u.id = s.id and u.score >= 0 returning s.*, u.id",
        "delete from settings where id in (select country from users where id = 1) returning *",
        "merge into settings s using (select country, count(*) n from users group by 1) u on u.country = s.id
            when matched then update set value = n::text when not matched then insert values (country, 'new ' || n)",
    ] {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn parameters_and_transactions_are_followed() {
    let mut both = Both::new("carried_bound").await;
    for format in [Format::Text, Format::Binary] {
        both.say("bound", |client| {
            let sql = "update posts p set stars = stars + $2 from likes l where l.post_id = p.id and l.user_id = $1 returning p.id, l.weight";
            client.extended(sql, &["12", "3"], format).sync();
        })
        .await;
    }
    both.say("one key", |client| {
        let sql = "delete from posts where user_id = $1 and id in (select post_id from likes where weight > $2::int4)";
        client.extended(sql, &["8", "1"], Format::Text).sync();
    })
    .await;
    for sql in [
        "begin; update likes set weight = 99 where user_id = 12; update posts set body = 'w' where id in (select post_id from likes where weight = 99) returning id; commit",
        "begin; delete from likes where post_id in (select id from posts where stars = 1); rollback",
        "delete from likes where post_id in (select id from posts where stars = 2); delete from users where id in (select user_id / 0 from posts)",
    ] {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn a_merge_is_carried_out_by_the_shards_of_its_target() {
    let mut both = Both::new("carried_merge").await;
    for sql in [
        "merge into posts p using likes l on p.user_id = l.user_id and p.id = l.post_id
            when matched then update set body = 'both' when not matched then insert (user_id, id, stars) values (l.user_id, l.post_id, 9)",
        "merge into posts p using (select post_id, sum(weight) w from likes group by 1) l on p.id = l.post_id
            when matched and w > 20 then delete when matched then update set stars = w",
        "merge into users u using settings s on u.id = s.id when matched then update set name = s.value",
        "merge into users u using countries c on u.id = c.id when matched and c.rating > 2 then delete when matched then do nothing",
    ] {
        both.query(sql).await;
    }
}
