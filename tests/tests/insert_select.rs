//! INSERT of the rows of queries, between sharded, reference and local tables, held against one plain PostgreSQL:
//! what is answered, and what is in the tables afterwards.

use std::sync::OnceLock;

use tests::{Cluster, ClusterOptions, Database};
use tokio_postgres::{Client, SimpleQueryMessage};

const TABLES: &str = "
    create type mood as enum ('sad', 'glad');
    create table users (id int primary key, name text not null, email varchar(12));
    create table posts (id bigserial, user_id bigint not null, body text, likes int default 0, tags text[],
        made date, primary key (user_id, id));
    create table likes (user_id bigint, post_id bigint, n int default 1, primary key (user_id, post_id));
    create table tags (word varchar(6) primary key, mood mood, weight numeric(6, 2));
    create table always (id int generated always as identity primary key, note text);
    create table trees (root int, id int, parent int, primary key (root, id),
        foreign key (root, parent) references trees (root, id));
    create table events (id uuid primary key default md5(random()::text)::uuid, kind text default 'none', n int);
    create table countries (code char(2) primary key, name text);
    create table settings (name text, value int);";

const ROWS: &str = "
    insert into users select n, 'user ' || n, 'u' || n || '@x' from generate_series(1, 40) n;
    insert into posts (user_id, body, likes, tags, made)
        select 1 + n % 40, 'post ' || n, n % 7, array['a', 'b' || n % 3], date '2020-01-01' + n
        from generate_series(1, 120) n;
    insert into countries values ('de', 'Germany'), ('fr', 'France'), ('at', 'Austria');
    insert into settings values ('limit', 5), ('colour', 7), ('none', null);";

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let sharded = |name: &str, key: &str| {
            format!("[[tables]]\nname = \"{name}\"\nplacement = \"sharded\"\nkey = \"{key}\"\n\n")
        };
        let config = sharded("users", "id")
            + &sharded("posts", "user_id")
            + &sharded("likes", "user_id")
            + &sharded("tags", "word")
            + &sharded("always", "id")
            + &sharded("trees", "root")
            + &sharded("events", "id")
            + "[[tables]]\nname = \"countries\"\nplacement = \"reference\"\n";
        Cluster::start_with(ClusterOptions {
            config,
            ..ClusterOptions::default()
        })
    })
}

/// A cluster's database and a plain one with the same rows.
struct Both {
    cluster: Client,
    oracle: Client,
}

impl Both {
    async fn filled(database: &Database<'_>) -> Self {
        let both = Self {
            cluster: database.client().await,
            oracle: database.oracle().await,
        };
        for client in [&both.cluster, &both.oracle] {
            client.batch_execute(TABLES).await.unwrap();
            client.batch_execute(ROWS).await.unwrap();
        }
        both
    }

    /// Both answer alike; rows in whatever order.
    async fn same(&self, sql: &str) -> Answer {
        let cluster = answer(&self.cluster, sql).await;
        assert_eq!(cluster, answer(&self.oracle, sql).await, "{sql}");
        cluster
    }

    /// Both do the same, and have the same in `table` afterwards.
    async fn fills(&self, table: &str, sql: &str) -> Answer {
        let answer = self.same(sql).await;
        self.same(&format!("select * from {table}")).await.ok();
        answer
    }
}

/// Rows in order of their texts and a count, or an error's SQLSTATE and message.
type Answer = Result<(Vec<Vec<Option<String>>>, u64), (String, String)>;

async fn answer(client: &Client, sql: &str) -> Answer {
    let messages = client.simple_query(sql).await.map_err(|error| {
        let error = error.as_db_error().expect("an error of the server");
        (error.code().code().to_owned(), error.message().to_owned())
    })?;
    let (mut rows, mut count) = (Vec::new(), 0);
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                let texts = (0..row.len()).map(|column| row.get(column).map(str::to_owned));
                rows.push(texts.collect::<Vec<_>>());
            }
            SimpleQueryMessage::CommandComplete(complete) => count = complete,
            _ => {}
        }
    }
    rows.sort();
    Ok((rows, count))
}

