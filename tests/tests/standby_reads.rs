//! Reads at a standby: which statements go there, how fresh it must be, and what happens when it hangs, dies or is promoted.

use std::time::{Duration, Instant};

use shard_node::Stop;
use tests::{Cluster, ClusterOptions, Direction, PATIENCE, connect, eventually};
use tokio_postgres::Client;

/// Where a statement runs that reads one row of the table.
const WHERE: &str = "select pg_is_in_recovery() from posts where author = ";

/// Two shards, and a standby of shard 1.
fn cluster(config: &str) -> Cluster {
    Cluster::start_with(ClusterOptions {
        shards: Some(2),
        standby_of: Some(1),
        config: config.to_owned(),
        environment: vec![("OSKOL_CLUSTER__CONNECT_TIMEOUT".into(), "1s".into())],
        ..ClusterOptions::default()
    })
}

/// Tables, and a key of each shard; the standby has it all.
async fn prepare(cluster: &Cluster, client: &Client) -> [i64; 2] {
    let tables = "create table posts (author bigint, id bigint); select oskol.shard_table('posts', 'author');
        create table plain (n int); create sequence numbers;
        create function bumps() returns bigint language sql volatile as $$ select 1::bigint $$;
        create function adds(a int) returns int language sql stable as $$ select a + 1 $$;
        insert into posts select n, n from generate_series(1, 40) n";
    client.batch_execute(tables).await.unwrap();
    let mut keys = [0; 2];
    for (number, key) in keys.iter_mut().enumerate() {
        let shard = cluster.shard(number).await;
        *key = shard
            .query_one("select min(author) from posts", &[])
            .await
            .unwrap()
            .get(0);
    }
    keys
}

async fn ask(client: &Client, from: &str, lag: &str) {
    let set = format!("set oskol.read_from = '{from}'; set oskol.max_standby_lag = '{lag}'");
    client.batch_execute(&set).await.unwrap();
}

async fn is_standby(client: &Client, sql: &str) -> bool {
    client.query(sql, &[]).await.unwrap()[0].get(0)
}

async fn reads_at_standby(client: &Client, key: i64) {
    eventually("the standby is read from", async || {
        is_standby(client, &format!("{WHERE}{key}")).await
    })
    .await;
}

async fn code(client: &Client, sql: &str) -> String {
    let error = client.batch_execute(sql).await.expect_err(sql);
    error
        .as_db_error()
        .expect("of the router or a shard")
        .code()
        .code()
        .to_owned()
}

