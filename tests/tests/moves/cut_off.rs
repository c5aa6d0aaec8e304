//! A router that cannot reach the home shard, and so does not hear that rows move, never answers from where they were.

use std::time::Duration;

use tests::{Cluster, ClusterOptions, Direction, Router, SpareServer, eventually};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::{add, admin, admin_client, is_clean, load::USERS, load::prepare, rebalance_is};

/// Rows or the SQLSTATE of an error; what the router did not answer in time is no answer.
async fn asked(client: &Client, sql: &str) -> Result<Vec<String>, String> {
    let answer = tokio::time::timeout(Duration::from_secs(30), client.simple_query(sql));
    match answer.await.expect("an answer in time") {
        Ok(messages) => Ok(messages.iter().filter_map(cell).collect()),
        Err(error) => Err(error.code().map_or("none", |code| code.code()).to_owned()),
    }
}

fn cell(message: &SimpleQueryMessage) -> Option<String> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }
}

/// Three shards and a fourth that has no buckets; a second router, which is to be cut off.
struct Stage {
    other: Router,
    operator: Client,
    _spare: SpareServer,
    cluster: Cluster,
}

impl Stage {
    async fn new() -> Stage {
        let cluster = Cluster::start_with(ClusterOptions {
            shards: Some(3),
            proxied: true,
            ..ClusterOptions::default()
        });
        prepare(&cluster).await;
        let spare = cluster.spare_server();
        let operator = admin_client(&cluster).await;
        add(&operator, "fourth", &spare).await;
        let other = cluster.another_router();
        Stage {
            other,
            operator,
            _spare: spare,
            cluster,
        }
    }

    /// A client of the router that is to be cut off.
    async fn client(&self) -> Client {
        let client = tests::connect(&self.other.url_of("postgres")).await;
        client.expect("the other router serves")
    }

    /// Some user whose row is on that shard, and the bucket.
    async fn user_on(&self, shard: i32) -> (i64, i64) {
        let home = self.cluster.shard(0).await;
        let sql =
            "select u, b.bucket::int8 from generate_series(1, $2::int8) u join oskol.buckets b
            on b.bucket = hashint8extended(u, 0) & 4095 where b.shard = $1 limit 1";
        let row = home
            .query_one(sql, &[&shard, &USERS])
            .await
            .expect("a user");
        (row.get(0), row.get(1))
    }