#[tokio::test]
async fn every_kind_of_query_fills_every_kind_of_table() {
    let database = cluster().database("insert_select_kinds");
    let both = Both::filled(&database).await;
    for (table, sql) in [
        // Every shard by itself.
        ("likes", "insert into likes select user_id, id from posts"),
        (
            "likes",
            "insert into likes select user_id, -1, count(*) from posts group by user_id",
        ),
        // Rows that move to other shards.
        (
            "likes",
            "insert into likes (user_id, post_id) select p.id + 1000, p.user_id from posts p",
        ),
        (
            "likes",
            "insert into likes select l.user_id + 5000, l.post_id from likes l where l.user_id < 10",
        ),
        // From one shard, from reference and local tables, from none.
        (
            "likes",
            "insert into likes select id + 7000, user_id from posts where user_id = 3",
        ),
        (
            "likes",
            "insert into likes (post_id, user_id) select 1, value from settings where value > 5",
        ),
        (
            "tags",
            "insert into tags (word, weight) select code, 1.005 from countries",
        ),
        (
            "likes",
            "insert into likes select 100000 + n, n from generate_series(1, 500) n",
        ),
        (
            "users",
            "insert into users values (900, 'x', null), (901, (select name from users where id = 7), 'y')",
        ),
        (
            "users",
            "insert into users (id, name) select 910, max(name) from users",
        ),
        ("users", "insert into users table users limit 0"),
        (
            "likes",
            "insert into likes values (8000, (select value from settings where name = 'limit'))",
        ),
        // To reference and local tables.
        (
            "countries",
            "insert into countries select 'p' || likes, max(body) from posts where likes < 4 group by likes",
        ),
        (
            "settings",
            "insert into settings select name, id from users where id < 9",
        ),
        (
            "settings",
            "insert into settings select 'posts', count(*) from posts",
        ),
        (
            "settings",
            "with w as (select id from users where id > 30) insert into settings select 'with', id from w",
        ),
    ] {
        let answer = both.fills(table, sql).await;
        assert!(answer.is_ok(), "{sql}: {answer:?}");
    }
}

#[tokio::test]
async fn values_become_what_assignment_makes_of_them() {
    let database = cluster().database("insert_select_types");
    let both = Both::filled(&database).await;
    for (table, sql) in [
        (
            "posts",
            "insert into posts (id, user_id, made, tags) select id + 1000, id, '2021-05-05', '{x,y}' from users",
        ),
        (
            "posts",
            "insert into posts (id, user_id, tags) select id + 2000, likes + 0.5, tags || 'z'::text from posts where id <= 100",
        ),
        (
            "tags",
            "insert into tags (word, mood, weight) select 'm' || id, 'glad', id / 3.0 from users",
        ),
        (
            "tags",
            "insert into tags (word) select name || '     ' from (select distinct left(name, 4) || id as name from users where id < 5) s",
        ),
        (
            "tags",
            "insert into tags (word) select 12345 + id from users where id < 3",
        ),
        (
            "users",
            "insert into users (id, name) select id + 100, null from users",
        ),
        (
            "users",
            "insert into users select id + 100, name, email || ' and more' from users",
        ),
        (
            "users",
            "insert into users select null, name from users where id < 3",
        ),
        (
            "users",
            "insert into users select id + 3000000000, name from users",
        ),
        ("users", "insert into users select name from users"),
        (
            "users",
            "insert into users (id, name) select body, id from posts",
        ),
        ("likes", "insert into likes select user_id from posts"),
        ("users", "insert into users select id, name from users"),
        (
            "settings",
            "insert into settings (name, value) select name from users",
        ),
    ] {
        both.fills(table, sql).await.ok();
    }
}

