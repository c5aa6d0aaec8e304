//! Tables that exist are placed anew: `oskol.shard_table`, `oskol.reference_table`, `oskol.local_table`.

use tests::{Cluster, Database};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

async fn run(client: &Client, sql: &str) {
    client
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

async fn sqlstate(client: &Client, sql: &str) -> SqlState {
    let error = client.batch_execute(sql).await.expect_err(sql);
    error.code().expect("an error of the server").clone()
}

/// A row as text, of each shard, in order.
async fn all_rows(database: &Database<'_>, table: &str) -> Vec<String> {
    let mut rows = Vec::new();
    for shard in 0..database.cluster.shard_count() {
        rows.extend(rows_of(&database.shard(shard).await, table).await);
    }
    rows.sort();
    rows
}

async fn rows_of(client: &Client, table: &str) -> Vec<String> {
    let sql = format!("select t::text from {table} t order by 1");
    let rows = client.query(&sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Every row is on the shard of its key, and the router finds it there.
async fn every_row_is_found_by_key(
    database: &Database<'_>,
    client: &Client,
    key: &str,
    table: &str,
) {
    let mut found = 0;
    for shard in 0..database.cluster.shard_count() {
        let sql = format!("select distinct {key}::text from {table}");
        let here = database.shard(shard).await;
        for row in here.query(&sql, &[]).await.unwrap() {
            let value: String = row.get(0);
            let count = |answer: Vec<SimpleQueryMessage>| match answer.as_slice() {
                [.., SimpleQueryMessage::Row(row), _] => row.get(0).unwrap().to_owned(),
                other => panic!("{other:?}"),
            };
            let sql = format!("select count(*) from {table} where {key} = '{value}'");
            let by_router = count(client.simple_query(&sql).await.unwrap());
            assert_eq!(
                by_router,
                count(here.simple_query(&sql).await.unwrap()),
                "{key} = {value}"
            );
            found += by_router.parse::<i64>().unwrap();
        }
    }
    assert_eq!(
        found,
        database.rows_by_shard(table).await.iter().sum::<i64>()
    );
}

/// Values that a careless copy would lose.
const NOTES: &str = "create type mood as enum ('sad', 'it''s \\ \"fine\"');
    create table notes (user_id bigint, id serial, body text, at timestamptz, took interval, ratio float8,
        raw bytea, moods mood[], doubled bigint generated always as (user_id * 2) stored, primary key (user_id, id));
    insert into notes (user_id, body, at, took, ratio, raw, moods)
    select n % 50, case n % 4 when 0 then null when 1 then E'tab\\there\\nline\\\\' when 2 then '' else 'ü€😀' end,
        timestamptz '2024-03-31 01:30:00+01' + n * interval '1 hour 1 second 1 microsecond',
        n * interval '-1 month 2 days 3.000004 seconds', 1.0 / (n + 1), decode(lpad(to_hex(n), 8, '0'), 'hex'),
        array['sad', null, 'it''s \\ \"fine\"']::mood[]
    from generate_series(0, 999) n";

#[tokio::test]
async fn a_table_with_rows_is_sharded_and_comes_back() {
    let database = Cluster::shared().database("notes");
    let (client, oracle) = (database.client().await, database.oracle().await);
    run(&client, NOTES).await;
    run(&oracle, NOTES).await;
    let wanted = rows_of(&oracle, "notes").await;
    assert_eq!(database.rows_by_shard("notes").await, [1000, 0, 0, 0]);

    // Settings of the client do not harm the values, and are the same afterwards.
    run(&client, "set datestyle to 'SQL, DMY'; set intervalstyle to 'sql_standard'; set extra_float_digits to 0").await;
    run(&client, "select oskol.shard_table('notes', 'user_id')").await;
    let rows = database.rows_by_shard("notes").await;
    assert!(
        rows.iter().all(|rows| *rows > 0 && *rows < 1000),
        "{rows:?}"
    );
    assert_eq!(all_rows(&database, "notes").await, wanted);
    every_row_is_found_by_key(&database, &client, "user_id", "notes").await;

    // Ids go on.
    run(&client, "insert into notes (user_id) values (7)").await;
    run(&client, "delete from notes where user_id = 7 and id > 1000").await;

    run(&client, "select oskol.reference_table('notes')").await;
    for shard in 0..4 {
        assert_eq!(rows_of(&database.shard(shard).await, "notes").await, wanted);
    }
    run(&client, "select oskol.shard_table('notes', 'id', true)").await;
    assert_eq!(all_rows(&database, "notes").await, wanted);
    every_row_is_found_by_key(&database, &client, "id", "notes").await;
    run(&client, "select oskol.shard_table('notes', 'user_id')").await;
    assert_eq!(all_rows(&database, "notes").await, wanted);
    every_row_is_found_by_key(&database, &client, "user_id", "notes").await;

    run(&client, "select oskol.local_table('notes')").await;
    assert_eq!(database.rows_by_shard("notes").await, [1000, 0, 0, 0]);
    assert_eq!(rows_of(&database.shard(0).await, "notes").await, wanted);
}

#[tokio::test]
async fn text_and_uuid_keys_are_placed_as_the_router_finds_them() {
    let database = Cluster::shared().database("keys");
    let client = database.client().await;
    run(
        &client,
        "create table words (word text primary key); create table things (id uuid primary key);
         insert into words select 'wörd ' || n from generate_series(1, 200) n;
         insert into things select md5(n::text)::uuid from generate_series(1, 200) n",
    )
    .await;
    run(
        &client,
        "select oskol.shard_table('words', 'word'); select oskol.shard_table('things', 'id')",
    )
    .await;
    for (table, key) in [("words", "word"), ("things", "id")] {
        let rows = database.rows_by_shard(table).await;
        assert!(rows.iter().all(|rows| *rows > 0), "{rows:?}");
        every_row_is_found_by_key(&database, &client, key, table).await;
    }
}

#[tokio::test]
async fn placing_is_part_of_its_transaction() {
    let database = Cluster::shared().database("in_transaction");
    let client = database.client().await;
    run(
        &client,
        "create table t (id int primary key); insert into t select generate_series(1, 100)",
    )
    .await;
    run(
        &client,
        "begin; select oskol.shard_table('t', 'id'); insert into t values (101)",
    )
    .await;
    run(&client, "rollback").await;
    assert_eq!(database.rows_by_shard("t").await, [100, 0, 0, 0]);
    run(&client, "insert into t values (101), (102), (103), (104)").await;
    assert_eq!(database.rows_by_shard("t").await, [104, 0, 0, 0]);

    run(
        &client,
        "begin; select oskol.shard_table('t', 'id'); insert into t values (105); commit",
    )
    .await;
    assert_eq!(database.rows_by_shard("t").await.iter().sum::<i64>(), 105);
    every_row_is_found_by_key(&database, &client, "id", "t").await;
}

#[tokio::test]
async fn a_partitioned_table_is_placed_with_its_partitions() {
    let database = Cluster::shared().database("partitioned");
    let client = database.client().await;
    run(
        &client,
        "create table events (user_id int, at date, primary key (user_id, at)) partition by range (at);
         create table events_1 partition of events for values from ('2024-01-01') to ('2024-02-01');
         create table events_2 partition of events for values from ('2024-02-01') to ('2024-03-01');
         insert into events select n, date '2024-01-01' + n % 60 from generate_series(0, 199) n",
    )
    .await;
    run(&client, "select oskol.shard_table('events', 'user_id')").await;
    every_row_is_found_by_key(&database, &client, "user_id", "events").await;
    let rows = database.rows_by_shard("events_2").await;
    assert!(rows.iter().all(|rows| *rows > 0), "{rows:?}");
}

#[tokio::test]
async fn moving_rows_is_no_event_for_triggers() {
    let database = Cluster::shared().database("triggers");
    let client = database.client().await;
    run(
        &client,
        "create table t (id int primary key, body text);
         create function shout() returns trigger language plpgsql as
            $$ begin if tg_op = 'DELETE' then raise 'deleted'; end if; new.body := upper(new.body); return new; end $$;
         insert into t select n, 'quiet' from generate_series(1, 100) n;
         create trigger shout before insert or delete on t for each row execute function shout();
         create trigger always after insert or delete on t for each row execute function shout();
         alter table t enable always trigger always",
    )
    .await;
    run(&client, "select oskol.shard_table('t', 'id')").await;
    let rows = all_rows(&database, "t").await;
    assert_eq!(rows.iter().filter(|row| row.contains("quiet")).count(), 100);
    for shard in 0..4 {
        let sql = "select string_agg(tgenabled::text, '' order by tgname) from pg_trigger where not tgisinternal";
        let states = database
            .shard(shard)
            .await
            .query_one(sql, &[])
            .await
            .unwrap();
        assert_eq!(states.get::<_, &str>(0), "AO");
    }
    run(&client, "insert into t values (1000, 'loud')").await;
    assert!(
        all_rows(&database, "t")
            .await
            .contains(&"(1000,LOUD)".to_owned())
    );
}

#[tokio::test]
async fn what_no_shard_can_keep_may_be_left_out_with_a_notice() {
    let database = Cluster::shared().database("unenforced");
    let client = database.client().await;
    run(
        &client,
        "create table users (id int primary key, email text unique);
         create table posts (id int, user_id int references users, primary key (user_id, id));
         insert into users select n, 'u' || n from generate_series(1, 50) n;
         insert into posts select n, n % 50 + 1 from generate_series(1, 200) n",
    )
    .await;
    let said = database.psql("select oskol.shard_table('posts', 'user_id', true)");
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stderr.contains("posts_user_id_fkey"), "{said:?}");
    let said = database.psql("select oskol.shard_table('users', 'id', true)");
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.stderr.contains("users_email_key"), "{said:?}");
    every_row_is_found_by_key(&database, &client, "user_id", "posts").await;
    every_row_is_found_by_key(&database, &client, "id", "users").await;
    run(
        &client,
        "alter table posts add foreign key (user_id) references users",
    )
    .await;
    for shard in 0..4 {
        let sql = "select count(*) from pg_constraint where contype = 'f' and conrelid = 'posts'::regclass";
        let row = database
            .shard(shard)
            .await
            .query_one(sql, &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
    }
}

#[tokio::test]
async fn a_failure_on_one_shard_leaves_all_as_it_was() {
    let database = Cluster::shared().database("failure");
    let client = database.client().await;
    run(&client, "create table t (id int, body text); insert into t select n, n from generate_series(1, 50000) n").await;
    run(
        &database.shard(2).await,
        "alter table t add check (id < 10)",
    )
    .await;
    assert_eq!(
        sqlstate(&client, "select oskol.shard_table('t', 'id')").await,
        SqlState::CHECK_VIOLATION
    );
    assert_eq!(database.rows_by_shard("t").await, [50000, 0, 0, 0]);
    run(&database.shard(2).await, "insert into t values (1)").await;
    let state = sqlstate(&client, "select oskol.shard_table('t', 'id')").await;
    assert_eq!(state, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    run(&client, "insert into t values (null)").await;
    assert_eq!(
        sqlstate(&client, "select oskol.shard_table('t', 'id')").await,
        SqlState::NOT_NULL_VIOLATION
    );
}

#[tokio::test]
async fn only_the_owner_may_place_a_table() {
    let database = Cluster::shared().database("owner");
    let client = database.client().await;
    run(
        &client,
        "create role visitor; grant all on schema public to visitor",
    )
    .await;
    run(
        &client,
        "create table t (id int primary key); set role visitor",
    )
    .await;
    let refused = sqlstate(&client, "select oskol.shard_table('t', 'id')").await;
    assert_eq!(refused, SqlState::INSUFFICIENT_PRIVILEGE);
    run(
        &client,
        "create table own (id int primary key); insert into own values (1), (2), (3), (4)",
    )
    .await;
    run(&client, "select oskol.shard_table('own', 'id')").await;
    assert_eq!(database.rows_by_shard("own").await.iter().sum::<i64>(), 4);
}

#[tokio::test]
async fn the_answer_is_one_void_row() {
    let database = Cluster::shared().database("answer");
    let client = database.client().await;
    run(&client, "create table t (id int primary key)").await;
    let said = database.psql("select oskol.reference_table('t')");
    assert_eq!(
        said.ok(),
        " reference_table \n-----------------\n \n(1 row)\n\n"
    );
    let rows = client
        .query("select oskol.shard_table('t', 'id')", &[])
        .await
        .unwrap();
    assert_eq!(
        (rows.len(), rows[0].columns()[0].name()),
        (1, "shard_table")
    );
    let sql = "select name, placement, key from oskol.tables";
    let row = client.query_one(sql, &[]).await.unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        ("t", "sharded", Some("id"))
    );
}
