//! Queries that no shard can finish alone.

use tests::Both;
use wire::Format;

use crate::setting::database;

/// With an order of their own.
const QUERIES: &[&str] = &[
    "select p.author, p.id, l.fan from posts p join likes l on l.author = p.author and l.post = p.id order by 1, 2, 3",
    "select count(*), sum(p.score), avg(p.score) from posts p join likes l on l.author = p.author and l.post = p.id",
    "select p.word, count(distinct l.fan), array_agg(l.fan order by l.fan) from posts p left join likes l on l.author = p.author and l.post = p.id group by p.word order by p.word",
    "select author, id, row_number() over (order by score desc, author, id) from posts order by 3 limit 10",
    "select author, id, score from posts where score > (select avg(score) from posts) order by score, author, id",
    "select word from posts union select word from settings order by word",
    "select author from posts except select fan from likes where fan > 5 order by author",
    "select c.name, count(p.id) from countries c left join posts p on p.country = c.id group by c.id, c.name order by c.name nulls first",
    "with top as (select author, sum(score) s from posts group by author) select t.author, t.s, c.name from top t join countries c on c.id = t.author % 4 order by t.s desc, t.author limit 7",
    "select percentile_cont(0.5) within group (order by score), mode() within group (order by word) from posts",
    "select p.author, s.word from posts p join settings s on s.word = p.word where p.id = 1 order by 1, 2",
    "select distinct on (word) word, author, id from posts order by word, score desc, author, id",
    "select author, (select count(*) from likes l where l.author = p.author) from posts p where id = 1 order by author",
    "select author, grouping(author), count(*) from posts group by rollup (author) order by author nulls last",
    "select author from posts p where exists (select from likes l where l.author = p.author and l.fan = 3) order by author, id",
    "select count(*) from posts a join posts b on a.id = b.author",
    "select count(*) from posts a join posts b on a.id = b.author where a.author = 3",
    "select count(*) from posts where author > 1000 and id in (select post from likes)",
];

const FAILING: &[&str] = &[
    "select p.nothing from posts p join likes l on l.author = p.author",
    "select no_such_function(p.id) from posts p join likes l on l.author = p.author",
    "select sum(1 / (p.id - p.id)) from posts p join likes l on l.author = p.author",
    "select count(*) from posts p join likes l on l.author = p.author group by nothing",
    "select p.word::int from posts p join likes l on l.author = p.author where p.word = 'w1'",
];

#[tokio::test]
async fn reads_agree_with_postgresql_in_all_protocols() {
    let database = database("reads").await;
    let mut both = Both::connect(&database).await;
    for sql in QUERIES {
        both.query(sql).await;
        for format in [Format::Text, Format::Binary] {
            both.agree(sql, 1, |client| {
                client.extended(sql, &[], format).sync();
            })
            .await;
        }
    }
}

#[tokio::test]
async fn errors_are_postgresqls_own() {
    let database = database("errors").await;
    let mut both = Both::connect(&database).await;
    for sql in FAILING {
        both.query(sql).await;
        both.agree(sql, 1, |client| {
            client.extended(sql, &[], Format::Text).sync();
        })
        .await;
    }
    both.query("select count(*) from posts").await;
}

#[tokio::test]
async fn parameters_are_bound_where_they_are_used() {
    let database = database("parameters").await;
    let mut both = Both::connect(&database).await;
    let sql = "select p.author, p.id, l.fan, $3 from posts p join likes l on l.author = p.author and l.post = p.id \
               where p.score > $1::numeric and l.fan < $2 order by 1, 2, 3";
    for parameters in [["1.5", "20", "x"], ["0", "7", "it's"]] {
        both.agree(sql, 1, |client| {
            client.extended(sql, &parameters, Format::Binary).sync();
        })
        .await;
    }
    both.agree("prepared once", 3, |client| {
        client.parse("s", sql).sync();
        for parameters in [["2", "30", "a"], ["3", "9", "b"]] {
            client
                .bind("s", &parameters, Format::Text)
                .describe_portal()
                .execute(0)
                .sync();
        }
    })
    .await;
}

#[tokio::test]
async fn portals_come_in_parts_and_pipelines_in_one() {
    let database = database("parts").await;
    let mut both = Both::connect(&database).await;
    let sql = "select p.author, l.fan from posts p join likes l on l.author = p.author and l.post = p.id order by 1, 2";
    both.agree("in parts", 1, |client| {
        client.parse("", sql).bind("", &[], Format::Text);
        client.execute(5).execute(7).execute(0).sync();
    })
    .await;
    both.agree("a pipeline", 1, |client| {
        client
            .extended(
                "update posts set score = 99 where author = 7",
                &[],
                Format::Text,
            )
            .extended(
                "select max(score) from posts p join likes l on l.author = p.author",
                &[],
                Format::Text,
            )
            .extended(sql, &[], Format::Text)
            .sync();
    })
    .await;
    both.agree("several statements", 1, |client| {
        client.query(&format!(
            "insert into likes values (3, 50, 1); {sql} limit 3; select count(*) from posts p, likes l where p.author = l.author"
        ));
    })
    .await;
}

#[tokio::test]
async fn a_transaction_sees_its_own_writes() {
    let database = database("own_writes").await;
    let mut both = Both::connect(&database).await;
    let counts = "select count(*), sum(p.score), max(c.name), max(s.word) from posts p join likes l on l.author = p.author \
                  join countries c on c.id = p.country left join settings s on s.id = c.id";
    for sql in [
        "begin",
        "update posts set score = score + 1 where id = 2",
        "delete from likes where fan in (1, 2, 3, 4)",
        "update countries set name = 'Zaire' where id = 1",
        "update settings set word = 'zz' where id = 2",
        counts,
        "savepoint s",
        "insert into likes values (1000, 1, 1)",
        counts,
        "rollback to s",
        counts,
        "select 1 / (p.id - p.id) from posts p join likes l on l.author = p.author",
        counts,
        "rollback to s",
        counts,
        "commit",
        counts,
        "begin isolation level repeatable read read only",
        counts,
        "commit",
    ] {
        both.query(sql).await;
    }
}

#[tokio::test]
async fn settings_of_the_transaction_hold_in_the_finish() {
    let database = database("settings").await;
    let mut both = Both::connect(&database).await;
    let sql = "select min(make_timestamptz(2020, 1, 1, 0, 0, p.id) + l.post * interval '1 day') from posts p join likes l on l.author = p.author";
    for statement in [
        "set timezone to 'Asia/Tokyo'",
        sql,
        "begin",
        "set local timezone to 'America/Lima'",
        "set local datestyle to 'SQL, DMY'",
        sql,
        "commit",
        sql,
    ] {
        both.query(statement).await;
    }
}

#[tokio::test]
async fn the_time_is_one_for_the_whole_statement_and_transaction() {
    let database = database("time").await;
    let client = database.client().await;
    let sql = "select count(distinct now()), max(now()::text), max(current_timestamp::text) from posts p join likes l on l.author = p.author";
    client.batch_execute("begin").await.unwrap();
    let first = client.query_one(sql, &[]).await.unwrap();
    let second = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(first.get::<_, i64>(0), 1);
    assert_eq!(first.get::<_, String>(1), second.get::<_, String>(1));
    assert_eq!(first.get::<_, String>(1), first.get::<_, String>(2));
    client.batch_execute("commit").await.unwrap();
}