    async fn move_away(&self, bucket: i64) {
        admin(&self.operator, &format!("MOVE BUCKET {bucket} TO fourth")).await;
        let moves = rebalance_is(&self.operator, "finished").await;
        println!("moved: {moves:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_cut_off_refuses_what_has_moved_and_serves_the_rest() {
    let stage = Stage::new().await;
    let (moved, bucket) = stage.user_on(1).await;
    let (stays, _) = stage.user_on(2).await;
    let (client, within) = (stage.client().await, stage.client().await);
    let read = |user: i64| format!("select kind from users where id = {user}");
    let before = asked(&client, &read(moved)).await.expect("before");
    assert_eq!(before.len(), 1);
    let kind = asked(&client, &read(stays)).await.expect("before");
    let all = "select count(*) from users";
    asked(&client, all).await.expect("before");
    within.batch_execute("begin").await.expect("begun");
    asked(&within, &read(moved))
        .await
        .expect("in a transaction");

    let cut_off = stage.other.pid().expect("it runs");
    stage.cluster.proxy(0).lose_of(cut_off, Direction::ToShard);
    stage.move_away(bucket).await;
    let here = stage.cluster.client().await;
    let write = format!("update users set kind = 'new' where id = {moved}");
    here.batch_execute(&write).await.expect("at its new place");

    // The transaction of before has ended, and nothing finds the row's old place empty.
    let told = asked(&within, &read(moved)).await;
    assert!(told.is_err(), "{told:?}");
    for sql in [
        read(moved),
        format!("update users set balance = 1 where id = {moved}"),
        format!("delete from visits where user_id = {moved}"),
        format!("insert into ledger values ({moved}, 1, 'x')"),
        format!("select kind from users where id in ({moved}, {stays})"),
    ] {
        assert_eq!(asked(&client, &sql).await, Err("57P03".into()), "{sql}");
    }
    // Other shards go on.
    assert_eq!(asked(&client, &read(stays)).await, Ok(kind));

    stage.cluster.proxy(0).heal();
    eventually(
        "the router serves the row from its new place",
        async || match asked(&client, &read(moved)).await {
            Ok(rows) => {
                assert_eq!(rows, ["new"]);
                true
            }
            Err(_) => false,
        },
    )
    .await;
    assert_eq!(asked(&client, all).await, Ok(vec![USERS.to_string()]));
    is_clean(&stage.cluster).await;
}

/// It hears no more of a table's new place than of a bucket's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_is_cut_off_does_not_read_a_table_as_it_was_placed_before() {
    let stage = Stage::new().await;
    let here = stage.cluster.client().await;
    let colours =
        "create table colours (id bigint primary key); select oskol.reference_table('colours');
        insert into colours select g from generate_series(1, 100) g";
    here.batch_execute(colours)
        .await
        .expect("a reference table");
    // On one shard, which is not the home shard.
    let (user, _) = stage.user_on(2).await;
    let read = format!("select count(*) from colours, users where users.id = {user}");
    let client = stage.client().await;
    assert_eq!(asked(&client, &read).await, Ok(vec!["100".to_owned()]));

    let cut_off = stage.other.pid().expect("it runs");
    stage.cluster.proxy(0).lose_of(cut_off, Direction::ToShard);
    let place = "select oskol.shard_table('colours', 'id')";
    here.batch_execute(place).await.expect("placed anew");
    for sql in [read.as_str(), "insert into colours values (101)"] {
        let asked = tokio::time::timeout(Duration::from_secs(5), asked(&client, sql));
        // What waits for the home shard is no answer.
        if let Ok(told) = asked.await {
            assert_eq!(told, Err("57P03".into()), "{sql}");
        }
    }
    stage.cluster.proxy(0).heal();
    let url = stage.other.url_of("postgres");
    eventually("the router has heard of it", async || {
        // A client that comes before that is refused as well.
        let Ok(client) = tests::connect(&url).await else {
            return false;
        };
        asked(&client, "select count(*) from colours").await == Ok(vec!["100".to_owned()])
    })
    .await;
    is_clean(&stage.cluster).await;
}

/// Stopped as a whole, it goes on with its clients' statements before it has heard of anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_was_stopped_meanwhile_does_not_answer_from_the_old_place() {
    let stage = Stage::new().await;
    let (moved, bucket) = stage.user_on(1).await;
    let read = format!("select kind from users where id = {moved}");
    let mut clients = Vec::new();
    for _ in 0..8 {
        let client = stage.client().await;
        asked(&client, &read).await.expect("before");
        clients.push(client);
    }
    let pid = nix::unistd::Pid::from_raw(stage.other.pid().expect("it runs").cast_signed());
    let signal = |signal| nix::sys::signal::kill(pid, signal).expect("it is ours");
    signal(nix::sys::signal::Signal::SIGSTOP);
    stage.move_away(bucket).await;
    let here = stage.cluster.client().await;
    let write = format!("update users set kind = 'new' where id = {moved}");
    here.batch_execute(&write).await.expect("at its new place");
    // They wait in the router's sockets when it goes on.
    let waiting: Vec<_> = clients.iter().map(|client| asked(client, &read)).collect();
    let (answers, ()) = tokio::join!(futures_util::future::join_all(waiting), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        signal(nix::sys::signal::Signal::SIGCONT);
    });
    println!("{answers:?}");
    for answer in answers {
        match answer {
            Ok(rows) => assert_eq!(rows, ["new"]),
            Err(state) => assert!(
                ["57P03", "57P01", "08006", "40001"].contains(&state.as_str()),
                "{state}"
            ),
        }
    }
    eventually("the router serves the row from its new place", async || {
        asked(&clients[0], &read).await == Ok(vec!["new".to_owned()])
    })
    .await;
    is_clean(&stage.cluster).await;
}