#[tokio::test]
async fn rows_meet_rows_that_are_there() {
    let database = cluster().database("insert_select_conflict");
    let both = Both::filled(&database).await;
    for (table, sql) in [
        (
            "likes",
            "insert into likes select likes, id, 1 from posts on conflict do nothing",
        ),
        (
            "likes",
            "insert into likes select likes, id, 1 from posts where id < 50 on conflict (user_id, post_id) do update set n = likes.n + excluded.n",
        ),
        (
            "likes",
            "insert into likes select likes, 1, id from posts on conflict (user_id, post_id) do update set n = excluded.n",
        ),
        (
            "likes",
            "insert into likes as l select likes, id, 5 from posts on conflict (user_id, post_id) do update set n = 9 where l.n = 1 returning *",
        ),
        (
            "countries",
            "insert into countries select 'fr', min(name) from users on conflict (code) do update set name = excluded.name returning code, name",
        ),
        (
            "trees",
            "insert into trees select id % 2, id, nullif((id + 2) % 41, id % 2) from users where id < 39",
        ),
        (
            "trees",
            "insert into trees select id % 3 + 10, id, nullif(id - 3, id % 3 - 3) from users",
        ),
    ] {
        both.fills(table, sql).await.ok();
    }
}

#[tokio::test]
async fn returned_rows_come_in_the_order_of_the_query() {
    let database = cluster().database("insert_select_order");
    let client = Both::filled(&database).await.cluster;
    let sql = "insert into posts (user_id, body) select n, 'row ' || n from generate_series(1, 300) n returning user_id, id";
    let rows = client.query(sql, &[]).await.unwrap();
    let keys: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let ids: Vec<i64> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(keys, (1..=300).collect::<Vec<i64>>());
    assert!(ids.is_sorted(), "{ids:?}");
}

#[tokio::test]
async fn ids_are_given_to_rows_of_queries() {
    let database = cluster().database("insert_select_ids");
    let both = Both::filled(&database).await;
    for sql in [
        "insert into always (note) select name from users",
        "insert into always (note) select body from posts order by id limit 3",
        "insert into posts (user_id, body) select id, name from users",
    ] {
        both.same(sql).await.unwrap();
    }
    both.same("select note, count(*) from always group by note")
        .await
        .unwrap();
    let (rows, _) = both
        .same("select count(*), count(distinct id), max(id) <= 1200 from always")
        .await
        .unwrap();
    assert_eq!(rows[0][2].as_deref(), Some("t"));
    both.same("select count(*), count(distinct id) from posts")
        .await
        .unwrap();
    both.same("insert into always select 5, 'mine'")
        .await
        .unwrap_err();
    both.same("insert into always overriding system value select id - 500, name from users")
        .await
        .unwrap();
}

#[tokio::test]
async fn parameters_reach_the_query_and_what_follows_it() {
    let database = cluster().database("insert_select_parameters");
    let both = Both::filled(&database).await;
    let sql = "insert into likes select likes + $1, id, $2 from posts where id < $3
        on conflict (user_id, post_id) do update set n = $2 + $4 returning user_id, post_id, n + $4";
    for client in [&both.cluster, &both.oracle] {
        let statement = client.prepare(sql).await.unwrap();
        for _ in 0..3 {
            let rows = client
                .query(&statement, &[&3_i32, &4_i32, &60_i64, &10_i32])
                .await
                .unwrap();
            assert_eq!(rows.len(), 59);
        }
        let typed = client
            .prepare("insert into posts (user_id, made, tags) select id, $1, $2 from users where id <= $3")
            .await
            .unwrap();
        let names: Vec<_> = typed.params().iter().map(|found| found.name()).collect();
        assert_eq!(names, ["date", "_text", "int4"]);
    }
    both.same("select * from likes").await.unwrap();
}

#[tokio::test]
async fn a_transaction_reads_its_own_rows_and_takes_them_back() {
    let database = cluster().database("insert_select_transaction");
    let both = Both::filled(&database).await;
    for sql in [
        "begin",
        "insert into users values (1000, 'late', null)",
        "insert into likes select 2000 + id, id from users",
        "insert into likes select post_id, user_id from likes",
        "savepoint s",
        "insert into likes select user_id + 1, 1 from likes",
        "rollback to s",
        "select * from likes",
        "commit",
        "select * from likes",
        "begin",
        "insert into settings select name, id from users",
        "rollback",
        "select * from settings",
        // The failure of one shard's row takes back those of all.
        "insert into users select case when id = 33 then 1 else id + 100 end, name from users",
        "select count(*) from users",
    ] {
        both.same(sql).await.ok();
    }
}

