//! ON CONFLICT over unique keys that do not contain the shard key, on four shards and on one plain PostgreSQL: the
//! row in conflict may be on any shard.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::{Both, Cluster, Database};
use tokio_postgres::error::SqlState;

const TABLE: &str = "create table people (id bigint primary key, email text unique, phone text unique, \
    code uuid, visits int not null default 1, name varchar(10), constraint codes unique (code, visits))";

async fn database(name: &str) -> Database<'static> {
    let database = Cluster::shared().database(name);
    let client = database.client().await;
    client.batch_execute(TABLE).await.unwrap();
    let divide = "select oskol.shard_table('people', 'id')";
    client.batch_execute(divide).await.unwrap();
    let oracle = database.oracle().await;
    oracle.batch_execute(TABLE).await.unwrap();
    database
}

#[tokio::test]
async fn conflicts_are_met_wherever_the_other_row_is() {
    let database = database("conflict_words").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "insert into people (id, email, phone) select i, 'e' || i, 'p' || i from generate_series(1, 12) i",
        "insert into people (id, email) values (100, 'e1') on conflict do nothing",
        "insert into people (id, email) values (101, 'e2') on conflict (email) do nothing returning id",
        "insert into people (id, email) values (102, 'new') on conflict (email) do nothing returning id, email",
        "insert into people (id, email) values (103, 'e3') on conflict (email) do update set visits = people.visits + 1 returning *",
        "insert into people (id, email) values (103, 'e3') on conflict (email) do update set visits = people.visits + 1 where people.visits > 5 returning *",
        "insert into people (id, email) values (103, 'e3'), (104, 'e4'), (105, 'other') on conflict (email) do update set visits = people.visits + excluded.id returning id, email, visits",
        "insert into people (id, email) values (103, 'e3'), (104, 'e3') on conflict (email) do update set visits = 9",
        "insert into people (id, email) values (106, 'twice'), (107, 'twice') on conflict (email) do update set visits = 9",
        "insert into people (id, email) values (106, 'twice'), (107, 'twice') on conflict (email) do nothing returning id",
        "insert into people (id, email) values (108, 'e4'), (109, 'moved') on conflict (email) do update set email = 'moved'",
        "insert into people (id, email) values (108, 'e4') on conflict (email) do update set email = 'e5'",
        "insert into people (id, email) values (108, 'e4') on conflict (email) do update set email = 'e4b' returning id, email",
        "insert into people (id, email, phone) values (1, 'e6', 'p7') on conflict (email) do update set visits = 77 returning id, visits",
        "insert into people (id, email, phone) values (1, 'free', 'p7') on conflict (email) do update set visits = 78",
        "insert into people (id, email, phone) values (200, 'free', 'p7') on conflict (email) do update set visits = 78",
        "insert into people (id, email, phone) values (200, 'free', 'p7') on conflict (phone) do update set email = excluded.email returning id, email",
        "insert into people (id, email, phone) values (201, null, 'p8') on conflict (email) do nothing",
        "insert into people (id, email, phone) values (201, lower('E8'), null) on conflict (email) do update set phone = 'low' returning id",
        "insert into people (id, code) values (300, '00000000-0000-0000-0000-00000000000A') on conflict on constraint codes do update set name = 'x' returning id",
        "insert into people (id, code) values (301, '00000000-0000-0000-0000-00000000000a') on conflict on constraint codes do update set name = 'y' returning id, name",
        "insert into people (id, code, visits) values (301, '{000000000000000000000000-0000000a}', 1), (302, '00000000-0000-0000-0000-00000000000a', 1) on conflict (visits, code) do update set name = 'z'",
        "insert into people (id, email) values (1, 'e9') on conflict (id) do update set email = 'e1x' returning email",
        "insert into people (id, email) values (1, 'e9'), (350, 'e350'), (2, 'e10') on conflict (email) do nothing returning id",
        "insert into people (id, email) values (1, 'e351') on conflict (email) do nothing",
        "begin",
        "insert into people (id, email) values (400, 'mine')",
        "insert into people (id, email) values (401, 'mine') on conflict (email) do update set visits = 5 returning id, visits",
        "savepoint s",
        "insert into people (id, email) values (402, 'mine') on conflict (email) do update set visits = 6, phone = 'p9'",
        "rollback to s",
        "insert into people (id, email) values (402, 'mine') on conflict (email) do update set visits = 6 returning visits",
        "commit",
        "insert into people (id, email, name) values (500, 'e10', 'far too long for it') on conflict (email) do nothing",
        "insert into people (id, email) values (501, 'e10') on conflict (email) do update set name = 'far too long for it'",
        "insert into people (id, email) values (502, 'nobody') on conflict (nothing) do nothing",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select * from people").await;
    for (sql, values) in [
        (
            "insert into people (id, email) values ($1, $2) on conflict (email) do update set visits = people.visits + $3 returning id, visits",
            ["600", "e11", "10"],
        ),
        (
            "insert into people (id, email, visits) values ($1, $2, $3) on conflict do nothing returning id",
            ["601", "e11", "10"],
        ),
        (
            "insert into people (id, email, visits) values ($1, $2, $3) on conflict (email) do nothing returning id",
            ["602", "e602", "10"],
        ),
    ] {
        both.agree(sql, 1, |client| {
            client.extended(sql, &values, wire::Format::Text).sync();
        })
        .await;
    }
    both.query_unordered("select * from people").await;
}

