//! A server that joins: it has the rights that the home shard gives, and is nobody else's.

use tests::{Cluster, SpareServer, connect, eventually};
use tokio_postgres::Client;

use super::{add, admin, admin_client, is_clean, load::prepare};

async fn run(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// Who may do what with the database and with parameters, and who is a member of what.
async fn rights(client: &Client) -> Vec<String> {
    let sql = "select unnest(datacl)::text from pg_database where datname = 'postgres'
        union all select parname || ' ' || unnest(paracl)::text from pg_parameter_acl
        union all select roleid::regrole || ' to ' || member::regrole || ' ' || admin_option
            from pg_auth_members where member >= 16384
        union all select (setdatabase = 0)::text || ' ' || setrole::regrole || unnest(setconfig) from pg_db_role_setting
            where setdatabase in (0, (select oid from pg_database where datname = 'postgres')) order by 1";
    let rows = client.query(sql, &[]).await.expect("rights");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_on_the_new_shard_are_those_of_the_home_shard() {
    let cluster = Cluster::start(2);
    let client = cluster.client().await;
    run(
        &client,
        "create role bob; create role staff; create role chief; grant staff to chief with admin option;
        grant create on database postgres to bob; grant connect on database postgres to chief with grant option;
        revoke temporary on database postgres from public; grant set on parameter log_min_messages to bob",
    )
    .await;
    run(&client, "create database closed").await;
    run(&client, "alter database closed set work_mem to '77MB'").await;
    run(&client, "alter database closed allow_connections false").await;
    run(
        &client,
        "alter role bob in database postgres set work_mem to '7MB'",
    )
    .await;
    let spare = cluster.spare_server();
    let there = spare.client("postgres").await;
    run(
        &there,
        "create role bob; create role staff; create role chief; grant staff to bob; grant pg_read_all_data to bob;
        grant staff to chief; grant set on parameter work_mem to bob; grant alter system on parameter log_min_messages to bob",
    )
    .await;
    drop(there);
    add(&admin_client(&cluster).await, "third", &spare).await;
    let expected = rights(&cluster.shard(0).await).await;
    assert!(expected.len() > 4, "{expected:?}");
    assert_eq!(rights(&spare.client("postgres").await).await, expected);
    run(&client, "set role bob; create schema of_bob; reset role").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_of_another_cluster_of_the_same_name_is_left_alone() {
    let theirs = Cluster::start(2);
    let client = theirs.client().await;
    run(
        &client,
        "create table t (k bigint primary key); select oskol.shard_table('t', 'k')",
    )
    .await;
    run(&client, "insert into t select generate_series(1, 100)").await;
    let ours = Cluster::start(1);
    let operator = admin_client(&ours).await;
    let port = theirs.shard_node(1).port;
    let statement = format!("ADD SHARD other HOST '127.0.0.1' PORT {port}");
    for _ in 0..2 {
        let told = operator.simple_query(&statement).await.expect_err("theirs");
        let told = told.as_db_error().expect("an error of the router's");
        assert!(told.message().contains("another cluster"), "{told:?}");
    }
    let rows = client.query_one("select count(*) from t", &[]).await;
    assert_eq!(rows.expect("nothing is lost").get::<_, i64>(0), 100);
}

async fn prepared_on(spare: &SpareServer) -> i64 {
    let sql = "select count(*) from pg_prepared_xacts";
    let client = spare.client("template1").await;
    let row = client.query_one(sql, &[]).await.expect("a count");
    row.get(0)
}

/// Two routers have the same server join, as the first one has lost the lock, and does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_to_join_that_is_not_decided_is_settled_before_another_begins() {
    let cluster = Cluster::start(2);
    prepare(&cluster).await;
    let spare = cluster.spare_server();
    let other = cluster.another_router();
    let points = cluster.router().fault_points();
    points.arm("move-prepared");
    let first = admin_client(&cluster).await;
    let second = connect(&other.url_of("oskol")).await;
    let second = second.expect("the other router");
    let statement = format!(
        "ADD SHARD third HOST '{}' PORT {}",
        spare.host(),
        spare.port()
    );
    let slow = {
        let statement = statement.clone();
        tokio::spawn(async move { first.simple_query(&statement).await.is_ok() })
    };
    points.reached("move-prepared").await;
    let lose = "select pg_terminate_backend(pid, 5000) from pg_locks
        where locktype = 'advisory' and classid::int8 << 32 | objid::int8 = 8030875938581";
    run(&cluster.shard(0).await, lose).await;
    let joined = tokio::spawn(async move { admin(&second, &statement).await });
    eventually("the first attempt is taken back", async || {
        prepared_on(&spare).await == 0
    })
    .await;
    points.release("move-prepared");
    let _either = slow.await.expect("no panic");
    joined.await.expect("joined");
    let there = spare.client("postgres").await;
    let row = there.query_one("select count(*) from kinds", &[]).await;
    assert_eq!(row.expect("the table").get::<_, i64>(0), 50);
    is_clean(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_attempt_has_left_is_made_anew() {
    let cluster = Cluster::start(2);
    run(&cluster.client().await, "create database town").await;
    let town = connect(&cluster.url_of("town")).await.expect("a client");
    let table = "create table kinds (id int primary key); insert into kinds values (1)";
    run(&town, table).await;
    run(&town, "select oskol.reference_table('kinds')").await;
    let spare = cluster.spare_server();
    let points = cluster.router().fault_points();
    points.arm("move-ready");
    let operator = admin_client(&cluster).await;
    let statement = format!(
        "ADD SHARD third HOST '{}' PORT {}",
        spare.host(),
        spare.port()
    );
    let dies = tokio::spawn(async move { operator.simple_query(&statement).await.is_ok() });
    points.reached("move-ready").await;
    cluster.kill_router();
    assert!(!dies.await.expect("no panic"));
    points.release("move-ready");
    cluster.start_router();
    let id = add(&admin_client(&cluster).await, "third", &spare).await;
    assert_eq!(id, "2");
    let there = spare.client("town").await;
    let row = there.query_one("select count(*) from kinds", &[]).await;
    assert_eq!(row.expect("the table").get::<_, i64>(0), 1);
    is_clean(&cluster).await;
}
