//! What version 4 has left is used by a router of now, with nothing lost; it is not changed under a router of version 4.
//!
//! `upgrade/` has the SQL that version 4 ran, and the rows and entries of a cluster of two shards.

use tests::{Cluster, ClusterOptions, connect};
use tokio_postgres::{Client, SimpleQueryMessage};

/// In the order in which they are run, for shard 0, the home shard, and shard 1.
const SHARDS: [[&str; 4]; 2] = [
    [
        include_str!("upgrade/version_4_home.sql"),
        include_str!("upgrade/tables.sql"),
        include_str!("upgrade/rows_0.sql"),
        include_str!("upgrade/rules.sql"),
    ],
    [
        include_str!("upgrade/version_4_other.sql"),
        include_str!("upgrade/tables.sql"),
        include_str!("upgrade/rows_1.sql"),
        "",
    ],
];
/// By router 3, with shard 0 as its lead and two shards; the second one is decided.
const OPEN: &str = "oskol:test:3:8:0:2";
const DECIDED: &str = "oskol:test:3:9:0:2";

async fn run(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// One line for each row, columns parted by `|`.
async fn ask(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await;
    let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let line = |message| match message {
        SimpleQueryMessage::Row(row) => {
            let values = (0..row.len()).map(|column| row.get(column).unwrap_or_default());
            Some(values.collect::<Vec<_>>().join("|"))
        }
        _ => None,
    };
    messages.into_iter().filter_map(line).collect()
}

async fn refusal(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.expect_err(sql);
    error
        .as_db_error()
        .expect("of a server")
        .message()
        .to_owned()
}

/// Makes `database` of both shards what version 4 has left.
async fn make_old(cluster: &Cluster, database: &str) {
    for (number, parts) in SHARDS.iter().enumerate() {
        let shard = connect(&cluster.shard_url(number, database)).await.unwrap();
        let identity = format!(
            "insert into oskol.meta (cluster, shard, home, version) values ('test', {number}, 0, 4)"
        );
        run(&shard, "begin").await;
        run(&shard, include_str!("upgrade/version_4_shard.sql")).await;
        run(&shard, &identity).await;
        for part in parts {
            run(&shard, part).await;
        }
        run(&shard, "commit").await;
    }
}

/// Two transactions whose router was killed: they lock what is to be renewed.
async fn leave_in_doubt(home: &Client, other: &Client) {
    for (gid, id) in [(OPEN, 21), (DECIDED, 22)] {
        let insert = format!(
            "begin; insert into countries values ('{id}', 'new'); insert into users values ({id}, 'new')"
        );
        run(other, &insert).await;
        run(other, &format!("prepare transaction '{gid}'")).await;
    }
    let decided = format!(
        "insert into countries values ('22', 'new'); insert into oskol.decision (gid, outcome) values ('{DECIDED}', 'commit')"
    );
    run(home, &decided).await;
}

async fn version(cluster: &Cluster, number: usize, database: &str) -> Vec<String> {
    let shard = connect(&cluster.shard_url(number, database)).await.unwrap();
    ask(&shard, "select version from oskol.meta").await
}

fn now() -> Vec<String> {
    vec![schema::sql::VERSION.to_string()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_router_renews_what_an_older_version_has_left() {
    let cluster = Cluster::without_router(ClusterOptions {
        shards: Some(2),
        ..ClusterOptions::default()
    });
    make_old(&cluster, "postgres").await;
    let (home, other) = (cluster.shard(0).await, cluster.shard(1).await);
    leave_in_doubt(&home, &other).await;
    cluster.start_router();
    for number in [0, 1] {
        assert_eq!(version(&cluster, number, "postgres").await, now());
    }
    let left = ask(&other, "select gid from pg_prepared_xacts").await;
    assert!(left.is_empty(), "{left:?}");

    let client = cluster.client().await;
    let placed = "select name, placement, key from oskol.tables order by name";
    let expected = [
        "countries|reference|",
        "follows|sharded|follower",
        "posts|sharded|user_id",
        "users|sharded|id",
    ];
    assert_eq!(ask(&client, placed).await, expected);
    let moves = "select state, buckets, source, target, rows from oskol.moves";
    assert_eq!(ask(&home, moves).await, ["done|{7}|0|1|3"]);
    // The decided one is there, the other one is not.
    let users = "select count(*), max(id) from users";
    assert_eq!(ask(&client, users).await, ["13|22"]);
    let countries = "select code from countries order by code";
    for shard in [&home, &other] {
        assert_eq!(ask(shard, countries).await, ["22", "DE", "FI"]);
    }

    // Each entry is found, wherever it is, and keeps others out.
    for number in 1..=12 {
        let found = format!("select user_id from posts where slug = 's{number}'");
        assert_eq!(ask(&client, &found).await, [number.to_string()]);
        let again = format!("insert into posts (user_id, slug) values (5, 's{number}')");
        let refused = "duplicate key value violates unique constraint \"posts_slug\"";
        assert_eq!(refusal(&client, &again).await, refused);
        let again = format!("insert into users (name, email) values ('x', 'u{number}@x')");
        let refused = "duplicate key value violates unique constraint \"users_email\"";
        assert_eq!(refusal(&client, &again).await, refused);
    }
    run(
        &client,
        "update posts set slug = 'other' where user_id = 12",
    )
    .await;
    run(
        &client,
        "insert into posts (user_id, slug) values (5, 's12')",
    )
    .await;
    let found = "select user_id from posts where slug in ('other', 's12') order by 1";
    assert_eq!(ask(&client, found).await, ["5", "12"]);

    // References to rows of another shard hold, and what follows from them is done.
    let refused =
        "insert or update on table \"follows\" violates foreign key constraint \"followed_fk\"";
    let dangling = "insert into follows values (1, 999)";
    assert_eq!(refusal(&client, dangling).await, refused);
    let followers = "select count(*) from follows where followed = 8";
    assert_eq!(ask(&client, followers).await, ["1"]);
    run(&client, "delete from users where id = 8").await;
    assert_eq!(ask(&client, followers).await, ["0"]);

    // Ids go on after those that were given, and no shard gives its own.
    let made = "insert into users (name) select 'n' from generate_series(1, 4) returning id > 32";
    let made = client.query(made, &[]).await.unwrap();
    assert!(
        made.len() == 4 && made.iter().all(|row| row.get(0)),
        "{made:?}"
    );
    refusal(&other, "insert into users (name) values ('n')").await;
}

/// The home shard is renewed first, and an error may end it then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_that_was_broken_off_between_two_shards_is_finished() {
    let cluster = Cluster::without_router(ClusterOptions {
        shards: Some(2),
        ..ClusterOptions::default()
    });
    make_old(&cluster, "postgres").await;
    cluster.start_router();
    cluster.stop_router();
    let other = cluster.shard(1).await;
    run(&other, "update oskol.meta set version = 4").await;
    run(&other, "begin; lock table users in row exclusive mode").await;
    run(&other, &format!("prepare transaction '{OPEN}'")).await;
    cluster.start_router();
    assert_eq!(version(&cluster, 1, "postgres").await, now());
    let client = cluster.client().await;
    assert_eq!(ask(&client, "select count(*) from users").await, ["12"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_renewed_while_a_router_of_an_older_version_lives() {
    let cluster = Cluster::start(2);
    let database = cluster.database("old");
    make_old(&cluster, &database.name).await;
    let home = database.shard(0).await;
    let sign = "insert into oskol.routers (id, address, epoch, sequence_epoch) values (3, '127.0.0.2:6432', 1, 1)
        on conflict (id) do update set heartbeat = clock_timestamp()";
    run(&home, sign).await;
    let error = connect(&database.url()).await.expect_err("a refusal");
    let error = error.as_db_error().expect("of the router");
    assert_eq!(
        error.message(),
        format!(
            "schema oskol of database \"{}\" is of version 4, a router that works with it lives, and this router would renew it to version {}",
            database.name,
            schema::sql::VERSION
        )
    );
    assert_eq!(
        error.hint(),
        Some("Stop all routers of the older version, and start this one then.")
    );
    for number in [0, 1] {
        assert_eq!(version(&cluster, number, &database.name).await, ["4"]);
    }
    run(&home, "delete from oskol.routers").await;
    let client = database.client().await;
    assert_eq!(ask(&client, "select count(*) from users").await, ["12"]);
}