/// By nulls, by values that only a PostgreSQL can compute, and by keys that the statement itself has changed.
#[tokio::test]
async fn rows_that_the_statement_has_had_are_not_changed_twice() {
    let database = database("conflict_twice").await;
    let client = database.client().await;
    let oracle = database.oracle().await;
    let marks = "create table marks (id bigint primary key, a int, b text, n int not null default 0, \
        constraint marks_ab unique nulls not distinct (a, b))";
    client.batch_execute(marks).await.unwrap();
    oracle.batch_execute(marks).await.unwrap();
    let divide = "select oskol.shard_table('marks', 'id')";
    client.batch_execute(divide).await.unwrap();
    let mut both = Both::connect(&database).await;
    let mut id = 100;
    for (values, set) in [
        ("(null, 'x'), (null, 'x')", "n = 9"),
        ("(null, ''), (null, null), (null, '')", "n = 9"),
        ("(null, ''), (null, null)", "n = 9"),
        ("(null, null), (1, null)", "n = marks.n + 1"),
        ("(null, null), (null, null)", "n = marks.n + 1"),
        ("(null, null), (null, null)", "b = 'moved'"),
        ("(2, upper('y')), (2, upper('y'))", "n = 8"),
        ("(2, upper('z')), (2, upper('w'))", "n = 8"),
        ("(2, 'Z'), (2, 'Z')", "b = 'Q'"),
        ("(2, 'Z'), (2, 'Q')", "a = 3"),
        ("(2, 'W'), (2, 'V'), (2, 'W')", "b = 'V'"),
        ("(2, 'W'), (4, 'W'), (2, 'W'), (2, 'W')", "a = 4"),
    ] {
        // Rows of every pair of shards.
        for step in [1, 7, 11] {
            let rows: Vec<String> = values
                .split("), ")
                .map(|row| {
                    id += step;
                    format!(
                        "({id}, {}",
                        row.trim_start_matches('(').trim_end_matches(')')
                    ) + ")"
                })
                .collect();
            let sql = format!(
                "insert into marks (id, a, b) values {} on conflict on constraint marks_ab do update set {set}",
                rows.join(", ")
            );
            both.query(&sql).await;
        }
        both.query_unordered("select * from marks").await;
    }
}

