//! Unique keys that do not contain the shard key and are checked, or made, later: deferrable ones, and those that are made
//! while their table is written to (CREATE UNIQUE INDEX CONCURRENTLY). On four shards and on one plain PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use tests::{Both, Cluster, Database};
use tokio_postgres::error::SqlState;

async fn database(name: &str, table: &str) -> Database<'static> {
    let database = Cluster::shared().database(name);
    let client = database.client().await;
    client.batch_execute(table).await.unwrap();
    let divide = "select oskol.shard_table('people', 'id')";
    client.batch_execute(divide).await.unwrap();
    database.oracle().await.batch_execute(table).await.unwrap();
    database
}

/// The values of key `number` and the rows they belong to, and nothing that was noted and forgotten.
async fn entries(database: &Database<'_>, number: u32) -> Vec<String> {
    let mut entries = Vec::new();
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let sql = format!("select v1 || '|' || key from oskol.unique_{number}");
        let rows = shard.query(&sql, &[]).await.unwrap();
        entries.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        let left = "select count(*) from oskol.changes";
        let left: i64 = shard.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "nothing that was noted is forgotten");
    }
    entries.sort();
    entries
}

async fn rows(database: &Database<'_>) -> Vec<String> {
    let sql = "select email || '|' || id from people where email is not null";
    let rows = database.client().await.query(sql, &[]).await.unwrap();
    let mut rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    rows.sort();
    rows
}

const DEFERRABLE: &str = "create table people (id bigint primary key, email text, phone text, name text unique, \
    constraint late unique (email) deferrable initially deferred, \
    constraint soon unique (phone) deferrable initially immediate)";

#[tokio::test]
async fn deferrable_keys_are_checked_when_they_are_due() {
    let database = database("later_due", DEFERRABLE).await;
    let mut both = Both::connect(&database).await;
    for sql in [
        "insert into people select i, 'e' || i, 'p' || i, 'n' || i from generate_series(1, 12) i",
        "insert into people values (20, 'e1')",
        "insert into people values (20, 'x', 'p1')",
        "update people set email = case id when 1 then 'e2' when 2 then 'e1' else email end where id < 3",
        "update people set phone = case id when 1 then 'p2' when 2 then 'p1' else phone end where id < 3",
        "update people set email = 'e3' where id = 1",
        "begin",
        "insert into people values (21, 'e3', 'q1')",
        "select id from people where email = 'e3' order by id",
        "insert into people values (22, 'z', 'p3')",
        "rollback",
        "begin",
        "insert into people values (21, 'e3', 'q1')",
        "update people set email = 'e3b' where id = 3",
        "commit",
        "begin",
        "insert into people values (23, 'e4')",
        "commit",
        "begin",
        "insert into people values (23, 'e4'), (24, 'e5')",
        "delete from people where id = 4",
        "delete from people where email = 'e5' and id = 24",
        "commit",
        "begin",
        "insert into people values (25, 'gone')",
        "update people set email = 'gone2' where id = 25",
        "update people set email = 'e6' where id = 25",
        "delete from people where id = 25",
        "insert into people values (26, 'gone')",
        "commit",
        "insert into people values (27, 'gone2')",
        "begin",
        "set constraints late immediate",
        "insert into people values (28, 'e7')",
        "rollback",
        "begin",
        "insert into people values (28, 'e7')",
        "set constraints late immediate",
        "rollback",
        "begin",
        "set constraints all deferred",
        "insert into people values (28, 'e8b', 'p8')",
        "update people set phone = 'p8b' where id = 8",
        "set constraints soon immediate",
        "insert into people values (29, 'e9b', 'p9')",
        "rollback",
        "begin",
        "savepoint s",
        "insert into people values (30, 'e9')",
        "rollback to s",
        "insert into people values (30, 'e9c')",
        "commit",
        "insert into people values (31, 'e9') on conflict do nothing",
        "insert into people values (31, 'y', null, 'n9') on conflict do nothing",
        "insert into people values (31, 'e9') on conflict (email) do nothing",
        "insert into people values (31, 'e9') on conflict on constraint late do nothing",
        "begin; insert into people values (40, 'e10'); delete from people where id = 10; commit",
        "alter table people add constraint later unique (id, name) deferrable",
        "truncate people",
        "insert into people values (50, 'e1', 'p1')",
        "insert into people values (51, 'e1', 'p2')",
        "alter table people drop constraint late",
        "insert into people values (51, 'e1', 'p2')",
    ] {
        both.query(sql).await;
    }
    both.query_unordered("select * from people").await;
}

