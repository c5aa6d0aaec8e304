//! Unique keys that do not contain the shard key, on four shards and on one plain PostgreSQL with the same rows:
//! both take and refuse the same statements, in the same words, and have the same rows afterwards.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tests::{Both, Cluster, Database, eventually};
use tokio_postgres::error::SqlState;

const TABLE: &str = "create table people (id bigint primary key, email text unique, handle text not null, \
    born date, team int, seat int, constraint place unique (team, seat)); \
    create unique index people_handle on people (lower(handle)) where born is not null";

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

/// Every value has its entry, and every entry its row.
async fn entries_fit(database: &Database<'_>) {
    let rows = database.client().await;
    let sql = "select id::text, email, lower(handle) filter_handle, born is not null, team::text, seat::text from people";
    let sql = sql.replace("filter_handle", "as handle");
    let mut wanted = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
    for row in rows.query(&sql, &[]).await.unwrap() {
        let text = |column: usize| row.get::<_, Option<String>>(column);
        let id = text(0).unwrap();
        if let Some(email) = text(1) {
            wanted[0].insert(format!("{email}|{id}"));
        }
        if row.get::<_, bool>(3) {
            wanted[1].insert(format!("{}|{id}", text(2).unwrap()));
        }
        if let (Some(team), Some(seat)) = (text(4), text(5)) {
            wanted[2].insert(format!("{team}|{seat}|{id}"));
        }
    }
    // Keys are numbered by the order of their indexes' names.
    for (number, wanted) in [(1, &wanted[0]), (2, &wanted[1]), (3, &wanted[2])] {
        let mut found = BTreeSet::new();
        for shard in 0..4 {
            let shard = database.shard(shard).await;
            let columns = if number == 3 { "v1 || '|' || v2" } else { "v1" };
            let sql = format!("select {columns} || '|' || key from oskol.unique_{number}");
            for row in shard.query(&sql, &[]).await.unwrap() {
                assert!(
                    found.insert(row.get::<_, String>(0)),
                    "an entry is there twice"
                );
            }
            let left = "select count(*) from oskol.changes";
            let left: i64 = shard.query_one(left, &[]).await.unwrap().get(0);
            assert_eq!(left, 0, "nothing that was noted is forgotten");
        }
        assert_eq!(&found, wanted, "entries of key {number}");
    }
}

/// As pg_dump opens one: what locks tables or calls functions may note something elsewhere, and cannot here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_that_only_read_may_lock_and_call() {
    let database = database("unique_reading").await;
    let more = "create table settings (name text primary key);
        create function looked_at(text) returns int language plpgsql as 'begin return length($1); end';
        create view those as select * from settings";
    let client = database.client().await;
    client.batch_execute(more).await.unwrap();
    let oracle = database.oracle().await;
    oracle.batch_execute(more).await.unwrap();
    let mut both = Both::connect(&database).await;
    for sql in [
        "begin isolation level repeatable read, read only",
        "lock table settings in access share mode",
        "lock table people in access share mode",
        "lock table those in access share mode",
        "select looked_at('four')",
        "commit",
        "begin read only",
        "select looked_at('four')",
        "insert into people values (1, 'a', 'A')",
        "rollback",
        "begin",
        "insert into people values (1, 'a', 'A', null, 1, 1)",
        "set transaction read only",
        "select looked_at('four')",
        "insert into people values (2, 'b', 'B', null, 1, 1)",
        "rollback",
        "select count(*) from people",
    ] {
        both.query(sql).await;
    }
    entries_fit(&database).await;
}

