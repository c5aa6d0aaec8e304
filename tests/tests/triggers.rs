//! Triggers that users make, and those that keep keys over shards: what is written is what one PostgreSQL would have, or the
//! statement is refused.

use tests::{Cluster, Database, eventually};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

const SHARDS: usize = 4;

async fn on_both(database: &Database<'_>, sql: &str) {
    database
        .client()
        .await
        .batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let oracle = database.oracle().await;
    oracle.batch_execute(sql).await.expect(sql);
}

/// Each statement by itself, on the cluster only.
async fn here(client: &Client, statements: &[&str]) {
    for sql in statements {
        let done = client.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
}

async fn sqlstate(client: &Client, sql: &str) -> Option<SqlState> {
    let error = client.batch_execute(sql).await.err()?;
    Some(
        error
            .code()
            .unwrap_or_else(|| panic!("{sql}: {error}"))
            .clone(),
    )
}

/// The refusal's id stands at the end of its detail.
async fn is_refused(client: &Client, sql: &str, id: &str) {
    let error = client.batch_execute(sql).await.expect_err(sql);
    let told = error
        .as_db_error()
        .unwrap_or_else(|| panic!("{sql}: {error}"));
    let detail = told.detail().unwrap_or_default();
    assert!(detail.contains(&format!("[{id}]")), "{sql}: {told:?}");
}

async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

async fn agree(database: &Database<'_>, sql: &str) {
    let (cluster, oracle) = (database.client().await, database.oracle().await);
    assert_eq!(rows(&cluster, sql).await, rows(&oracle, sql).await, "{sql}");
}

async fn copies_are_equal(database: &Database<'_>, table: &str) {
    let sql = format!("select t::text from {table} t order by 1");
    let first = rows(&database.shard(0).await, &sql).await;
    assert!(!first.is_empty(), "{table}");
    for shard in 1..SHARDS {
        let copy = rows(&database.shard(shard).await, &sql).await;
        assert_eq!(copy, first, "{table} on shard {shard}");
    }
}

const KEPT: &str = "create table cards (holder bigint, id int, place int, code text unique, primary key (holder, id))";

/// What the mover says of its own rows counts in a superuser's session only.
#[tokio::test]
async fn nobody_else_is_taken_for_the_mover() {
    let database = Cluster::shared().database("not_the_mover");
    let client = database.client().await;
    here(
        &client,
        &[
            KEPT,
            "select oskol.shard_table('cards', 'holder')",
            "create role loader_of_cards",
            "grant select, insert on cards to loader_of_cards",
            "grant set on parameter session_replication_role to loader_of_cards",
            "set role loader_of_cards",
            "set session_replication_role to replica",
            "set oskol.moving to on",
            "insert into cards select n, n, 7, 'code' || n from generate_series(1, 20) n",
        ],
    )
    .await;
    let again = "insert into cards select 50 + n, n, 7, 'code' || n from generate_series(1, 20) n";
    let refused = sqlstate(&client, again).await;
    here(
        &client,
        &[
            "reset role",
            "reset session_replication_role",
            "drop owned by loader_of_cards",
            "drop role loader_of_cards",
        ],
    )
    .await;
    assert_eq!(refused, Some(SqlState::UNIQUE_VIOLATION));
}

/// As for indexes, which are there whatever becomes of triggers.
#[tokio::test]
async fn keys_over_shards_are_kept_though_triggers_are_switched_off() {
    let database = Cluster::shared().database("kept_though_off");
    on_both(&database, KEPT).await;
    let client = database.client().await;
    here(
        &client,
        &[
            "select oskol.shard_table('cards', 'holder')",
            "select oskol.route_by('cards', 'place')",
        ],
    )
    .await;
    let ways = [
        (
            "alter table cards disable trigger all",
            "alter table cards enable trigger all",
        ),
        (
            "set session_replication_role to replica",
            "set session_replication_role to origin",
        ),
        (
            "set session_replication_role to replica; alter table cards disable trigger all",
            "alter table cards enable trigger all; set session_replication_role to origin",
        ),
    ];
    let oracle = database.oracle().await;
    for (way, (off, on)) in ways.iter().enumerate() {
        let first = way * 100;
        let codes = |from: usize| {
            format!(
                "insert into cards select {from} + n, n, 7, 'code' || {first} + n from generate_series(1, 20) n"
            )
        };
        for side in [&client, &oracle] {
            here(side, &off.split("; ").collect::<Vec<_>>()).await;
            here(side, &[&codes(first)]).await;
            assert_eq!(
                sqlstate(side, &codes(first + 50)).await,
                Some(SqlState::UNIQUE_VIOLATION),
                "{off}"
            );
            here(
                side,
                &[
                    &format!("update cards set place = 8, code = 'new' || code where holder > {first} and id % 2 = 0"),
                    &format!("delete from cards where holder > {first} and id % 5 = 0"),
                    &format!("insert into cards values ({first} + 90, 1, 8, 'code{}')", first + 5),
                ],
            )
            .await;
            here(side, &on.split("; ").collect::<Vec<_>>()).await;
        }
        agree(
            &database,
            "select c::text from cards c where place = 7 order by 1",
        )
        .await;
        agree(
            &database,
            "select c::text from cards c where place = 8 order by 1",
        )
        .await;
        let looked_up = format!(
            "select c::text from cards c where code = 'newcode{}'",
            first + 4
        );
        agree(&database, &looked_up).await;
        assert_eq!(
            sqlstate(
                &client,
                &format!("insert into cards values (1, 999, 1, 'code{}')", first + 1)
            )
            .await,
            Some(SqlState::UNIQUE_VIOLATION),
        );
    }
    eventually("nothing noted is left", async || {
        let mut left = 0;
        for shard in 0..SHARDS {
            let shard = database.shard(shard).await;
            let row = shard
                .query_one("select count(*) from oskol.changes", &[])
                .await;
            left += row.expect("a count").get::<_, i64>(0);
        }
        left == 0
    })
    .await;
}

const TOUCHES: &str = "create function touch() returns trigger language plpgsql as $$ begin new.changed = now(); return new; end $$;
    create function tidy() returns trigger language plpgsql as $$ begin new.name := lower(btrim(new.name)); return new; end $$";

#[tokio::test]
async fn copies_of_a_reference_table_stay_equal_under_triggers() {
    let database = Cluster::shared().database("reference_triggers");
    let client = database.client().await;
    for sql in TOUCHES.split(";\n") {
        on_both(&database, sql).await;
    }
    for (table, function) in [("tidied", "tidy"), ("touched", "touch")] {
        on_both(
            &database,
            &format!("create table {table} (id int primary key, name text, changed timestamptz default '2000-01-01')"),
        )
        .await;
        here(
            &client,
            &[&format!("select oskol.reference_table('{table}')")],
        )
        .await;
        on_both(
            &database,
            &format!("create trigger before before insert or update on {table} for each row execute function {function}()"),
        )
        .await;
    }
    on_both(
        &database,
        "insert into tidied values (1, ' One '), (2, 'TWO')",
    )
    .await;
    on_both(
        &database,
        "update tidied set name = name || ' MORE' where id = 2",
    )
    .await;
    agree(&database, "select t::text from tidied t order by id").await;
    copies_are_equal(&database, "tidied").await;
    for sql in [
        "insert into touched values (1, 'one')",
        "insert into touched select 2, 'two'",
        "insert into touched values (1, 'one') on conflict (id) do update set name = 'x'",
        "update touched set name = 'x'",
        "copy touched from stdin",
    ] {
        is_refused(&client, sql, "reference-write-volatile").await;
    }
    here(
        &client,
        &[
            "delete from touched",
            "alter table touched disable trigger before",
            "insert into touched values (1, 'one')",
        ],
    )
    .await;
    copies_are_equal(&database, "touched").await;
}

#[tokio::test]
async fn the_clock_in_a_parameter_or_a_system_column_is_the_same_in_all_copies() {
    let database = Cluster::shared().database("reference_clock");
    let client = database.client().await;
    here(
        &client,
        &[
            "create table moments (id int primary key, name text, at timestamptz, between tstzrange, given jsonb)",
            "select oskol.reference_table('moments')",
        ],
    )
    .await;
    let mut raw = tests::RawClient::connect(&database.url()).await;
    for (sql, parameters) in [
        (
            "insert into moments (id, name, at) values ($1, $2, $3)",
            ["1", "one", "now"],
        ),
        (
            "insert into moments (id, name, between) values ($1, $2, $3)",
            ["2", "two", "[now,infinity)"],
        ),
        (
            "update moments set name = $2, at = $3 where id = $1",
            ["1", "uno", "today"],
        ),
        (
            "insert into moments (id, name, between) values ($1, $2, $3) on conflict (id) do update set between = excluded.between",
            ["2", "two", "[yesterday, now]"],
        ),
    ] {
        raw.extended(sql, &parameters, wire::Format::Text).sync();
        let told = raw.transcript(1).await;
        assert!(
            told.iter().all(|note| !note.starts_with("error")),
            "{sql}: {told:?}"
        );
    }
    let literal = "insert into moments select * from jsonb_populate_record(null::moments, '{\"id\": 3, \"at\": \"now\"}')";
    here(
        &client,
        &[
            literal,
            "update moments set name = ctid::text || xmin where id = 3",
        ],
    )
    .await;
    copies_are_equal(&database, "moments").await;
    assert_eq!(
        rows(&client, "select count(*)::text from moments").await,
        ["3"]
    );
}

const NETWORK: &str = "create table users (id bigint primary key, posts int not null default 0, likes int not null default 0);
    create table posts (user_id bigint, id bigint, liker bigint, primary key (user_id, id));
    create table archive (user_id bigint, id bigint, primary key (user_id, id));
    create table kinds (id bigint primary key);
    create table journal (words text)";

#[tokio::test]
async fn a_trigger_stays_on_its_shard_or_is_refused() {
    let database = Cluster::shared().database("reaching_triggers");
    let client = database.client().await;
    for sql in NETWORK.split(";\n") {
        on_both(&database, sql).await;
    }
    here(
        &client,
        &[
            "select oskol.shard_table('users', 'id')",
            "select oskol.shard_table('posts', 'user_id')",
            "select oskol.shard_table('archive', 'user_id')",
            "select oskol.reference_table('kinds')",
        ],
    )
    .await;
    let function = |name: &str, body: &str| {
        format!(
            "create function {name}() returns trigger language plpgsql as $$ begin {body}; return null; end $$"
        )
    };
    on_both(
        &database,
        &function(
            "counts",
            "update users set posts = posts + 1 where id = new.user_id",
        ),
    )
    .await;
    on_both(
        &database,
        &function(
            "archives",
            "insert into archive (user_id, id) values (old.user_id, old.id)",
        ),
    )
    .await;
    on_both(
        &database,
        "create trigger counts after insert on posts for each row execute function counts()",
    )
    .await;
    on_both(
        &database,
        "create trigger archives after delete on posts for each row execute function archives()",
    )
    .await;
    on_both(
        &database,
        "insert into users select n from generate_series(1, 40) n",
    )
    .await;
    on_both(
        &database,
        "insert into posts select n % 40 + 1, n, n % 7 from generate_series(1, 200) n",
    )
    .await;
    on_both(&database, "delete from posts where id % 9 = 0").await;
    agree(&database, "select u::text from users u order by id").await;
    agree(
        &database,
        "select a::text from archive a order by user_id, id",
    )
    .await;

    for (name, body) in [
        (
            "likes",
            "update users set likes = likes + 1 where id = new.liker",
        ),
        ("writes_kinds", "insert into kinds values (new.id)"),
        (
            "writes_journal",
            "insert into journal values ('post ' || new.id)",
        ),
        ("dynamic", "execute 'insert into journal values (1)'"),
    ] {
        here(
            &client,
            &[
                &function(name, body),
                &format!("create trigger {name} after insert or update on posts for each row execute function {name}()"),
            ],
        )
        .await;
        for sql in [
            "insert into posts values (1, 1000, 2)",
            "insert into posts select id, 1000, 2 from users",
            "insert into posts values (1, 1000, 2) on conflict do nothing",
            "update posts set liker = 3 where user_id = 1",
            "copy posts from stdin",
            "with w as (insert into posts values (1, 1000, 2) returning id) select * from w",
        ] {
            is_refused(&client, sql, "trigger-reaches-shards").await;
        }
        here(
            &client,
            &[
                "delete from posts where user_id = 1",
                &format!("drop trigger {name} on posts"),
            ],
        )
        .await;
    }
    // Of a local table at home, where its like is; not from there to the shards.
    on_both(
        &database,
        "create table entries (id bigint primary key, user_id bigint)",
    )
    .await;
    on_both(
        &database,
        &function("notes", "insert into journal values ('entry ' || new.id)"),
    )
    .await;
    on_both(
        &database,
        "create trigger notes after insert on entries for each row execute function notes()",
    )
    .await;
    on_both(&database, "insert into entries values (1, 1), (2, 2)").await;
    agree(&database, "select words from journal order by 1").await;
    here(
        &client,
        &["create trigger counts after insert on entries for each row execute function counts()"],
    )
    .await;
    is_refused(
        &client,
        "insert into entries values (3, 3)",
        "trigger-reaches-shards",
    )
    .await;
}
