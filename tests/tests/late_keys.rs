//! Keys over shards that come while statements wait: a statement that was planned before the key was there, and gets the
//! table's lock after it, is not let through unlooked at. Neither is what is written on a shard directly.

use std::time::Duration;

use tests::{Cluster, Database, connect, eventually};
use tokio::task::JoinHandle;
use tokio_postgres::error::DbError;
use tokio_postgres::{Client, SimpleQueryMessage};

const TABLES: &str = "create table people (id bigint primary key, email text, boss bigint);
    create table friends (id bigint primary key, of bigint);
    select oskol.shard_table('people', 'id');
    select oskol.shard_table('friends', 'id');
    insert into people select n, 'e' || n from generate_series(1, 40) n;
    insert into friends select n, n from generate_series(1, 20) n";

async fn database(name: &str) -> Database<'static> {
    let database = Cluster::shared().database(name);
    let client = database.client().await;
    for statement in TABLES.split(';') {
        client.batch_execute(statement).await.expect(statement);
    }
    database
}

/// The shard of a row.
async fn shard_of(database: &Database<'_>, table: &str, id: i64) -> usize {
    let sql = format!("select from {table} where id = {id}");
    for number in 0..4 {
        let shard = database.shard(number).await;
        if !shard.query(&sql, &[]).await.expect(&sql).is_empty() {
            return number;
        }
    }
    panic!("on no shard: {table} {id}");
}

/// An address of a row on another shard than this.
async fn elsewhere(database: &Database<'_>, shard: usize) -> String {
    let other = database.shard((shard + 1) % 4).await;
    let sql = "select email from people where id between 2 and 40 order by id limit 1";
    other.query_one(sql, &[]).await.unwrap().get(0)
}

const DDL: &str = "('ShareLock', 'ShareRowExclusiveLock', 'AccessExclusiveLock')";
const WRITER: &str = "('RowExclusiveLock')";

/// Until a backend of a shard waits for such a lock of a table. (The router's own reading of the catalog waits, too.)
async fn waiting(shard: &Client, table: &str, modes: &str) {
    let sql = format!(
        "select from pg_locks where not granted and relation = '{table}'::regclass and mode in {modes}"
    );
    eventually(&sql, async || {
        shard.query(&sql, &[]).await.unwrap().len() == 1
    })
    .await;
}

type Running = JoinHandle<Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>>;

async fn start(database: &Database<'_>, sql: &str) -> Running {
    let client = database.client().await;
    let sql = sql.to_owned();
    tokio::spawn(async move { client.simple_query(&sql).await })
}

/// Runs `statement` so that it waits on a shard behind `ddl`, which waits for its turn there: it was planned before the DDL,
/// and runs after its commit.
async fn behind(
    database: &Database<'_>,
    table: &str,
    shard: usize,
    ddl: &str,
    run: Run<'_>,
) -> Option<DbError> {
    let mut blocker = database.shard(shard).await;
    let looker = database.shard(shard).await;
    let lock = blocker.transaction().await.unwrap();
    lock.batch_execute(&format!("lock table {table} in access exclusive mode"))
        .await
        .unwrap();
    let making = start(database, ddl).await;
    waiting(&looker, table, DDL).await;
    let client = database.client().await;
    let running = match run {
        Run::Text(sql) => start(database, sql).await,
        Run::Copy(sql, rows) => {
            let (sql, rows) = (sql.to_owned(), rows.to_owned());
            tokio::spawn(async move {
                copy(&client, &sql, rows).await?;
                Ok(Vec::new())
            })
        }
    };
    waiting(&looker, table, WRITER).await;
    lock.rollback().await.unwrap();
    let limit = Duration::from_secs(30);
    let made = tokio::time::timeout(limit, making).await.expect(ddl);
    made.unwrap().expect(ddl);
    let ran = tokio::time::timeout(limit, running).await.expect("it ends");
    ran.unwrap()
        .err()
        .map(|error| error.as_db_error().expect("a shard's error").clone())
}

#[derive(Clone, Copy)]
enum Run<'a> {
    Text(&'a str),
    Copy(&'a str, &'a str),
}

async fn copy(client: &Client, sql: &str, rows: String) -> Result<(), tokio_postgres::Error> {
    use futures_util::SinkExt as _;
    let mut sink = Box::pin(client.copy_in::<_, bytes::Bytes>(sql).await?);
    sink.send(rows.into()).await?;
    sink.as_mut().finish().await?;
    Ok(())
}