#[tokio::test]
async fn statements_succeed_and_fail_as_on_one_postgresql() {
    let database = database("unique_words").await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "insert into people values (1, 'a', 'A', '2000-01-01', 1, 1), (2, 'b', 'B', null, 1, 2)",
        "insert into people values (3, 'a', 'C', null, null, null)",
        "insert into people values (3, 'c', 'a', '2001-01-01', 1, null)",
        "insert into people values (3, 'c', 'a', null, 1, 2)",
        "insert into people values (3, 'c', 'a', null, 1, null), (4, 'd', 'a', null, 1, null)",
        "insert into people values (5, 'e', 'e', null, 2, 1), (6, 'e', 'f', null, 2, 2)",
        "update people set email = 'b' where id = 1",
        "update people set email = 'b' where email = 'a'",
        "update people set born = '2002-02-02' where id = 4",
        "update people set email = email || '!'",
        "insert into people select id + 100, email || '?', handle, null, team + 5, seat from people",
        "insert into people select id + 200, email, handle, null, null, null from people",
        "begin",
        "insert into people values (7, 'g', 'g', null, 7, 7)",
        "savepoint s",
        "insert into people values (8, 'g', 'h', null, 8, 8)",
        "rollback to s",
        "delete from people where email = 'g'",
        "insert into people values (8, 'g', 'h', null, 8, 8)",
        "commit",
        "update people set id = 9 where email = 'g'",
        "insert into people values (10, 'g', 'i', null, null, null)",
        "insert into people values (1, 'z', 'z', null, null, null) on conflict (id) do update set email = 'g'",
        "insert into people values (1, 'z', 'z', null, null, null) on conflict (id) do update set email = 'zz'",
        "alter table people rename column email to mail",
        "insert into people values (11, 'zz', 'i', null, null, null)",
        "alter table people add column phone text unique",
        "update people set phone = 'one' where id in (1, 2)",
        "update people set phone = 'one' where id = 1",
        "update people set phone = 'one' where id = 2",
        "alter table people drop column phone",
        "alter table people drop constraint place",
        "insert into people values (12, 'twelve', 'i', null, 1, 1)",
        "alter table people add constraint place unique (team, seat)",
        "delete from people where id = 12",
        "alter table people add constraint place unique (team, seat)",
        "insert into people values (12, 'twelve', 'i', null, 1, 1)",
        "truncate people",
        "insert into people values (12, 'twelve', 'i', null, 1, 1) returning id, mail",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select * from people").await;
    for sql in [
        "insert into people values ($1, 'twelve', 'x', null, null, null)",
        "insert into people values ($1, 'thirteen', 'x', null, null, null) returning mail",
    ] {
        both.agree(sql, 1, |client| {
            client.extended(sql, &["13"], wire::Format::Text).sync();
        })
        .await;
    }
}

