//! INSERT over four shards: rows where their keys belong, ids that are given once, RETURNING in the order of the
//! client's rows; held against one plain PostgreSQL.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use tests::{Cluster, ClusterOptions, Database};
use tokio_postgres::{Client, SimpleQueryMessage};

const TABLES: &str = "
    create table users (id serial primary key, name text not null);
    create table posts (id bigserial, user_id bigint not null, body text, likes int default 0,
        primary key (user_id, id));
    create table always (id int generated always as identity, owner text not null, note text);
    create table countries (id serial primary key, name text);";

/// Where tables go, by rules of the configuration: one cluster for all tests.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let sharded = |name: &str, key: &str| {
            format!("[[tables]]\nname = \"{name}\"\nplacement = \"sharded\"\nkey = \"{key}\"\n\n")
        };
        let config = sharded("users", "id")
            + &sharded("posts", "user_id")
            + &sharded("always", "owner")
            + "[[tables]]\nname = \"countries\"\nplacement = \"reference\"\n";
        Cluster::start_with(ClusterOptions {
            config,
            ..ClusterOptions::default()
        })
    })
}

async fn tables(database: &Database<'_>) -> Client {
    let client = database.client().await;
    client.batch_execute(TABLES).await.unwrap();
    client
}

async fn on_oracle(database: &Database<'_>) -> Client {
    let oracle = database.oracle().await;
    oracle.batch_execute(TABLES).await.unwrap();
    oracle
}

/// A statement's rows as text, and its command's count.
async fn simple(client: &Client, sql: &str) -> (Vec<Vec<Option<String>>>, u64) {
    let messages = client.simple_query(sql).await;
    let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let (mut rows, mut count) = (Vec::new(), 0);
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => rows.push(
                (0..row.len())
                    .map(|column| row.get(column).map(str::to_owned))
                    .collect(),
            ),
            SimpleQueryMessage::CommandComplete(rows) => count = rows,
            _ => {}
        }
    }
    (rows, count)
}

fn values(count: i64) -> String {
    let rows: Vec<_> = (0..count).map(|n| format!("({n}, 'post {n}')")).collect();
    rows.join(", ")
}

async fn all_shards_have_rows(database: &Database<'_>, table: &str) {
    let counts = database.rows_by_shard(table).await;
    assert!(counts.iter().all(|count| *count > 0), "{table}: {counts:?}");
}

#[tokio::test]
async fn many_rows_go_to_their_shards_and_come_back_in_order() {
    let database = cluster().database("insert_order");
    let client = tables(&database).await;
    let sql = format!(
        "insert into posts (user_id, body) values {} returning user_id, body, likes",
        values(1000)
    );
    let (rows, count) = simple(&client, &sql).await;
    let oracle = on_oracle(&database).await;
    assert_eq!((rows, count), simple(&oracle, &sql).await);
    all_shards_have_rows(&database, "posts").await;
    let (ids, _) = simple(&client, "select id from posts").await;
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), 1000);
}

#[tokio::test]
async fn ids_are_unique_on_every_path() {
    let database = cluster().database("insert_ids");
    let client = tables(&database).await;
    let one = client
        .prepare("insert into users (name) values ($1) returning id, name")
        .await
        .unwrap();
    assert_eq!(one.params().len(), 1);
    let mut ids = BTreeSet::new();
    for n in 0..20 {
        let row = client.query_one(&one, &[&format!("a{n}")]).await.unwrap();
        assert_eq!(row.get::<_, String>(1), format!("a{n}"));
        ids.insert(row.get::<_, i32>(0));
    }
    for sql in [
        "insert into users (name) values ('b') returning id",
        "insert into users (name) values ('b'), ('c'), ('d'), ('e'), ('f') returning id",
        "insert into users values (default, 'x'), (default, 'y') returning id",
        "insert into users (id, name) values (nextval('users_id_seq'), 'z') returning id",
    ] {
        for row in simple(&client, sql).await.0 {
            let id = row[0].as_ref().unwrap().parse().unwrap();
            assert!(ids.insert(id), "{id} was given twice, by {sql}");
        }
    }
    let next: i64 = client
        .query_one("select nextval('users_id_seq')", &[])
        .await
        .unwrap()
        .get(0);
    assert!(!ids.contains(&i32::try_from(next).unwrap()));
    assert_eq!(ids.len(), 29);
    all_shards_have_rows(&database, "users").await;
}

#[tokio::test]
async fn parameters_of_many_rows_are_divided_with_them() {
    let database = cluster().database("insert_parameters");
    let client = tables(&database).await;
    let oracle = on_oracle(&database).await;
    let sql = "insert into posts (user_id, body, likes) values ($1, $2, $3), ($4, $5, $3), ($6, upper($5), $3 + 1)
        returning user_id, body, likes";
    for client in [&client, &oracle] {
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&1_i64, &"a", &7_i32, &2_i64, &"b", &3_i64];
        let rows = client.query(sql, &parameters).await.unwrap();
        let rows: Vec<(i64, String, i32)> = rows
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect();
        let expected = [(1, "a", 7), (2, "b", 7), (3, "B", 8)];
        assert_eq!(
            rows,
            expected.map(|(user, body, likes)| (user, body.to_owned(), likes))
        );
    }
}

