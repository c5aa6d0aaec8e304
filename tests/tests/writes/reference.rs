//! Reference tables: every shard's copy stays the same, whatever a statement computes.

use wire::Format;

use crate::setting::Both;

#[tokio::test]
async fn values_that_no_two_servers_agree_on_are_made_once() {
    let mut both = Both::new("mirrored").await;
    for (sql, tag) in [
        (
            "insert into countries (id, name) values (10, 'ten'), (11, 'eleven')",
            "INSERT 0 2",
        ),
        (
            "insert into countries (id, name, made, rating) values (12, random()::text, clock_timestamp(), random())",
            "INSERT 0 1",
        ),
        (
            "insert into countries (id, labels) values (13, array[random()::text, null, 'a,\"b'])",
            "INSERT 0 1",
        ),
        (
            "insert into countries (id, name) select id + 20, name from countries order by random() limit 3",
            "INSERT 0 3",
        ),
        (
            "insert into countries (id, name) values (1, 'x'), (50, 'y') on conflict do nothing",
            "INSERT 0 1",
        ),
        (
            "insert into countries (id, name) values (1, 'x'), (51, 'y') on conflict (id) do update set made = clock_timestamp(), name = excluded.name",
            "INSERT 0 2",
        ),
        (
            "update countries set made = clock_timestamp(), code = gen_random_uuid(), mood = 'gay' where id < 4",
            "UPDATE 4",
        ),
        (
            "update countries set rating = random(), labels = array[random()::text] where random() < 2",
            "UPDATE",
        ),
        (
            "update countries set name = now()::text where false",
            "UPDATE 0",
        ),
        ("delete from countries where random() < 0.5", "DELETE"),
        (
            "delete from countries where id in (select id from countries order by random() limit 1)",
            "DELETE 1",
        ),
        ("insert into rates (amount) values (1), (2)", "INSERT 0 2"),
        ("insert into rates default values", "INSERT 0 1"),
        ("update rates set made = clock_timestamp()", "UPDATE 3"),
    ] {
        let said = both.cluster_says(sql).await;
        assert!(said[0].contains(tag), "{sql}: {said:?}");
        assert_eq!(said[1], "ready I", "{sql}");
    }
}

#[tokio::test]
async fn rows_that_one_shard_makes_are_the_oracles() {
    let mut both = Both::new("mirrored_oracle").await;
    for sql in [
        "update countries set name = s.value from settings s where s.id = countries.id returning countries.id, name, labels",
        "delete from countries c where exists (select from settings where id = c.id and value = 'two') returning c.id, 1 as one",
        "insert into countries (id, name, made, code) select id + 30, value, '2020-01-01', null from settings returning id, size, name, labels, made",
        "insert into countries (id, name, made, code) values (1, 'z', 'epoch', null), (40, 'w', '2021-05-05', null)
            on conflict (id) do update set name = excluded.name || countries.id, rating = random() * 0
            where countries.name <> 'nobody' returning id, name, size",
        "update countries set rating = id, made = '2020-02-02' from (values (1), (3)) v(n) where n = id returning v.*, rating",
        "with s as (select id from settings where id > 1) update countries c set name = 'n' || (select max(s.id) from s) where c.id = 3 returning name",
        "insert into countries (id) values (1) returning name, random() < 2",
        "update countries set name = now()::text, rating = 1 / (id - id) where id = 1",
    ] {
        both.query(sql).await;
    }
    both.say("bound", |client| {
        let sql = "update countries set rating = $2::numeric + random() * 0 where id = $1 returning id, rating > 0";
        client.extended(sql, &["1", "7"], Format::Binary).sync();
    })
    .await;
    both.say("bound, text", |client| {
        let sql =
            "insert into countries (id, name, made) values ($1, $2, 'epoch') returning name, id";
        client.extended(sql, &["77", "seven"], Format::Text).sync();
    })
    .await;
}

#[tokio::test]
async fn a_merge_into_a_reference_table_is_done_on_every_shard() {
    let mut both = Both::new("mirrored_merge").await;
    both.query(
        "merge into countries c using (values (1, 'a'), (90, 'b')) v(n, word) on c.id = v.n
        when matched then update set name = word
        when not matched then insert (id, name, made, code) values (n, word, 'epoch', null)",
    )
    .await;
}

#[tokio::test]
async fn reference_tables_are_written_from_sharded_ones() {
    let mut both = Both::new("mirrored_shards").await;
    for sql in [
        "update countries set rating = (select count(*) from users where users.country = countries.id)",
        "update countries c set name = u.name from users u where u.id = c.id + 7 returning c.id, u.id, c.name",
        "update countries set rating = 7, made = '2020-01-01' where id in (select max(stars) from posts) returning id, rating, labels",
        "delete from countries where id = (select min(country) from users u join settings s on s.id = u.id) returning id",
        "delete from countries using (select country from users order by id limit 3) u where u.country = countries.id returning name",
    ] {
        both.query(sql).await;
    }
    both.say("bound", |client| {
        let sql = "update countries set name = $2 where id = (select max(stars) from posts where user_id = $1) returning id, name";
        client.extended(sql, &["8", "x"], Format::Binary).sync();
    })
    .await;
    let said = both.cluster_says("update countries set code = gen_random_uuid(), made = clock_timestamp() where id in (select stars from posts)").await;
    assert!(said[0].starts_with("complete UPDATE"), "{said:?}");
}
