//! Several who write to one reference table at once: its copies stay the same, and none of them is told otherwise.

use std::time::Duration;

use tests::{Database, eventually};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::setting::cluster;

async fn database(name: &str) -> Database<'static> {
    let database = cluster().database(name);
    let client = database.client().await;
    let tables = "create table kinds (id int primary key, word int, n int);
         create table other_kinds (id int primary key, n int);
         insert into kinds values (1, 12, 0), (2, 13, 0); insert into other_kinds values (1, 1);
         select oskol.reference_table('kinds'); select oskol.reference_table('other_kinds')";
    for statement in tables.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    database
}

fn spawn(client: Client, sql: &'static str) -> JoinHandle<Result<u64, tokio_postgres::Error>> {
    tokio::spawn(async move { client.execute(sql, &[]).await })
}

/// An UPDATE of `kinds` that waits for row 1 on the shard that goes first, until the connection rolls back.
async fn stopped_at_first_shard(
    database: &Database<'_>,
    sql: &'static str,
) -> (Client, JoinHandle<Result<u64, tokio_postgres::Error>>) {
    let blocker = database.shard(0).await;
    blocker
        .batch_execute("begin; select from kinds where id = 1 for update")
        .await
        .unwrap();
    let writes = spawn(database.client().await, sql);
    waits(&database.shard(0).await, "update kinds").await;
    (blocker, writes)
}

/// Every shard's rows of both tables are these.
async fn copies_are(database: &Database<'_>, kinds: &str, other_kinds: &str) {
    for shard in 0..cluster().shard_count() {
        let shard = database.shard(shard).await;
        for (table, wanted) in [("kinds", kinds), ("other_kinds", other_kinds)] {
            let sql =
                format!("select string_agg(t::text, ' ' order by id) from {table} t where n <> 0");
            let row = shard.query_one(&sql, &[]).await.unwrap();
            assert_eq!(row.get::<_, Option<&str>>(0).unwrap_or(""), wanted);
        }
    }
}

async fn waits(shard: &Client, what: &str) {
    let sql = "select exists (select from pg_stat_activity where wait_event_type = 'Lock' and query like $1)";
    let like = format!("%{what}%");
    eventually("somebody waits for a lock", async || {
        let row = shard.query_one(sql, &[&like]).await.unwrap();
        row.get(0)
    })
    .await;
}

/// The writer waits at the first shard's row, and would see on the others what was added meanwhile.
#[tokio::test]
async fn a_row_that_is_added_meanwhile_is_changed_everywhere_or_nowhere() {
    let database = database("rivals_added").await;
    let (blocker, writes) =
        stopped_at_first_shard(&database, "update kinds set n = n + 1 where word = 12").await;
    let adds = spawn(
        database.client().await,
        "insert into kinds values (3, 12, 0)",
    );
    // Long enough for one that does not wait.
    tokio::time::sleep(Duration::from_millis(500)).await;
    blocker.batch_execute("rollback").await.unwrap();
    assert_eq!(writes.await.unwrap().unwrap(), 1);
    assert_eq!(adds.await.unwrap().unwrap(), 1);
    copies_are(&database, "(1,12,1)", "(1,1)").await;
}

/// Another reference table that the statement reads has one value on all shards, too.
#[tokio::test]
async fn what_a_write_reads_is_the_same_everywhere() {
    let database = database("rivals_read").await;
    let sql = "update kinds set n = (select n from other_kinds) where id = 1";
    let (blocker, writes) = stopped_at_first_shard(&database, sql).await;
    let changes = spawn(database.client().await, "update other_kinds set n = 7");
    tokio::time::sleep(Duration::from_millis(500)).await;
    blocker.batch_execute("rollback").await.unwrap();
    assert_eq!(writes.await.unwrap().unwrap(), 1);
    assert_eq!(changes.await.unwrap().unwrap(), 1);
    copies_are(&database, "(1,12,1)", "(1,7)").await;
}

/// Each adds a row and then changes it: whoever comes second waits before it has anything that the first could wait for.
#[tokio::test]
async fn transactions_that_add_and_change_rows_do_not_wait_for_each_other() {
    let database = database("rivals_blocks").await;
    let (one, other) = (database.client().await, database.client().await);
    one.batch_execute("begin; insert into kinds values (3, 20, 1)")
        .await
        .unwrap();
    let second = tokio::spawn(async move {
        let sql = "begin; insert into kinds values (4, 20, 1); update kinds set n = 2 where id = 4; commit";
        other.batch_execute(sql).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    one.batch_execute("update kinds set n = 3 where id = 3; commit")
        .await
        .unwrap();
    second.await.unwrap().unwrap();
    copies_are(&database, "(3,20,3) (4,20,2)", "(1,1)").await;
}

/// By who may write some columns only, and by nobody else.
#[tokio::test]
async fn the_right_to_write_one_column_is_enough() {
    let database = database("rivals_rights").await;
    let client = database.client().await;
    let role = "rivals_writer";
    let sql = format!(
        "drop role if exists {role}; create role {role}; grant select, update (n) on kinds to {role}; set role {role}"
    );
    for statement in sql.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    let changed = client
        .execute("update kinds set n = 5 where id = 2", &[])
        .await;
    assert_eq!(changed.unwrap(), 1);
    let refused =
        client.batch_execute("select oskol.hold_writers('x', '[[\"public.kinds\", true]]')");
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
    let dropped = format!("reset role; drop owned by {role}; drop role {role}");
    for statement in dropped.split(';') {
        client.batch_execute(statement).await.unwrap();
    }
    copies_are(&database, "(2,13,5)", "(1,1)").await;
}