#[tokio::test]
async fn ids_are_given_by_the_router_and_skipped_as_by_a_sequence() {
    let database = Cluster::shared().database("conflict_ids");
    let mut both = Both::connect(&database).await;
    let table = "create table users (id int generated always as identity primary key, email text not null unique)";
    both.query(table).await;
    let divide = "select oskol.shard_table('users', 'id')";
    database.client().await.batch_execute(divide).await.unwrap();
    for sql in [
        "insert into users (email) values ('a'), ('b'), ('c') returning email",
        "insert into users (email) values ('a'), ('d') on conflict (email) do nothing returning email",
        "insert into users (email) values ('a') on conflict (email) do update set email = 'z' returning email",
        "insert into users (email) values ('a'), ('z') on conflict (email) do update set email = excluded.email || '!' returning email",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select email from users").await;
}

#[tokio::test]
async fn rows_of_queries_and_arrays_are_tried_one_by_one() {
    let database = database("conflict_queries").await;
    let mut both = Both::connect(&database).await;
    let source = "create table source (id bigint, mail varchar(30), phone text, n numeric)";
    both.query(source).await;
    let divide = "select oskol.shard_table('source', 'id')";
    database.client().await.batch_execute(divide).await.unwrap();
    for sql in [
        "insert into people (id, email, phone) select i, 'e' || i, 'p' || i from generate_series(1, 12) i",
        "insert into source select i, 'e' || i % 20, 'q' || i, i / 2.0 from generate_series(1, 40) i",
        "insert into people (id, email) select id + 100, mail from source order by id on conflict (email) do nothing returning id, email",
        "insert into people (id, email) select 300 + id, mail from source where id < 20 order by id on conflict (email) do update set visits = people.visits + excluded.id returning id, visits",
        "insert into people (id, email) select 400 + id, mail from source order by id on conflict (email) do update set visits = 1",
        "insert into people (id, email, phone) select 500 + id, mail, phone from source order by id limit 3 on conflict (phone) do nothing",
        "insert into people (id, email, phone) select 500 + id, 'x' || mail, phone from source order by id limit 3 on conflict on constraint people_phone_key do update set phone = 'up' || excluded.id returning *",
        "insert into people (id, code, visits) select 600 + id, '00000000-0000-0000-0000-00000000000a', n from source order by id on conflict (visits, code) do update set name = 'x'",
        "insert into people (id, code, visits) select 600 + id, '00000000-0000-0000-0000-00000000000a', n + 0.1 from source where id % 2 = 0 order by id on conflict (visits, code) do update set name = 'x' returning id, visits",
        "insert into people (id, code, visits) select 700 + id, '00000000-0000-0000-0000-00000000000a', n from source where id % 2 = 0 order by id on conflict (visits, code) do update set name = 'y' returning id, visits, name",
        "insert into people select 800 + id, mail from source order by id on conflict (email) do nothing",
        "insert into people (id, email) values (901, lower('E1')), (902, 'new' || 1), (903, 'e2') on conflict (email) do update set visits = 50 + excluded.id returning id, email, visits",
        "insert into people (id, email) values (904, lower('E1')), (905, 'e' || 1) on conflict (email) do update set visits = 9",
        "insert into people (id, email) values (904, lower('E1')), (905, 'e' || 1), (906, 'e' || 3) on conflict (email) do nothing returning id",
        "insert into people (id, email) select 910, null union all select 911, null on conflict (email) do update set visits = 3 returning email",
        "insert into people (id, email) select 1, mail from source where id = 5 on conflict (email) do nothing",
        "insert into people (id, email) select 1, 'nobody' on conflict (email) do nothing",
        "insert into people (id, email) select id, mail from source where false on conflict (email) do nothing returning id",
        "with some as (select id, mail from source where id = 39) insert into people (id, email) select id + 1000, mail from some on conflict (email) do update set name = 'with' returning name, email",
        "begin",
        "insert into people (id, email) select 1100, 'mine' on conflict (email) do nothing",
        "insert into people (id, email) select 1101 + i, 'mine' || i from generate_series(0, 1) i on conflict (email) do update set visits = 5 returning id",
        "insert into people (id, email) select 1200 + i, case i when 1 then 'mine' else 'mine1' end from generate_series(1, 2) i on conflict (email) do update set visits = 6, email = excluded.email || '!' returning id, email",
        "savepoint s",
        "insert into people (id, email) select 1300 + i, 'far' from generate_series(1, 2) i on conflict (email) do update set visits = 7",
        "rollback to s",
        "insert into people (id, email) select 1300 + i, 'far' from generate_series(1, 2) i on conflict (email) do nothing returning id",
        "commit",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select * from people").await;
    let arrays = "insert into people (id, email, visits) select * from unnest(($1)::bigint[], ($2)::text[], ($3)::integer[])";
    for (rest, ids, emails) in [
        ("on conflict do nothing", "{2001,2002,2003}", "{e1,u1,e2}"),
        (
            "on conflict do nothing returning id, email",
            "{2004,2005,2006}",
            "{u1,u2,u2}",
        ),
        (
            "on conflict (email) do update set visits = excluded.visits returning id, email, visits",
            "{2007,2008,2009}",
            "{u1,e3,u3}",
        ),
        (
            "on conflict (email) do update set visits = excluded.visits",
            "{2010,2011,2012}",
            "{e4,u4,u4}",
        ),
    ] {
        let sql = format!("{arrays} {rest}");
        both.agree(&sql, 1, |client| {
            client
                .extended(&sql, &[ids, emails, "{7,8,9}"], wire::Format::Text)
                .sync();
        })
        .await;
    }
    let rows =
        "insert into people (id, email, visits) values ($1, $2, $3), ($4, $5, $3), ($6, $7, $3)";
    for rest in [
        "on conflict (email) do nothing returning id",
        "on conflict (email) do update set visits = people.visits + excluded.visits returning id, visits",
    ] {
        let sql = format!("{rows} {rest}");
        let values = ["3001", "e5", "4", "3002", "v1", "3003", "u1"];
        both.agree(&sql, 1, |client| {
            client.extended(&sql, &values, wire::Format::Text).sync();
        })
        .await;
    }
    both.query_unordered("select * from people").await;
    // Every row has its entry, and no entry is without its row.
    for sql in [
        "insert into people (id, email) select 5000 + id, email from people",
        "delete from people",
        "insert into people (id, email) select i, 'e' || i from generate_series(1, 50) i",
    ] {
        both.say(1, |client| {
            client.query(sql);
        })
        .await;
    }
    both.query("select count(*) from people").await;
}

#[tokio::test]
async fn conflicts_over_expressions_are_met() {
    let database = database("conflict_expressions").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "create unique index lowered on people (lower(name))",
        "insert into people (id, name) select i, 'Name' || i from generate_series(1, 12) i",
        "insert into people (id, name) values (101, 'NAME1') on conflict (lower(name)) do nothing returning id",
        "insert into people (id, name) values (102, 'NAME2'), (103, 'New') on conflict (lower(name)) do update set visits = 5 returning id, name, visits",
        "insert into people (id, name) values (104, 'x'), (105, 'X') on conflict (lower(name)) do update set visits = 5",
        "insert into people (id, name) select 200 + i, upper('name' || i) from generate_series(5, 8) i on conflict (lower(name)) do update set name = excluded.name returning id, name",
        "insert into people (id, name) values (300, 'name1')",
        "insert into people (id, name) values (300, 'name1') on conflict (email) do nothing",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select * from people").await;
}

#[tokio::test]
async fn what_cannot_be_exact_is_refused() {
    let database = database("conflict_refused").await;
    let client = database.client().await;
    let index = "create unique index lowered on people (lower(name))";
    client.batch_execute(index).await.unwrap();
    for sql in [
        "insert into people (id, code) select i, null from generate_series(1, 2) i on conflict on constraint codes do update set name = 'x'",
        "insert into people (id, email) values (1, 'a') on conflict (email) do update set visits = (select 1)",
    ] {
        let refused = client.batch_execute(sql).await.unwrap_err();
        let code = refused.code();
        assert_eq!(
            code,
            Some(&SqlState::FEATURE_NOT_SUPPORTED),
            "{sql}: {refused:?}"
        );
    }
    let upper = "create unique index uppered on people ((upper(name) || '!'))";
    client.batch_execute(upper).await.unwrap();
    let sql = "insert into people (id, name) values (1, 'A') on conflict ((upper(name) || '!')) do nothing";
    let refused = client.batch_execute(sql).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED));
    // Without a target every key arbitrates, that over an expression too.
    for (sql, made) in [
        (
            "insert into people (id, name) values (1, 'A') on conflict do nothing",
            1,
        ),
        (
            "insert into people (id, name) values (2, 'a') on conflict do nothing",
            0,
        ),
    ] {
        assert_eq!(client.execute(sql, &[]).await.unwrap(), made, "{sql}");
    }
}