/// No notes are left, and entries and children fit.
async fn is_clean(database: &Database<'_>) {
    for number in 0..4 {
        let left = "select (select count(*) from oskol.changes) + (select count(*) from oskol.key_changes)";
        let shard = database.shard(number).await;
        let left: i64 = shard.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "notes are left on shard {number}");
    }
    let admin = connect(&database.cluster.url_of("oskol")).await.unwrap();
    let answer = admin.simple_query("VERIFY").await.expect("VERIFY");
    for message in answer {
        if let SimpleQueryMessage::Row(row) = message {
            let mine = row.get("database") == Some(&database.name);
            assert!(
                !mine,
                "{:?} {:?} {:?}",
                row.get("fault"),
                row.get("object"),
                row.get("detail")
            );
        }
    }
}

fn is_told_to_run_again(error: Option<DbError>, what: &str) {
    let error = error.unwrap_or_else(|| panic!("it went through: {what}"));
    assert_eq!(error.code().code(), "40001", "{what}: {error:?}");
    let detail = error.detail().unwrap_or_default();
    assert!(detail.contains("[keys-changed]"), "{what}: {error:?}");
}

#[tokio::test]
async fn statements_planned_before_a_unique_key_are_run_again() {
    let index = "create unique index on people (email)";
    let constraint = "alter table people add constraint named unique (email)";
    // TAKEN: an address of another shard.
    for (at, (ddl, statement, outcome)) in [
        (index, "insert into people values (1000, 'TAKEN')", "23505"),
        (constraint, "insert into people values (1000, 'new')", ""),
        (
            constraint,
            "update people set email = 'TAKEN' where id = 1",
            "23505",
        ),
        (index, "update people set email = email || 'x'", ""),
        (index, "delete from people where id = 1", ""),
        (
            index,
            "begin; select 1; insert into people values (1000, 'new'); commit",
            "",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let database = database(&format!("late_unique_{at}")).await;
        let client = database.client().await;
        // The new row is where row 1000 will be.
        let probe = "insert into people values (1000, 'probe')";
        client.batch_execute(probe).await.unwrap();
        let id = if statement.contains("1000") { 1000 } else { 1 };
        let shard = shard_of(&database, "people", id).await;
        let gone = "delete from people where id = 1000";
        client.batch_execute(gone).await.unwrap();
        let statement = statement.replace("TAKEN", &elsewhere(&database, shard).await);
        let error = behind(&database, "people", shard, ddl, Run::Text(&statement)).await;
        is_told_to_run_again(error, &statement);
        is_clean(&database).await;
        ends_as_said(&client, &statement, outcome).await;
        is_clean(&database).await;
    }
}

/// Run again the statement meets the key.
async fn ends_as_said(client: &Client, statement: &str, sqlstate: &str) {
    let ended = client.simple_query(statement).await;
    let found = ended.err().map_or(String::new(), |error| {
        error.code().expect("an SQLSTATE").code().to_owned()
    });
    assert_eq!(found, sqlstate, "{statement}");
}

#[tokio::test]
async fn a_copy_planned_before_a_unique_key_is_run_again() {
    let database = database("late_copy").await;
    let ddl = "create unique index on people (email)";
    let run = Run::Copy(
        "copy people (id, email) from stdin",
        "1000\te2\n1001\te3\n1002\tx\n",
    );
    // COPY begins at the home shard.
    let error = behind(&database, "people", 0, ddl, run).await;
    is_told_to_run_again(error, "COPY");
    is_clean(&database).await;
    let client = database.client().await;
    let taken = copy(
        &client,
        "copy people (id, email) from stdin",
        "1000\te2\n".into(),
    )
    .await;
    assert_eq!(taken.unwrap_err().code().unwrap().code(), "23505");
    let free = copy(
        &client,
        "copy people (id, email) from stdin",
        "1000\tx\n".into(),
    )
    .await;
    free.unwrap();
    is_clean(&database).await;
}

#[tokio::test]
async fn statements_planned_before_a_foreign_key_are_run_again() {
    let ddl = "alter table friends add constraint known foreign key (of) references people";
    let statements = [
        ("friends", "insert into friends values (1000, 999)", "23503"),
        ("friends", "insert into friends values (1000, 1)", ""),
        (
            "friends",
            "update friends set of = 999 where id = 1",
            "23503",
        ),
        ("people", "delete from people where id = 1", "23503"),
        ("people", "delete from people where id > 30", ""),
        ("people", "delete from people where id = 30", ""),
    ];
    for (at, (table, statement, outcome)) in statements.into_iter().enumerate() {
        let database = database(&format!("late_foreign_{at}")).await;
        let client = database.client().await;
        let probe = "insert into friends values (1000, 1)";
        client.batch_execute(probe).await.unwrap();
        let id = match at {
            0 | 1 => 1000,
            5 => 30,
            _ => 1,
        };
        let shard = shard_of(&database, table, id).await;
        let gone = "delete from friends where id = 1000";
        client.batch_execute(gone).await.unwrap();
        let error = behind(&database, table, shard, ddl, Run::Text(statement)).await;
        is_told_to_run_again(error, statement);
        is_clean(&database).await;
        ends_as_said(&client, statement, outcome).await;
        is_clean(&database).await;
    }
}

#[tokio::test]
async fn a_transaction_collects_no_notes_of_keys_that_come_after_its_statements() {
    let database = database("late_transaction").await;
    let mut client = database.client().await;
    let keyed = "create table keyed (id bigint primary key, word text unique); select oskol.shard_table('keyed', 'id')";
    for statement in keyed.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    let shard = shard_of(&database, "people", 1).await;
    let mut blocker = database.shard(shard).await;
    let looker = database.shard(shard).await;
    let transaction = client.transaction().await.unwrap();
    // This one is told of on all shards, long before the key is there.
    let first = "insert into keyed select n, 'w' || n from generate_series(1, 40) n";
    transaction.batch_execute(first).await.unwrap();
    let lock = blocker.transaction().await.unwrap();
    let exclusive = "lock table people in access exclusive mode";
    lock.batch_execute(exclusive).await.unwrap();
    let making = start(&database, "create unique index on people (email)").await;
    waiting(&looker, "people", DDL).await;
    let taken = elsewhere(&database, shard).await;
    let second = format!("update people set email = '{taken}' where id = 1");
    let second = transaction.batch_execute(&second);
    let release = async {
        waiting(&looker, "people", WRITER).await;
        lock.rollback().await.unwrap();
    };
    let (second, ()) = tokio::join!(second, release);
    making.await.unwrap().unwrap();
    let error = second.unwrap_err().as_db_error().cloned();
    is_told_to_run_again(error, "the second statement");
    transaction.rollback().await.unwrap();
    is_clean(&database).await;
}

#[tokio::test]
async fn nobody_writes_on_a_shard_what_routers_have_to_look_at() {
    let database = database("late_direct").await;
    let client = database.client().await;
    let role = format!("{}_writer", database.name);
    for statement in [
        "alter table people add constraint named unique (email)",
        "alter table friends add constraint known foreign key (of) references people",
        &format!("create role {role} login password 'w'"),
        &format!("grant all on people, friends to {role}"),
    ] {
        client.batch_execute(statement).await.expect(statement);
    }
    let shard = shard_of(&database, "people", 1).await;
    let direct = database.shard(shard).await;
    let as_writer = format!("set role {role}");
    let writes = [
        "insert into people values (1000, 'x')",
        "update people set email = 'x' where id = 1",
        "delete from people where id = 1",
        "truncate people, friends",
        "insert into friends values (1000, 1)",
    ];
    // As the superuser, and as somebody who has only been granted it.
    for before in ["", as_writer.as_str()] {
        direct.batch_execute(before).await.unwrap();
        for statement in writes {
            ends_as_said(&direct, statement, "0A000").await;
        }
        // What no key is about.
        ends_as_said(&direct, "update people set boss = 2 where id = 1", "").await;
    }
    // The setting by which routers say it is no way around.
    for (position, statement) in writes.into_iter().enumerate() {
        if position == 3 {
            continue;
        }
        for forged in ["99", "99:", "99:abc"] {
            let forging =
                format!("begin; set local oskol.collects = '{forged}'; {statement}; commit");
            ends_as_said(&direct, &forging, "0A000").await;
            direct.batch_execute("rollback").await.unwrap();
        }
    }
    // Neither is one that was read in a router's transaction.
    let read =
        "update people set email = 'y' where id = 1 returning current_setting('oskol.collects')";
    let sealed: String = client.query_one(read, &[]).await.unwrap().get(0);
    assert!(sealed.contains(':'), "{sealed}");
    let replayed = format!(
        "begin; set local oskol.collects = '{sealed}'; {}; commit",
        writes[0]
    );
    ends_as_said(&direct, &replayed, "0A000").await;
    direct.batch_execute("rollback").await.unwrap();
    is_clean(&database).await;
    drop(direct);
    client
        .batch_execute(&format!("drop owned by {role}; drop role {role}"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_row_at_a_cursor_keeps_its_entry() {
    let database = database("late_cursor").await;
    let mut client = database.client().await;
    let key = "alter table people add constraint named unique (email)";
    client.batch_execute(key).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    for statement in [
        "declare c cursor for select * from people where id = 7 for update",
        "fetch c",
        "update people set email = 'moved' where current of c",
    ] {
        transaction.batch_execute(statement).await.expect(statement);
    }
    transaction.commit().await.unwrap();
    is_clean(&database).await;
    ends_as_said(
        &client,
        "insert into people values (1000, 'moved')",
        "23505",
    )
    .await;
    ends_as_said(&client, "insert into people values (1000, 'e7')", "").await;
    is_clean(&database).await;
}