#[tokio::test]
async fn statements_that_only_read_go_to_a_standby_when_asked() {
    let cluster = cluster("");
    let client = cluster.client().await;
    let [near, far] = prepare(&cluster, &client).await;
    assert!(
        !is_standby(&client, &format!("{WHERE}{far}")).await,
        "nobody has asked"
    );

    ask(&client, "prefer_standby", "30s").await;
    reads_at_standby(&client, far).await;
    assert!(
        !is_standby(&client, &format!("{WHERE}{near}")).await,
        "its shard has no standby"
    );
    // In both protocols, by parameter, by literal, over both shards, and through a gather.
    let row = client
        .query_one(&format!("{WHERE}$1"), &[&far])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
    let scatter = "select count(*) filter (where pg_is_in_recovery()) > 0, count(*) from posts";
    let row = client.query_one(scatter, &[]).await.unwrap();
    assert_eq!((row.get::<_, bool>(0), row.get::<_, i64>(1)), (true, 40));
    let gather = "select count(*) from posts a join posts b on a.id = b.author + 1";
    assert_eq!(
        client
            .query_one(gather, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        39
    );
    assert!(
        is_standby(&client, &format!("{WHERE}{far} and adds(1) = 2")).await,
        "a stable function"
    );

    // What a standby cannot do goes to the primary.
    for end in ["for update", "and bumps() = 1"] {
        assert!(
            !is_standby(&client, &format!("{WHERE}{far} {end}")).await,
            "{end}"
        );
    }
    client
        .batch_execute("select nextval('numbers'), setval('numbers', 7), txid_current()")
        .await
        .unwrap();
    client
        .batch_execute(&format!("insert into posts values ({far}, 1000)"))
        .await
        .unwrap();
    client
        .batch_execute("create temporary table mine (n int); insert into mine values (1)")
        .await
        .unwrap();
    assert_eq!(
        client
            .query_one("select n from mine", &[])
            .await
            .unwrap()
            .get::<_, i32>(0),
        1
    );
    assert!(
        !is_standby(&client, &format!("{WHERE}{far}")).await,
        "the session has temporary tables"
    );
    let shown = client.query_one("show oskol.read_from", &[]).await.unwrap();
    assert_eq!(shown.get::<_, &str>(0), "prefer_standby");
}

#[tokio::test]
async fn read_only_transactions_go_there_as_a_whole_and_others_do_not() {
    let cluster = cluster("");
    let client = cluster.client().await;
    let [_, far] = prepare(&cluster, &client).await;
    ask(&client, "prefer_standby", "30s").await;
    reads_at_standby(&client, far).await;
    let question = format!("{WHERE}{far}");

    client
        .batch_execute("begin read only; set local work_mem = '1MB'")
        .await
        .unwrap();
    assert!(is_standby(&client, &question).await);
    assert!(
        !is_standby(&client, &format!("{question} and bumps() = 1")).await,
        "only a primary can"
    );
    assert!(is_standby(&client, &question).await);
    client
        .batch_execute("savepoint s; declare c cursor for select author from posts; fetch 5 from c")
        .await
        .unwrap();
    let row = client.query_one("show work_mem", &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "1MB");
    assert_eq!(
        code(&client, &format!("insert into posts values ({far}, 1)")).await,
        "25006"
    );
    client.batch_execute("rollback to s").await.unwrap();
    assert!(is_standby(&client, &question).await);
    client.batch_execute("commit").await.unwrap();

    client
        .batch_execute("begin; set transaction read only")
        .await
        .unwrap();
    assert!(is_standby(&client, &question).await, "by SET TRANSACTION");
    client.batch_execute("commit").await.unwrap();
    for begin in ["begin", "begin isolation level repeatable read read only"] {
        client.batch_execute(begin).await.unwrap();
        assert!(!is_standby(&client, &question).await, "{begin}");
        client.batch_execute("commit").await.unwrap();
    }
    client
        .batch_execute(&format!("begin; insert into posts values ({far}, 2000)"))
        .await
        .unwrap();
    let seen = client
        .query_one("select count(*) from posts where id = 2000", &[])
        .await
        .unwrap();
    assert_eq!(seen.get::<_, i64>(0), 1, "its own write");
    client
        .batch_execute("rollback; set oskol.cross_shard_reads = 'consistent'")
        .await
        .unwrap();
    let row = client
        .query_one("select bool_or(pg_is_in_recovery()) from posts", &[])
        .await
        .unwrap();
    assert!(
        !row.get::<_, bool>(0),
        "snapshots of one moment are the primaries'"
    );
}

#[tokio::test]
async fn a_standby_that_is_behind_its_bound_is_not_read_from() {
    let cluster = cluster(
        "[reads]\nfrom = \"prefer_standby\"\nmax_lag = \"2s\"\ncheck_interval = \"100ms\"\n",
    );
    let client = cluster.client().await;
    let [_, far] = prepare(&cluster, &client).await;
    let standby = connect(&cluster.standby().url()).await.unwrap();
    let (question, rows) = (
        format!("{WHERE}{far}"),
        format!("select count(*) from posts where author = {far}"),
    );
    reads_at_standby(&client, far).await;

    standby
        .batch_execute("select pg_wal_replay_pause()")
        .await
        .unwrap();
    eventually("replay is paused", async || {
        let row = standby
            .query_one("select pg_get_wal_replay_pause_state() = 'paused'", &[])
            .await;
        row.unwrap().get::<_, bool>(0)
    })
    .await;
    let written = Instant::now();
    client
        .batch_execute(&format!("insert into posts values ({far}, 500)"))
        .await
        .unwrap();
    let mut stale = 0;
    // Whatever shows the row late is no more than the bound late.
    while written.elapsed() < Duration::from_secs(4) {
        let began = written.elapsed();
        let count: i64 = client.query_one(&rows, &[]).await.unwrap().get(0);
        if count == 1 {
            stale += 1;
            assert!(
                began < Duration::from_millis(2_100),
                "stale {began:?} after the write"
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(stale > 0, "the standby was never read from");
    assert!(!is_standby(&client, &question).await);
    ask(&client, "standby", "2s").await;
    let error = client.query_one(&question, &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "08001");
    assert!(error.detail().unwrap().contains("ms and "), "{error:?}");
    standby
        .batch_execute("select pg_wal_replay_resume()")
        .await
        .unwrap();
    ask(&client, "standby", "2s").await;
    reads_at_standby(&client, far).await;
    assert_eq!(
        client.query_one(&rows, &[]).await.unwrap().get::<_, i64>(0),
        2
    );
    // A session that takes older rows is given them; one that counts bytes is not.
    standby
        .batch_execute("select pg_wal_replay_pause()")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client
        .batch_execute(&format!("insert into posts values ({far}, 600)"))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    ask(&client, "standby", "10min").await;
    assert!(is_standby(&client, &question).await);
    ask(&client, "prefer_standby", "10min,0B").await;
    assert!(!is_standby(&client, &question).await);
    standby
        .batch_execute("select pg_wal_replay_resume()")
        .await
        .unwrap();
    reads_at_standby(&client, far).await;
    assert_eq!(
        code(&client, "set oskol.read_from = 'replica'").await,
        "22023"
    );
    client.batch_execute("reset oskol.read_from").await.unwrap();

    let admin = connect(&cluster.url_of("oskol")).await.unwrap();
    let shown = admin.simple_query("show standbys").await.unwrap();
    let states: Vec<String> = shown
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get("state").map(str::to_owned),
            _ => None,
        })
        .collect();
    assert_eq!(states, ["primary", "standby"]);
}

#[tokio::test]
async fn a_changed_table_or_map_is_read_only_where_it_has_arrived() {
    let cluster = cluster("[reads]\nfrom = \"prefer_standby\"\nmax_lag = \"1h\"\n");
    let client = cluster.client().await;
    let [near, far] = prepare(&cluster, &client).await;
    let standby = connect(&cluster.standby().url()).await.unwrap();
    reads_at_standby(&client, far).await;
    standby
        .batch_execute("select pg_wal_replay_pause()")
        .await
        .unwrap();
    client
        .batch_execute("alter table posts add column title text default 'new'")
        .await
        .unwrap();
    let title = format!("select title from posts where author = {far}");
    assert_eq!(
        client
            .query_one(&title, &[])
            .await
            .unwrap()
            .get::<_, &str>(0),
        "new",
        "at the primary"
    );
    standby
        .batch_execute("select pg_wal_replay_resume()")
        .await
        .unwrap();
    reads_at_standby(&client, far).await;

    // The buckets of shard 0 move to the shard whose standby stands still.
    standby
        .batch_execute("select pg_wal_replay_pause()")
        .await
        .unwrap();
    let admin = connect(&cluster.url_of("oskol")).await.unwrap();
    admin.simple_query("drain shard 1").await.unwrap();
    eventually("all rows are on shard 0", async || {
        let shard = cluster.shard(0).await;
        shard
            .query_one("select count(*) from posts", &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
            == 40
    })
    .await;
    // The standby still has its rows: none may be seen twice, or be missing.
    let count: i64 = client
        .query_one("select count(*) from posts", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(count, 40);
    for key in [near, far] {
        let sql = format!("select count(*) from posts where author = {key}");
        assert_eq!(
            client.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0),
            1
        );
    }
    standby
        .batch_execute("select pg_wal_replay_resume()")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_standby_that_hangs_or_dies_is_left_and_others_go_on() {
    let cluster = cluster("[reads]\nfrom = \"prefer_standby\"\nmax_lag = \"3s\"\n");
    let (client, reader) = (cluster.client().await, cluster.client().await);
    let [_, far] = prepare(&cluster, &client).await;
    reads_at_standby(&client, far).await;
    reads_at_standby(&reader, far).await;

    // A statement under way there is not held for as long as the server hangs.
    let slow = format!("{WHERE}{far} and pg_sleep(2) is not null");
    let under_way = tokio::spawn(async move { reader.query_one(&slow, &[]).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.standby().hang();
    let lost = tokio::time::timeout(PATIENCE, under_way)
        .await
        .expect("it ends")
        .unwrap()
        .unwrap_err();
    assert_eq!(
        lost.as_db_error().expect("told").code().code(),
        "08006",
        "{lost:?}"
    );
    assert!(
        !is_standby(&client, &format!("{WHERE}{far}")).await,
        "its age is no longer known to be within the bound"
    );
    cluster.standby().goes_on();
    reads_at_standby(&client, far).await;

    cluster.standby().stop(Stop::Immediate);
    // Idle connections are known to be closed; none fails because of them.
    for _ in 0..50 {
        assert!(!is_standby(&client, &format!("{WHERE}{far}")).await);
    }
    client
        .batch_execute(&format!("insert into posts values ({far}, 1)"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_standby_is_promoted_in_the_middle_of_a_transaction_that_reads() {
    let cluster = cluster("[reads]\nfrom = \"prefer_standby\"\nmax_lag = \"1min\"\n");
    let client = cluster.client().await;
    let [_, far] = prepare(&cluster, &client).await;
    reads_at_standby(&client, far).await;
    client.batch_execute("begin read only").await.unwrap();
    assert!(is_standby(&client, &format!("{WHERE}{far}")).await);

    cluster.stop_shard(1, Stop::Immediate);
    let standby = connect(&cluster.standby().url()).await.unwrap();
    standby.batch_execute("select pg_promote()").await.unwrap();
    // The connection lives on: the transaction reads what is now the primary, and still writes nothing.
    assert!(!is_standby(&client, &format!("{WHERE}{far}")).await);
    assert_eq!(
        code(&client, &format!("insert into posts values ({far}, 3)")).await,
        "25006"
    );
    client.batch_execute("rollback").await.unwrap();
    client
        .batch_execute(&format!("insert into posts values ({far}, 3)"))
        .await
        .unwrap();
    let rows = format!("select count(*) from posts where author = {far}");
    assert_eq!(
        client.query_one(&rows, &[]).await.unwrap().get::<_, i64>(0),
        2
    );
    // What was a standby a moment ago shows no less than one does, until it has been measured as the primary.
    ask(&client, "standby", "1s").await;
    eventually("no standby is left", async || {
        client.query_one(&rows, &[]).await.is_err()
    })
    .await;
    assert_eq!(code(&client, &rows).await, "08001");
}

/// Nobody waits for such a router when rows move, and a standby cannot keep it out.
#[tokio::test]
async fn a_router_cut_off_from_the_home_shard_reads_at_no_standby() {
    let cluster = Cluster::start_with(ClusterOptions {
        shards: Some(2),
        standby_of: Some(1),
        proxied: true,
        environment: vec![("OSKOL_CLUSTER__CONNECT_TIMEOUT".into(), "1s".into())],
        ..ClusterOptions::default()
    });
    let client = cluster.client().await;
    let [_, far] = prepare(&cluster, &client).await;
    ask(&client, "standby", "10min").await;
    reads_at_standby(&client, far).await;

    let sql = format!("{WHERE}{far}");
    cluster.proxy(0).lose(Direction::ToShard);
    eventually("the standby is spared", async || {
        client.query(&sql, &[]).await.is_err()
    })
    .await;
    assert_eq!(code(&client, &sql).await, "57P03");
    cluster.proxy(0).heal();
    eventually("the home shard is reached again", async || {
        let rows = client.query(&sql, &[]).await;
        rows.is_ok_and(|rows| rows[0].get(0))
    })
    .await;
}