#[tokio::test]
async fn one_failing_row_takes_all_back_and_gives_one_error() {
    let database = cluster().database("insert_fails");
    let client = tables(&database).await;
    let sql = format!(
        "insert into posts (user_id, body, likes) values {}, (77, 'bad', 1/(77-77))",
        values(50).replace(')', ", 1)")
    );
    let error = client.batch_execute(&sql).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22012");
    assert_eq!(database.rows_by_shard("posts").await, [0, 0, 0, 0]);
    client.batch_execute("select 1").await.unwrap();
    client.batch_execute("begin").await.unwrap();
    client.batch_execute(&sql).await.unwrap_err();
    let error = client.batch_execute("select 1").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25P02");
    client.batch_execute("rollback").await.unwrap();
    client.batch_execute("select 1").await.unwrap();
}

#[tokio::test]
async fn rows_inside_a_transaction_are_committed_with_it() {
    let database = cluster().database("insert_transaction");
    let mut client = tables(&database).await;
    let sql = format!("insert into posts (user_id, body) values {}", values(100));
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute(&sql).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(database.rows_by_shard("posts").await, [0, 0, 0, 0]);
    let transaction = client.transaction().await.unwrap();
    assert_eq!(transaction.execute(&sql, &[]).await.unwrap(), 100);
    transaction.commit().await.unwrap();
    assert_eq!(
        database.rows_by_shard("posts").await.iter().sum::<i64>(),
        100
    );
}

#[tokio::test]
async fn generated_always_and_reference_tables_get_ids() {
    let database = cluster().database("insert_always");
    let client = tables(&database).await;
    let (rows, _) = simple(
        &client,
        "insert into always (owner, note) values ('ann', 'x'), ('bob', 'y'), ('cid', 'z'), ('dan', null)
            returning owner, id",
    )
    .await;
    let owners: Vec<_> = rows.iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(owners, ["ann", "bob", "cid", "dan"]);
    let error = client
        .batch_execute("insert into always (id, owner) values (1, 'eve')")
        .await
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "428C9");
    let statement = client
        .prepare("insert into countries (name) values ($1), ($2) returning id")
        .await
        .unwrap();
    let rows = client
        .query(&statement, &[&"Chile", &"Peru"])
        .await
        .unwrap();
    let here: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let rows = shard
            .query("select id from countries order by name", &[])
            .await
            .unwrap();
        let there: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(there, here);
    }
}

#[tokio::test]
async fn sequence_functions_answer_as_postgresql() {
    let database = cluster().database("insert_sequences");
    let client = tables(&database).await;
    for (sql, message) in [
        (
            "select currval('users_id_seq')",
            "currval of sequence \"users_id_seq\" is not yet defined in this session",
        ),
        (
            "select lastval()",
            "lastval is not yet defined in this session",
        ),
    ] {
        let error = client.query_one(sql, &[]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.message()), ("55000", message));
    }
    let row = client
        .query_one("insert into users (name) values ('a') returning id", &[])
        .await
        .unwrap();
    let id = i64::from(row.get::<_, i32>(0));
    for sql in [
        "select currval('users_id_seq')",
        "select lastval()",
        "select currval(pg_get_serial_sequence('users', 'id'))",
    ] {
        assert_eq!(
            client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0),
            id
        );
        assert_eq!(simple(&client, sql).await.0, [[Some(id.to_string())]]);
    }
    let set = "select setval('users_id_seq', 500)";
    assert_eq!(simple(&client, set).await.0, [[Some("500".to_owned())]]);
    let row = client
        .query_one("insert into users (name) values ('b') returning id", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 501);
    client
        .batch_execute("insert into users (id, name) values (900, 'c'), (901, 'd'), (902, 'e')")
        .await
        .unwrap();
    let from_max =
        "select setval(pg_get_serial_sequence('\"users\"','id'), coalesce(max(\"id\"), 1),
        max(\"id\") IS NOT null) FROM \"users\"";
    assert_eq!(
        simple(&client, from_max).await.0,
        [[Some("902".to_owned())]]
    );
    let next = client
        .query_one("select nextval('users_id_seq')", &[])
        .await
        .unwrap();
    assert_eq!(next.get::<_, i64>(0), 903);
}