/// As ORMs write what has a key of its own beside the one that matters.
#[tokio::test]
async fn conflicts_are_skipped_where_only_the_new_id_may_be_elsewhere() {
    let database = Cluster::shared().database("unique_new_ids");
    let table = "create table members (id bigint generated by default as identity primary key, \
        person bigint not null, team int not null, unique (person, team))";
    let client = database.client().await;
    client.batch_execute(table).await.unwrap();
    let divide = "select oskol.shard_table('members', 'person')";
    client.batch_execute(divide).await.unwrap();
    database.oracle().await.batch_execute(table).await.unwrap();
    let mut both = Both::connect(&database).await;
    for sql in [
        "insert into members (person, team) values (1, 1), (2, 1), (3, 1) on conflict do nothing",
        "insert into members (person, team) values (1, 1), (2, 2), (3, 1), (4, 1) on conflict do nothing",
        "insert into members (person, team) select n, 1 from generate_series(1, 9) n on conflict do nothing",
        "insert into members (person, team) values (5, 1), (5, 2) on conflict do nothing returning person, team",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select person, team from members")
        .await;
    let given = "insert into members (id, person, team) values (1, 77, 7) on conflict do nothing";
    assert_eq!(client.execute(given, &[]).await.unwrap(), 0);
}

#[tokio::test]
async fn random_statements_leave_the_same_rows_and_entries() {
    let database = database("unique_random").await;
    let mut both = Both::connect(&database).await;
    let mut random = StdRng::seed_from_u64(5);
    for _ in 0..300 {
        let sql = statement(&mut random);
        let answers = both.say(1, |client| {
            client.query(&sql);
        });
        let (cluster, oracle) = answers.await;
        assert_eq!(which_is_free(cluster), which_is_free(oracle), "{sql}");
    }
    both.query_unordered("select * from people").await;
    entries_fit(&database).await;
}

/// Of several keys that a statement violates PostgreSQL names the first of its first row; a shard does not know
/// of what others find.
fn which_is_free(notes: Vec<String>) -> Vec<String> {
    let name = |note: String| match note.split_once("unique constraint") {
        Some((error, _)) => error.to_owned(),
        None => note,
    };
    notes.into_iter().map(name).collect()
}

fn statement(random: &mut StdRng) -> String {
    match random.random_range(0..10) {
        0..4 => insert(random),
        4 => format!("delete from people where id = {}", id(random)),
        5 => format!("delete from people where email = {}", word(random)),
        6 => format!(
            "update people set email = {} where id = {}",
            word(random),
            id(random)
        ),
        7 => format!(
            "update people set team = {}, seat = {} where id = {}",
            random.random_range(0..4),
            random.random_range(0..4),
            id(random)
        ),
        8 => format!(
            "update people set handle = {}, born = {} where id = {}",
            word(random),
            ["null", "'2000-01-01'"][random.random_range(0..2)],
            id(random)
        ),
        _ => format!(
            "update people set id = {} where id = {}",
            id(random),
            id(random)
        ),
    }
}

fn insert(random: &mut StdRng) -> String {
    let mut sql = "insert into people values ".to_owned();
    for row in 0..random.random_range(1..4) {
        let comma = if row == 0 { "" } else { ", " };
        let (id, email, handle) = (id(random), word(random), word(random));
        let (team, seat) = (random.random_range(0..4), random.random_range(0..4));
        let born = ["null", "'2000-01-01'"][random.random_range(0..2)];
        let email = if random.random_bool(0.2) {
            "null".to_owned()
        } else {
            email
        };
        write!(
            sql,
            "{comma}({id}, {email}, {handle}, {born}, {team}, {seat})"
        )
        .unwrap();
    }
    sql
}

fn id(random: &mut StdRng) -> i64 {
    random.random_range(1..40)
}

fn word(random: &mut StdRng) -> String {
    format!("'w{}'", random.random_range(0..30))
}

#[tokio::test]
async fn of_many_writers_of_a_value_one_gets_it() {
    let database = database("unique_crowd").await;
    let writers = (0..16).map(|writer: i64| {
        let url = database.url();
        tokio::spawn(async move {
            let client = tests::connect(&url).await.unwrap();
            let (mut made, mut random) = (0, StdRng::seed_from_u64(writer.unsigned_abs()));
            for step in 0..40 {
                let id = writer * 1000 + step;
                let (email, seat) = (random.random_range(0..60), random.random_range(0..60));
                let sql =
                    format!("insert into people values ({id}, 'e{email}', 'x', null, 1, {seat})");
                match client.batch_execute(&sql).await {
                    Ok(()) => made += 1,
                    Err(error) => {
                        assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error:?}")
                    }
                }
            }
            made
        })
    });
    let made = futures_util::future::join_all(writers).await;
    let made: i64 = made.into_iter().map(Result::unwrap).sum();
    let client = database.client().await;
    let sql = "select count(*), count(distinct email), count(distinct seat) from people";
    let row = client.query_one(sql, &[]).await.unwrap();
    let counts: [i64; 3] = [0, 1, 2].map(|column| row.get(column));
    assert_eq!(counts, [made; 3]);
    entries_fit(&database).await;
}