#[tokio::test]
async fn a_hundred_thousand_rows_of_a_function_go_to_all_shards() {
    let database = cluster().database("insert_select_many");
    let both = Both::filled(&database).await;
    both.fills(
        "(select count(*), sum(id), count(distinct name) from users) s",
        "insert into users select 1000 + n, 'user ' || n from generate_series(1, 100000) n",
    )
    .await
    .unwrap();
    both.fills(
        "(select count(*), sum(user_id), sum(post_id) from likes) s",
        "insert into likes select id % 977, id from users",
    )
    .await
    .unwrap();
    let counts = database.rows_by_shard("users").await;
    assert!(counts.iter().all(|count| *count > 10_000), "{counts:?}");
}

#[tokio::test]
async fn explain_tells_where_rows_come_from_and_go() {
    let database = cluster().database("insert_select_explain");
    let client = Both::filled(&database).await.cluster;
    for (sql, wanted) in [
        (
            "explain insert into likes select id + 1000, user_id from posts",
            "Oskol: insert after reading, shards 0, 1, 2, 3\n  Why: rows of a query, divided by user_id\n  Query:\n    Oskol: scatter",
        ),
        (
            "explain insert into settings select 'posts', count(*) from posts",
            "Oskol: insert after reading, shard 0\n  Why: rows of a query, to the home shard\n  Query:\n    Oskol: ",
        ),
        (
            "explain insert into likes select user_id, id from posts",
            "Oskol: scatter, shards 0, 1, 2, 3\n",
        ),
        (
            "explain insert into likes select value, id from posts join settings on true",
            "Oskol: insert after reading, shards 0, 1, 2, 3\n  Why: rows of a query, divided by user_id\n  Query:\n    Oskol: gather",
        ),
    ] {
        let lines = client.query(sql, &[]).await.unwrap();
        let lines: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
        let text = lines.join("\n");
        assert!(text.starts_with(wanted), "{sql}: {text}");
    }
    let error = client
        .query(
            "explain analyze insert into likes select id, user_id from posts",
            &[],
        )
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "0A000");
}

#[tokio::test]
async fn keys_are_computed_before_rows_go_to_their_shards() {
    let database = cluster().database("insert_select_keys");
    let both = Both::filled(&database).await;
    for (table, sql) in [
        (
            "tags",
            "insert into tags (word, weight) values (lower('ABC'), 1), (upper('xyz') || '9', 2), ('plain', 3)",
        ),
        (
            "users",
            "insert into users values ((500.4 + 0.5)::numeric, 'rounded')",
        ),
        (
            "users",
            "insert into users values (length('four') + 600, 'counted') returning id",
        ),
        ("users", "insert into users values (null::int + 1, 'none')"),
        (
            "(select kind, n from events) s",
            "insert into events (n) values (1), (2), (3)",
        ),
        (
            "(select kind, n from events) s",
            "insert into events (id, n) values (default, 4)",
        ),
        (
            "(select kind, n from events) s",
            "insert into events (n, kind) select id, name from users",
        ),
        (
            "(select kind, n from events) s",
            "insert into events (kind, n) values (default, 5), ('a', default)",
        ),
    ] {
        both.fills(table, sql).await.ok();
    }
    let keys = both
        .cluster
        .query("select id::text from events", &[])
        .await
        .unwrap();
    for key in keys {
        let sql = format!(
            "select 1 from events where id = '{}'",
            key.get::<_, String>(0)
        );
        let found = both.cluster.simple_query(&sql).await.unwrap();
        assert!(matches!(found[1], SimpleQueryMessage::Row(_)), "{sql}");
    }
}