#[tokio::test]
async fn entries_follow_what_deferrable_keys_come_to() {
    let database = database("later_entries", DEFERRABLE).await;
    let client = database.client().await;
    for sql in [
        "insert into people select i, 'e' || i from generate_series(1, 40) i",
        "update people set email = 'e' || (id % 40 + 1)",
        "begin; update people set email = email || 'x' where id < 20; update people set email = left(email, -1) where id < 10; \
         delete from people where id = 5; insert into people values (5, 'back'); commit",
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let late = "select number from oskol.unique_keys u where u.index = 'late'::regclass";
    let number: i32 = client.query_one(late, &[]).await.unwrap().get(0);
    assert_eq!(
        entries(&database, number.unsigned_abs()).await,
        rows(&database).await
    );
    // What tools see are the user's constraints only.
    let triggers = "select count(*) from pg_trigger where not tgisinternal";
    let shown: i64 = client.query_one(triggers, &[]).await.unwrap().get(0);
    assert_eq!(shown, 0);
}

/// More changes than are read at a time.
#[tokio::test]
async fn many_deferred_changes_of_the_same_rows_come_to_one() {
    let database = database("later_many", DEFERRABLE).await;
    let client = database.client().await;
    let sql = "begin; \
        insert into people select i, 'a' || i from generate_series(1, 12000) i; \
        update people set email = 'b' || id; \
        delete from people where id > 50; \
        insert into people select i, 'a' || i from generate_series(51, 12000) i; \
        delete from people where id > 100; \
        commit";
    client.batch_execute(sql).await.unwrap();
    let late = "select number from oskol.unique_keys u where u.index = 'late'::regclass";
    let number: i32 = client.query_one(late, &[]).await.unwrap().get(0);
    let found = entries(&database, number.unsigned_abs()).await;
    assert_eq!(found, rows(&database).await);
    assert_eq!(found.len(), 100);
}

const PLAIN: &str = "create table people (id bigint primary key, email text, name text, visits int not null default 0)";

#[tokio::test]
async fn an_index_is_made_while_its_table_is_written_to() {
    let database = database("later_index", PLAIN).await;
    let client = database.client().await;
    let fill =
        "insert into people select i, 'e' || i, repeat('x', 200) from generate_series(1, 6000) i";
    client.batch_execute(fill).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicI64::new(0));
    let writers: Vec<_> = (0..3_i64)
        .map(|writer| {
            let (url, stop, written) = (database.url(), Arc::clone(&stop), Arc::clone(&written));
            tokio::spawn(async move {
                let client = tests::connect(&url).await.unwrap();
                let mut step = 0_i64;
                while !stop.load(Ordering::Relaxed) {
                    step += 1;
                    let (id, new) = (
                        1 + (step * 37 + writer * 11) % 6000,
                        10_000 * (writer + 1) + step,
                    );
                    for sql in [
                        format!("update people set visits = visits + 1 where id = {id}"),
                        format!("update people set email = 'w{writer}-{step}' where id = {id}"),
                        format!("insert into people values ({new}, 'n{new}')"),
                        format!("delete from people where id = {}", new - 3),
                    ] {
                        client
                            .batch_execute(&sql)
                            .await
                            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    // A transaction that has written holds the index up, and nobody else.
    let mut holder = database.client().await;
    let open = holder.transaction().await.unwrap();
    let sql = "insert into people values (900000, 'holder')";
    open.batch_execute(sql).await.unwrap();
    let making = tokio::spawn({
        let url = database.url();
        async move {
            let client = tests::connect(&url).await.unwrap();
            let sql = "create unique index concurrently people_email on people (email)";
            client.batch_execute(sql).await
        }
    });
    let before = written.load(Ordering::Relaxed);
    tests::eventually("writers go on", || {
        let written = Arc::clone(&written);
        async move { written.load(Ordering::Relaxed) > before + 100 }
    })
    .await;
    open.commit().await.unwrap();
    making.await.unwrap().unwrap();
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(entries(&database, 1).await, rows(&database).await);
    let valid =
        "select bool_and(indisvalid) from pg_index where indexrelid = 'people_email'::regclass";
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let valid: bool = shard.query_one(valid, &[]).await.unwrap().get(0);
        assert!(valid);
    }
    let twice = client
        .batch_execute("insert into people values (900001, 'holder')")
        .await
        .unwrap_err();
    assert_eq!(twice.code(), Some(&SqlState::UNIQUE_VIOLATION));
    client
        .batch_execute("drop index concurrently people_email")
        .await
        .unwrap();
    client
        .batch_execute("insert into people values (900001, 'holder')")
        .await
        .unwrap();
    let left = "select count(*) from oskol.unique_keys";
    for shard in 0..4 {
        let shard = database.shard(shard).await;
        let left: i64 = shard.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0);
    }
}

#[tokio::test]
async fn what_is_there_twice_leaves_an_index_that_is_not_valid() {
    let database = database("later_twice", PLAIN).await;
    let mut both = Both::connect(&database).await;
    // On different shards, so that no shard sees it by itself.
    for sql in [
        "insert into people select i, 'e' || i from generate_series(1, 300) i",
        "update people set email = 'twice' where id in (7, 8, 9, 10, 11)",
        "delete from people where id in (select id from people where email = 'twice' order by id offset 0) and false",
    ] {
        both.query(sql).await;
    }
    let client = database.client().await;
    let mut on: std::collections::HashMap<String, Vec<i64>> = std::collections::HashMap::new();
    for id in 7..12_i64 {
        let lines = client
            .simple_query(&format!("explain select * from people where id = {id}"))
            .await
            .unwrap();
        let tokio_postgres::SimpleQueryMessage::Row(first) = &lines[1] else {
            panic!("{lines:?}")
        };
        on.entry(first.get(0).unwrap().to_owned())
            .or_default()
            .push(id);
    }
    for ids in on.values() {
        for id in &ids[1..] {
            both.query(&format!(
                "update people set email = 'single{id}' where id = {id}"
            ))
            .await;
        }
    }
    assert!(on.len() > 1, "{on:?}");
    for sql in [
        "create unique index concurrently people_email on people (email)",
        "select indisvalid, indisready from pg_index where indexrelid = 'people_email'::regclass",
        "insert into people values (1000, 'e1') on conflict (email) do nothing",
        "insert into people values (1000, 'new')",
        "select id from people where email = 'twice' order by id",
        "select id from people where email in ('e1', 'e2', 'new') order by id",
        "drop index concurrently people_email",
        "delete from people where email = 'twice'",
        "create unique index concurrently people_email on people (lower(email)) where visits = 0",
        "insert into people values (1001, 'NEW')",
        "insert into people values (1001, 'NEW', null, 1)",
        "select indisvalid, indisready from pg_index where indexrelid = 'people_email'::regclass",
        "create unique index concurrently on people (id, email)",
        "create unique index concurrently on people (email) nulls not distinct",
        "insert into people values (1002, null)",
        "insert into people values (1003, null)",
        "begin",
        "create unique index concurrently other on people (name)",
        "rollback",
        "drop index people_email",
        "drop index concurrently if exists people_email",
        "insert into people values (1004, 'New', null, 0)",
    ] {
        both.query(sql).await;
    }
}

/// It would put a new index in the place of the one that the entries belong to.
#[tokio::test]
async fn no_index_is_rebuilt_beside_its_entries() {
    let people = "create table people (id bigint primary key, email text unique)";
    let database = database("later_rebuilt", people).await;
    let client = database.client().await;
    for rebuild in [
        "reindex table concurrently people",
        "reindex (concurrently, verbose) index people_email_key",
        "reindex schema concurrently public",
    ] {
        let refused = client.batch_execute(rebuild).await.unwrap_err();
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.routine(), Some("reindex-concurrently"), "{rebuild}");
    }
    for sql in [
        "reindex index concurrently people_pkey",
        "reindex table people",
        "create table other (id bigint)",
        "insert into people values (1, 'one')",
    ] {
        client.batch_execute(sql).await.expect(sql);
    }
    for id in 2..20 {
        let again = format!("insert into people values ({id}, 'one')");
        let refused = client.batch_execute(&again).await.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::UNIQUE_VIOLATION), "{id}");
    }
}

#[tokio::test]
async fn of_two_that_make_the_same_index_the_second_waits_and_finds_it() {
    let database = database("later_same", PLAIN).await;
    let client = database.client().await;
    let rows_of = "insert into people select i, 'e' || i from generate_series(1, 100) i";
    client.batch_execute(rows_of).await.unwrap();
    // The filling waits for this row.
    let mut holder = database.client().await;
    let held = holder.transaction().await.unwrap();
    let lock = "select from people where id = 1 for update";
    held.batch_execute(lock).await.unwrap();
    let make = |sql: &'static str| {
        let url = database.url();
        tokio::spawn(async move {
            let client = tests::connect(&url).await.unwrap();
            client.batch_execute(sql).await
        })
    };
    let sql = "create unique index concurrently people_email on people (email)";
    let first = make(sql);
    let filling = "select from pg_stat_activity where wait_event_type = 'Lock' and query like '%oskol.fill_rows%' and datname = current_database()";
    let count_on_shards = async |sql: &str| {
        let mut count = 0;
        for shard in 0..4 {
            let shard = database.shard(shard).await;
            count += shard.query(sql, &[]).await.unwrap().len();
        }
        count
    };
    tests::eventually("the rows are entered", async || {
        count_on_shards(filling).await == 1
    })
    .await;
    let second = make(sql);
    let quiet =
        make("create unique index concurrently if not exists people_email on people (email)");
    // The first one has said the same before.
    let tries = "select from pg_stat_activity where query like 'SELECT pg_try_advisory_lock(%' and datname = current_database()";
    tests::eventually("both wait their turn", async || {
        count_on_shards(tries).await == 3
    })
    .await;
    // Of another table, by the same name: its failure leaves what is under way alone.
    let other = "create table others (id bigint primary key, email text)";
    client.batch_execute(other).await.unwrap();
    let divide = "select oskol.shard_table('others', 'id')";
    client.batch_execute(divide).await.unwrap();
    let taken = "create unique index concurrently people_email on others (email)";
    let taken = client.batch_execute(taken).await.unwrap_err();
    assert_eq!(taken.code(), Some(&SqlState::DUPLICATE_TABLE));
    held.commit().await.unwrap();
    first.await.unwrap().unwrap();
    let error = second.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DUPLICATE_TABLE), "{error:?}");
    quiet.await.unwrap().unwrap();
    let number: i32 = database
        .shard(0)
        .await
        .query_one("select number from oskol.unique_keys", &[])
        .await
        .unwrap()
        .get(0);
    let number = u32::try_from(number).unwrap();
    assert_eq!(entries(&database, number).await, rows(&database).await);
    let valid = "select from pg_index where indexrelid = 'people_email'::regclass and indisvalid";
    assert_eq!(count_on_shards(valid).await, 4);
    let twice = "insert into people values (1000, 'e1')";
    let twice = client.batch_execute(twice).await.unwrap_err();
    assert_eq!(twice.code(), Some(&SqlState::UNIQUE_VIOLATION));
}