#[tokio::test]
async fn a_second_writer_waits_for_the_first() {
    let database = database("unique_wait").await;
    let (first, second) = (database.client().await, database.client().await);
    for (end, taken) in [("rollback", false), ("commit", true)] {
        first
            .batch_execute("begin; insert into people values (1, 'same', 'x')")
            .await
            .unwrap();
        let waiting = tokio::spawn({
            let url = database.url();
            async move {
                let client = tests::connect(&url).await.unwrap();
                client
                    .batch_execute("insert into people values (2, 'same', 'x')")
                    .await
            }
        });
        eventually("it waits", async || {
            let mut waiting = 0;
            for shard in 0..4 {
                let sql = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
                let shard = database.shard(shard).await;
                waiting += shard.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
            }
            waiting > 0
        })
        .await;
        first.batch_execute(end).await.unwrap();
        let outcome = waiting.await.unwrap();
        let code = outcome.err().and_then(|error| error.code().cloned());
        assert_eq!(code, taken.then_some(SqlState::UNIQUE_VIOLATION));
        second.batch_execute("delete from people").await.unwrap();
    }
    entries_fit(&database).await;
}

#[tokio::test]
async fn copied_rows_are_entered_and_a_table_takes_its_entries_along() {
    let database = Cluster::shared().database("unique_copy");
    let client = database.client().await;
    client.batch_execute(TABLE).await.unwrap();
    let rows = "insert into people (id, email, handle) select i, 'e' || i, 'h' from generate_series(1, 25000) i";
    client.batch_execute(rows).await.unwrap();
    let divide = "select oskol.shard_table('people', 'id')";
    client.batch_execute(divide).await.unwrap();
    let again = "insert into people (id, email, handle) values (30000, 'e17', 'h')";
    let refused = client.batch_execute(again).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::UNIQUE_VIOLATION));
    // More than one batch of changes goes and comes.
    let other = "update people set email = 'f' || (id % 25000 + 1)";
    client.batch_execute(other).await.unwrap();
    entries_fit(&database).await;
    client
        .batch_execute("select oskol.local_table('people')")
        .await
        .unwrap();
    client
        .batch_execute("select oskol.shard_table('people', 'id'); drop table people")
        .await
        .unwrap();
    for shard in 0..4 {
        let sql = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                   where n.nspname = 'oskol' and c.relname like 'unique\\__'";
        let left: i64 = database
            .shard(shard)
            .await
            .query_one(sql, &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(left, 0);
    }
}

/// What keeps a key runs with a superuser's rights: nobody else's code may run there.
#[tokio::test]
async fn a_key_calls_no_code_but_a_superusers() {
    let database = Cluster::shared().database("unique_code");
    let client = database.client().await;
    let sql = "create role unique_coder; grant create, usage on schema public to unique_coder;
        create function folded(text) returns text language sql immutable as 'select lower($1)'";
    client.batch_execute(sql).await.unwrap();
    for made in [
        "set role unique_coder",
        "create function coded(t text) returns text language plpgsql immutable as 'begin return t; end'",
        "create domain code as text check (coded(value) <> '')",
        "create table codes (id bigint primary key, handle text, kind code, plain text)",
        "select oskol.shard_table('codes', 'id')",
    ] {
        client
            .batch_execute(made)
            .await
            .unwrap_or_else(|error| panic!("{made}: {error:?}"));
    }
    for refused in [
        "(coded(handle))",
        "(plain) where coded(plain) = 'a'",
        "(kind)",
    ] {
        let sql = format!("create unique index on codes {refused}");
        let error = client.batch_execute(&sql).await.unwrap_err();
        let error = error.as_db_error().expect("an answer");
        assert_eq!(
            error.code(),
            &SqlState::FEATURE_NOT_SUPPORTED,
            "{sql}: {error:?}"
        );
        assert!(
            error.detail().unwrap().contains("[unique-key-code]"),
            "{error:?}"
        );
    }
    for taken in [
        "(folded(handle))",
        "(lower(plain))",
        "(plain) where plain <> ''",
    ] {
        let sql = format!("create unique index on codes {taken}");
        client
            .batch_execute(&sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}