#[tokio::test]
async fn on_conflict_counts_and_returns_what_was_inserted() {
    let database = cluster().database("insert_conflict");
    let client = tables(&database).await;
    let oracle = on_oracle(&database).await;
    let sql = "insert into posts (id, user_id, body) values (1, 1, 'a'), (1, 2, 'b'), (1, 3, 'c'), (1, 4, 'd')
        on conflict (user_id, id) do nothing returning user_id";
    for client in [&client, &oracle] {
        client
            .batch_execute("insert into posts (id, user_id, body) values (1, 2, 'old')")
            .await
            .unwrap();
    }
    let (mut rows, count) = simple(&client, sql).await;
    rows.sort();
    assert_eq!((rows, count), simple(&oracle, sql).await);
}

#[tokio::test]
async fn arrays_are_divided_by_row() {
    let database = cluster().database("insert_unnest");
    let client = tables(&database).await;
    let oracle = on_oracle(&database).await;
    for sql in [
        r#"INSERT INTO "posts" ("user_id", "body", "likes") SELECT * FROM UNNEST(
            ('{1,2,3,4,5,6,7,8}'::int2[])::bigint[], ('{a,"b, c",NULL,"d\"e","{f}",g h,"",null}')::text[],
            ('{1,2,3,4,5,6,7}'::int4[])::integer[]) RETURNING "posts"."user_id", "body", "likes""#,
        "insert into posts (user_id, body) select * from unnest('{9}'::int8[], E'{\"it\\'s\"}'::text[]) as t
            returning user_id, body",
        "insert into posts (user_id) select * from unnest('{}'::int8[]) returning user_id",
        "insert into posts (user_id) select * from unnest('{11,12,13,14}'::int8[])",
    ] {
        assert_eq!(simple(&client, sql).await, simple(&oracle, sql).await, "{sql}");
    }
    let sql = "insert into posts (user_id, body) select * from unnest($1::int8[], $2::text[]) returning user_id, body";
    let users: Vec<i64> = (100..1100).collect();
    let bodies: Vec<Option<String>> = users
        .iter()
        .map(|n| (n % 7 > 0).then(|| format!("{n}")))
        .collect();
    let rows = client.query(sql, &[&users, &bodies]).await.unwrap();
    let got: Vec<(i64, Option<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected: Vec<_> = users.iter().copied().zip(bodies).collect();
    assert_eq!(got, expected);
    all_shards_have_rows(&database, "posts").await;
    let names: Vec<String> = (0..100).map(|n| format!("name {n}")).collect();
    let statement = client
        .prepare("insert into users (name) select * from unnest($1::text[]) returning id, name")
        .await
        .unwrap();
    assert_eq!(statement.params().len(), 1);
    let rows = client.query(&statement, &[&names]).await.unwrap();
    let returned: Vec<String> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(returned, names);
    let ids: BTreeSet<i32> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(ids.len(), 100);
    all_shards_have_rows(&database, "users").await;
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let rows = shard.query("select id from users", &[]).await.unwrap();
        for row in rows {
            let id: i32 = row.get(0);
            let found = client
                .query("select name from users where id = $1", &[&id])
                .await
                .unwrap();
            assert_eq!(found.len(), 1, "row {id} is where its key is not");
        }
    }
}

#[tokio::test]
async fn arrays_that_cannot_be_divided_are_refused() {
    let database = cluster().database("insert_unnest_refused");
    let client = tables(&database).await;
    for (arrays, code) in [
        ("'{{1,2},{3,4}}'::int8[]", "0A000"),
        ("'[0:1]={1,2}'::int8[]", "0A000"),
        ("'{1,x}'::int8[]", "22P02"),
        ("'{1,NULL}'::int8[]", "23502"),
        ("'{1,99999}'::int2[]::int8[]", "22003"),
    ] {
        let sql = format!("insert into posts (user_id) select * from unnest({arrays})");
        let error = client.batch_execute(&sql).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), code, "{sql}");
    }
    assert_eq!(database.rows_by_shard("posts").await, [0, 0, 0, 0]);
    // Of another type than the key's: PostgreSQL converts first.
    let sql = "insert into posts (user_id) select * from unnest('{1.5,2}'::numeric[])";
    client.batch_execute(sql).await.unwrap();
    let found = client
        .query("select 1 from posts where user_id = 2", &[])
        .await;
    assert_eq!(found.unwrap().len(), 2);
}

/// Ids that were leased from the old one's sequence are not the new one's.
#[tokio::test]
async fn a_database_made_anew_under_an_old_name_has_its_own_ids() {
    let admin = cluster().client().await;
    for _ in 0..2 {
        admin.batch_execute("create database again").await.unwrap();
        let client = tests::connect(&cluster().url_of("again")).await.unwrap();
        let table = "create table notes (id bigint generated by default as identity, user_id bigint not null); \
            select oskol.shard_table('notes', 'user_id')";
        client.batch_execute(table).await.unwrap();
        for expected in 1..=3i64 {
            let sql = "insert into notes (user_id) values ($1) returning id";
            let row = client.query_one(sql, &[&expected]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), expected);
        }
        drop(client);
        tests::eventually("the database is dropped", async || {
            admin
                .batch_execute("drop database again with (force)")
                .await
                .is_ok()
        })
        .await;
    }
}