#[tokio::test]
async fn counts_of_many_upserts_at_once_add_up() {
    let database = database("conflict_crowd").await;
    let writers = (0..16).map(|writer: i64| {
        let url = database.url();
        tokio::spawn(async move {
            let client = tests::connect(&url).await.unwrap();
            let mut random = StdRng::seed_from_u64(writer.unsigned_abs());
            for step in 0..20 {
                let id = writer * 1000 + step;
                let email = random.random_range(0..5);
                let sql = format!(
                    "insert into people (id, email) values ({id}, 'e{email}') \
                     on conflict (email) do update set visits = people.visits + 1"
                );
                client.batch_execute(&sql).await.unwrap();
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.unwrap();
    }
    let client = database.client().await;
    let sql = "select count(*), count(distinct email), sum(visits) from people";
    let row = client.query_one(sql, &[]).await.unwrap();
    let counts: [i64; 3] = [0, 1, 2].map(|column| row.get(column));
    assert_eq!(counts, [5, 5, 320]);
}

/// Routers read no dates, and no expressions: a PostgreSQL computes what the row asks for.
const DAYS: &str = "create table days (id bigint primary key, day date unique, word text, visits int not null default 1, \
    made int not null default 7); create unique index days_word on days (lower(word)); \
    create unique index days_made on days (made, visits)";

const NOTES: &str =
    "create table notes (id bigint primary key references days, day date unique, text text)";

#[tokio::test]
async fn a_conflict_elsewhere_counts_before_what_the_own_shard_refuses() {
    let database = Cluster::shared().database("conflict_first");
    let mut both = Both::connect(&database).await;
    let place = async |table: &str| {
        let place = format!("select oskol.shard_table('{table}', 'id')");
        database.client().await.batch_execute(&place).await.unwrap();
    };
    for statement in DAYS.split("; ") {
        both.query(statement).await;
    }
    place("days").await;
    both.query(NOTES).await;
    place("notes").await;
    for sql in [
        "insert into days (id, day, word, visits) select i, date '2024-01-01' + i, 'w' || i, i from generate_series(1, 12) i",
        "insert into notes select i, date '2024-01-01' + i, 'n' || i from generate_series(1, 12) i",
    ] {
        both.query(sql).await;
    }
    // Of each row of before the primary key, with the other keys of its neighbours, on whichever shard.
    for id in 1..12 {
        let next = id + 1;
        for sql in [
            format!(
                "insert into days (id, day) values ({id}, '2024-01-01'::date + {next}) on conflict (day) do nothing returning id, word"
            ),
            format!(
                "insert into days (id, day, word) values ({id}, '2024-01-01'::date + {next}, default) on conflict (day) do update set visits = days.visits + 100 returning id, visits"
            ),
            format!(
                "insert into days (id, word) values ({id}, 'W{next}') on conflict (lower(word)) do update set visits = days.visits + 200 returning *"
            ),
            format!(
                "insert into days (id, word) values ({id}, upper('W{next}')) on conflict (lower(word)) do nothing"
            ),
            format!(
                "insert into days (id, day) values ({id}, '2030-01-01') on conflict (day) do update set visits = 0"
            ),
            format!(
                "insert into days (id, day) values ({id}, '2030-01-01') on conflict (day) do nothing"
            ),
            format!(
                "insert into days (id, day, word) values (500, '2024-01-01'::date + {id}, 'x') on conflict (day) do update set word = 'w{next}'"
            ),
            format!(
                "insert into days (id, day) select {id}, '2024-01-01'::date + {next} on conflict (day) do nothing returning id"
            ),
            format!(
                "insert into days (id, day) select {id}, '2024-01-01'::date + {next} on conflict (day) do update set visits = 5 returning id, visits"
            ),
            // No such day: the shard of the note would say so.
            format!(
                "insert into notes values ({id}00, '2024-01-01'::date + {next}) on conflict (day) do nothing"
            ),
            format!(
                "insert into notes values ({id}00, '2024-01-01'::date + {next}) on conflict do nothing returning id"
            ),
            format!(
                "insert into notes values ({id}00, '2024-01-01'::date + {next}) on conflict (day) do update set text = 'met' returning *"
            ),
            format!(
                "insert into notes select {id}00, '2024-01-01'::date + {next} on conflict do nothing"
            ),
            format!("insert into notes values ({id}00, '2031-01-01') on conflict (day) do nothing"),
        ] {
            both.query(&sql).await;
        }
    }
    for (sql, values) in [
        (
            "insert into days (id, day, visits) values ($1, $2, $3) on conflict (day) do update set visits = excluded.visits returning id, visits",
            ["3", "2024-01-05", "40"],
        ),
        (
            "insert into days (id, word, visits) values ($1, upper($2), $3) on conflict (lower(word)) do update set visits = excluded.visits returning id, visits",
            ["3", "w4", "41"],
        ),
        (
            "insert into days (id, day, visits) values ($1, $2, $3) on conflict do nothing returning id",
            ["3", "2024-01-05", "42"],
        ),
    ] {
        both.agree(sql, 1, |client| {
            client.extended(sql, &values, wire::Format::Text).sync();
        })
        .await;
    }
    for sql in [
        "begin",
        "insert into days (id, day) values (3, '2024-01-06') on conflict (day) do update set word = 'in a block'",
        "insert into days (id, day) values (3, '2024-01-06') on conflict (day) do nothing",
        "savepoint s",
        "insert into days (id, day) values (3, '2032-01-06') on conflict (day) do nothing",
        "rollback to s",
        "insert into days (id, day) values (900, '2032-01-06') on conflict (day) do nothing",
        "commit",
        "begin isolation level repeatable read",
        "insert into days (id, day) values (4, '2024-01-06') on conflict (day) do update set word = 'in a snapshot' returning word",
        "insert into days (id, day) values (4, '2024-01-06') on conflict (day) do nothing",
        "commit",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select * from days").await;
    both.query_unordered("select * from notes").await;
}
