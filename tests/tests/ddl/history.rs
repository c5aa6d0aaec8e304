//! What the schema history has, and that all shards agree on it, whatever dies.

use tests::{Cluster, Database, connect, eventually};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{cluster, run};

async fn history(database: &Database<'_>) -> Vec<(String, String)> {
    let sql = "select kind, statement from oskol.schema_history order by number";
    let rows = database.shard(0).await.query(sql, &[]).await;
    let rows = rows.expect("a history");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// All shards have made the same changes; how many.
async fn number(shards: &[Client]) -> Option<i64> {
    let mut found = Vec::new();
    for shard in shards {
        let sql = "select number, digest from oskol.applied";
        let row = shard.query_one(sql, &[]).await.expect("a standing");
        found.push((row.get::<_, i64>(0), row.get::<_, i64>(1)));
    }
    found.dedup();
    (found.len() == 1).then(|| found[0].0)
}

async fn shards(database: &Database<'_>) -> Vec<Client> {
    let mut all = Vec::new();
    for shard in 0..database.cluster.shard_count() {
        all.push(database.shard(shard).await);
    }
    all
}

#[tokio::test]
async fn the_history_has_every_change_as_it_was_written_and_no_other() {
    let database = cluster().database("history");
    let client = database.client().await;
    let made = [
        (
            "CREATE TABLE",
            "create table posts (user_id bigint, body text) /* as written */",
        ),
        ("ALTER TABLE", "alter table posts add column at timestamptz"),
        (
            "CREATE INDEX",
            "create index concurrently by_body on posts (body)",
        ),
        ("DROP INDEX", "drop index concurrently by_body"),
        ("CREATE TABLE", "create table plain (id int)"),
        ("PLACE TABLE", "select oskol.shard_table('plain', 'id')"),
        ("COMMENT", "comment on table plain is 'x'"),
        ("GRANT", "grant select on plain to public"),
        ("CREATE TABLE", "create table kept (id int)"),
        (
            "CREATE FUNCTION",
            "create function one() returns int language sql as 'select 1'",
        ),
        ("DROP TABLE", "drop table kept"),
    ];
    for (_, statement) in &made[..8] {
        run(&client, statement).await;
    }
    // What is rolled back was never there.
    run(&client, "begin; create table gone (id int); rollback").await;
    let parts = format!(
        "begin; {}; savepoint s; create table gone (id int); rollback to s; {}; commit",
        made[8].1, made[9].1
    );
    for statement in parts.split("; ") {
        run(&client, statement).await;
    }
    run(&client, made[10].1).await;
    // Rows, upkeep, roles.
    for other in [
        "insert into posts values (1, 'x')",
        "truncate posts",
        "vacuum posts",
        "reindex table posts",
        "create role history_role password 'secret in clear'",
        "alter role history_role password 'another secret'",
        "drop role history_role",
        "create temporary table of_session (id int)",
    ] {
        run(&client, other).await;
    }
    run(
        &client,
        "do $$ begin execute 'create role history_done password ''hidden'''; end $$",
    )
    .await;
    run(&client, "drop role history_done").await;
    let expected: Vec<_> = made
        .iter()
        .map(|(kind, statement)| ((*kind).to_owned(), (*statement).to_owned()))
        .chain([(
            "DO".to_owned(),
            "DO (not kept, as it may hold a password)".to_owned(),
        )])
        .collect();
    assert_eq!(history(&database).await, expected);
    let number = number(&shards(&database).await).await;
    assert_eq!(number, Some(expected.len() as i64));

    let admin = connect(&database.cluster.url_of("oskol")).await;
    let shown = admin
        .expect("the admin database")
        .simple_query("SHOW SCHEMA_HISTORY")
        .await;
    let shown = shown
        .expect("shown")
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.get(0) == Some(&database.name) => Some((
                row.get(4).unwrap().to_owned(),
                row.get(5).unwrap().to_owned(),
            )),
            _ => None,
        });
    assert_eq!(shown.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn no_client_can_change_what_a_shard_has_made() {
    let database = cluster().database("history_rights");
    let client = database.client().await;
    run(
        &client,
        "create role history_plain; grant create on schema public to history_plain",
    )
    .await;
    run(&client, "set role history_plain").await;
    for sql in [
        "select oskol.note_schema_change('x', 'y', 'z', '{}', '')",
        "update oskol.applied set number = 100",
        "delete from oskol.schema_history",
        "select statement from oskol.schema_history",
    ] {
        assert!(client.batch_execute(sql).await.is_err(), "{sql}");
    }
    run(&client, "create table of_plain (id int)").await;
    assert!(number(&shards(&database).await).await.is_some());
    let sql = "select role from oskol.schema_history order by number desc limit 1";
    let row = database.shard(0).await.query_one(sql, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "history_plain");
    run(&client, "drop table of_plain; reset role").await;
    run(
        &client,
        "revoke create on schema public from history_plain; drop role history_plain",
    )
    .await;
}

/// A router is killed at every place of the commit of a change: the others go on, with the change or without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_dies_while_it_commits_a_change_leaves_it_on_all_shards_or_on_none() {
    let cluster = Cluster::start(3);
    let other = cluster.another_router();
    let database = cluster.database("postgres_killed");
    let name = database.name.clone();
    run(
        &database.client().await,
        "create table t (k bigint primary key); select oskol.shard_table('t', 'k')",
    )
    .await;
    let elsewhere = connect(&other.url_of(&name))
        .await
        .expect("the other router");
    run(
        &elsewhere,
        "insert into t select g from generate_series(1, 50) g",
    )
    .await;
    let shards = shards(&database).await;
    let points = [
        "prepared-0",
        "prepared-1",
        "prepared-2",
        "decision-sent",
        "finished-0",
        "finished-1",
    ];
    for (at, point) in points.iter().enumerate() {
        cluster.start_router();
        let before = number(&shards).await.expect("all alike");
        let client = connect(&cluster.url_of(&name)).await.expect("a client");
        let router = cluster.router();
        router.fault_points().arm(point);
        let sql = format!("alter table t add column c{at} int default {at}");
        let change = tokio::spawn(async move { client.batch_execute(&sql).await });
        router.fault_points().reached(point).await;
        cluster.kill_router();
        router.fault_points().release(point);
        let _ = change.await.expect("no panic");
        // New connections, which the shards have to let in while the transaction is in doubt.
        let fresh = connect(&other.url_of(&name))
            .await
            .expect("the other router");
        let count = fresh.simple_query("select count(*) from t").await;
        let count = count.unwrap_or_else(|error| panic!("{point}: {error:?}"));
        assert!(
            count
                .iter()
                .any(|row| matches!(row, SimpleQueryMessage::Row(row) if row.get(0) == Some("50")))
        );
        eventually("all shards have made the same changes", async || {
            number(&shards).await.is_some()
        })
        .await;
        let after = number(&shards).await.expect("all alike");
        let told = elsewhere
            .simple_query(&format!("select c{at} from t where k = 1"))
            .await;
        assert_eq!(told.is_ok(), after > before, "{point}: {told:?}");
        if *point == "prepared-0" {
            assert_eq!(after, before, "nothing was decided");
        }
        if point.starts_with("finished") {
            assert_eq!(after, before + 1, "it was decided");
        }
        run(&elsewhere, "alter table t alter k set statistics 5").await;
    }
}
