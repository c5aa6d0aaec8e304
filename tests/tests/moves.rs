//! Shards are added and buckets move while clients write: nobody sees an error, nothing is lost, doubled or misplaced.

#[path = "moves/away.rs"]
mod away;
#[path = "moves/calls.rs"]
mod calls;
#[path = "moves/cut_off.rs"]
mod cut_off;
#[path = "moves/joining.rs"]
mod joining;
#[path = "moves/load.rs"]
mod load;
#[path = "moves/owners_code.rs"]
mod owners_code;

use std::time::{Duration, Instant};

use load::{Load, check_ledger, prepare};
use tests::{Cluster, ClusterOptions, SpareServer, eventually};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Rows of a statement of the admin database.
async fn admin(admin: &Client, statement: &str) -> Vec<Vec<String>> {
    let answer = admin.simple_query(statement).await;
    let answer = answer.unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
    let rows = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let cells = |row: tokio_postgres::SimpleQueryRow| {
        (0..row.len())
            .map(|at| row.get(at).unwrap_or_default().to_owned())
            .collect()
    };
    rows.map(cells).collect()
}

async fn admin_client(cluster: &Cluster) -> Client {
    tests::connect(&cluster.url_of("oskol"))
        .await
        .expect("the admin database")
}

async fn add(to: &Client, name: &str, server: &SpareServer) -> String {
    let statement = format!(
        "ADD SHARD {name} HOST '{}' PORT {}",
        server.host(),
        server.port()
    );
    admin(to, &statement).await[0][0].clone()
}

/// Waits for the end of the rebalance; its moves.
async fn moved(cluster: &Cluster) -> Vec<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let client = admin_client(cluster).await;
        let moves = admin(&client, "SHOW MOVES").await;
        let state = moves.first().map_or("finished", |row| row[1].as_str());
        match state {
            "finished" => return moves,
            "failed" => panic!("{moves:?}"),
            _ => assert!(Instant::now() < deadline, "{moves:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn is_clean(cluster: &Cluster) {
    let client = admin_client(cluster).await;
    let faults = admin(&client, "VERIFY").await;
    assert!(faults.is_empty(), "{faults:?}");
}

/// Buckets of database postgres on each shard.
async fn buckets(cluster: &Cluster) -> Vec<i64> {
    let home = cluster.shard(0).await;
    let sql =
        "select count(b.bucket) from oskol.shards s left join oskol.buckets b on b.shard = s.id
        group by s.id order by s.id";
    let rows = home.query(sql, &[]).await.expect("buckets");
    rows.iter().map(|row| row.get(0)).collect()
}

async fn some_rounds(load: &Load) {
    let before = load.done.load(std::sync::atomic::Ordering::Relaxed);
    eventually("the load goes on", async || {
        load.done.load(std::sync::atomic::Ordering::Relaxed) > before + 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_shard_takes_its_share_while_clients_write() {
    let cluster = Cluster::start(2);
    prepare(&cluster).await;
    let spare = cluster.spare_server();
    let load = Load::start(&[cluster.url()]);
    some_rounds(&load).await;
    let operator = admin_client(&cluster).await;
    let id = add(&operator, "third", &spare).await;
    assert_eq!(id, "2");
    assert_eq!(
        add(&operator, "third", &spare).await,
        "2",
        "again is the same"
    );
    let plan = admin(&operator, "REBALANCE PLAN").await;
    assert!(!plan.is_empty());
    admin(&operator, "REBALANCE").await;
    let moves = moved(&cluster).await;
    some_rounds(&load).await;
    let told = load.stop().await;
    let held: Vec<u64> = moves
        .iter()
        .map(|row| row[14].parse().expect("milliseconds"))
        .collect();
    println!(
        "{} moves, held for {held:?} ms; {} statements, the longest {} ms; {} entries",
        moves.len(),
        told.statements,
        told.longest.as_millis(),
        told.ledger.values().sum::<i64>()
    );
    assert!(
        told.errors.is_empty(),
        "{} errors: {:?}",
        told.errors.len(),
        &told.errors[..told.errors.len().min(5)]
    );
    check_ledger(&cluster, &told).await;
    is_clean(&cluster).await;
    let counts = buckets(&cluster).await;
    assert_eq!(counts.iter().sum::<i64>(), 4096);
    assert!(
        counts.iter().all(|count| count.abs_diff(1365) < 150),
        "{counts:?}"
    );
    let client = spare.client("postgres").await;
    let sql = "select (select count(*) from kinds), (select count(*) from users), (select count(*) from remarks)";
    let row = client.query_one(sql, &[]).await.expect("the new shard");
    let (kinds, users, remarks): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(
        (kinds, remarks),
        (50, 0),
        "a reference table is there, rows of a local one are not"
    );
    assert!(users > 100, "{users}");
}

/// Waits until the rebalance is in this state; its moves.
async fn rebalance_is(to: &Client, state: &str) -> Vec<Vec<String>> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let moves = admin(to, "SHOW MOVES").await;
        if moves.first().is_some_and(|row| row[1] == state) {
            return moves;
        }
        assert!(Instant::now() < deadline, "not {state}: {moves:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Kills the mover at `phase`; another router, which clients use, goes on.
async fn mover_dies_at(phase: &str) {
    let cluster = Cluster::start(2);
    prepare(&cluster).await;
    let spare = cluster.spare_server();
    let other = cluster.another_router();
    let url = other.url_of("postgres");
    add(&admin_client(&cluster).await, "third", &spare).await;
    let load = Load::start(std::slice::from_ref(&url));
    some_rounds(&load).await;
    let point = format!("move-{phase}");
    cluster.router().fault_points().arm(&point);
    admin(&admin_client(&cluster).await, "REBALANCE").await;
    cluster.router().fault_points().reached(&point).await;
    cluster.kill_router();
    let operator = tests::connect(&other.url_of("oskol"))
        .await
        .expect("the other router");
    let moves = rebalance_is(&operator, "finished").await;
    some_rounds(&load).await;
    let told = load.stop().await;
    println!(
        "{phase}: {} moves in {} attempts; {} statements, the longest {} ms",
        moves.len(),
        moves
            .iter()
            .map(|row| row[13].parse::<u64>().expect("a number"))
            .sum::<u64>(),
        told.statements,
        told.longest.as_millis()
    );
    assert!(
        told.errors.is_empty(),
        "{phase}: {:?}",
        &told.errors[..told.errors.len().min(5)]
    );
    cluster.start_router();
    check_ledger(&cluster, &told).await;
    is_clean(&cluster).await;
}

/// Each from another shard, while clients write: their switches come one after another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_several_sources_move_at_the_same_time() {
    let cluster = Cluster::start_with(ClusterOptions {
        config: "[moves]\nconcurrency = 4\n".into(),
        shards: Some(3),
        ..ClusterOptions::default()
    });
    prepare(&cluster).await;
    let spare = cluster.spare_server();
    let operator = admin_client(&cluster).await;
    add(&operator, "fourth", &spare).await;
    let load = Load::start(&[cluster.url()]);
    some_rounds(&load).await;
    let points = cluster.router().fault_points();
    points.arm("move-copied");
    admin(&operator, "REBALANCE").await;
    points.reached("move-copied").await;
    eventually("groups of all sources are under way", async || {
        let moves = admin(&operator, "SHOW MOVES").await;
        let under_way = moves.iter().filter(|row| row[7] == "copying");
        under_way.count() == 3
    })
    .await;
    points.release("move-copied");
    moved(&cluster).await;
    some_rounds(&load).await;
    let told = load.stop().await;
    assert!(
        told.errors.is_empty(),
        "{:?}",
        &told.errors[..told.errors.len().min(5)]
    );
    check_ledger(&cluster, &told).await;
    is_clean(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_router_finishes_what_a_dead_mover_has_prepared() {
    mover_dies_at("prepared").await;
}

/// The others: cargo test -p tests --test moves -- --ignored mover
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn the_mover_may_die_at_any_phase() {
    for phase in ["followed", "copied", "held", "ready", "decided"] {
        mover_dies_at(phase).await;
    }
}

/// Kills the source or the target at each phase; clients see errors then, and lose nothing.
/// cargo test -p tests --test moves -- --ignored shard_may_die
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn a_shard_may_die_at_any_phase() {
    for phase in ["copied", "held", "ready", "prepared", "decided"] {
        for victim in ["source", "target"] {
            let cluster = Cluster::start(2);
            prepare(&cluster).await;
            let spare = cluster.spare_server();
            let operator = admin_client(&cluster).await;
            add(&operator, "third", &spare).await;
            let load = Load::start(&[cluster.url()]);
            some_rounds(&load).await;
            let (points, point) = (cluster.router().fault_points(), format!("move-{phase}"));
            points.arm(&point);
            admin(&operator, "REBALANCE").await;
            points.reached(&point).await;
            // The first group's source is the home shard, which leads as well.
            match victim {
                "source" => cluster.kill_shard(0),
                _ => spare.kill(),
            }
            points.release(&point);
            let moves = moved(&cluster).await;
            some_rounds(&load).await;
            let told = load.stop().await;
            let lost: Vec<_> = told
                .errors
                .iter()
                .filter(|error| error.contains("LOST"))
                .collect();
            println!(
                "{phase}, {victim} killed: {} moves, {} statements, {} errors, the longest {} ms",
                moves.len(),
                told.statements,
                told.errors.len(),
                told.longest.as_millis()
            );
            assert!(lost.is_empty(), "{lost:?}");
            check_ledger(&cluster, &told).await;
            is_clean(&cluster).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_moved_is_taken_back_with_what_was_written_since_and_a_drained_shard_leaves() {
    let cluster = Cluster::start(2);
    prepare(&cluster).await;
    let spare = cluster.spare_server();
    let operator = admin_client(&cluster).await;
    let load = Load::start(&[cluster.url()]);
    add(&operator, "third", &spare).await;
    let before = buckets(&cluster).await;
    admin(&operator, "REBALANCE").await;
    moved(&cluster).await;
    some_rounds(&load).await;
    admin(&operator, "REBALANCE UNDO").await;
    moved(&cluster).await;
    assert_eq!(buckets(&cluster).await, before);
    some_rounds(&load).await;
    admin(&operator, "REBALANCE").await;
    moved(&cluster).await;
    admin(&operator, "DRAIN SHARD third").await;
    moved(&cluster).await;
    assert_eq!(buckets(&cluster).await, before);
    admin(&operator, "REMOVE SHARD third").await;
    some_rounds(&load).await;
    let told = load.stop().await;
    println!(
        "{} statements, the longest {} ms",
        told.statements,
        told.longest.as_millis()
    );
    assert!(
        told.errors.is_empty(),
        "{} errors: {:?}",
        told.errors.len(),
        &told.errors[..told.errors.len().min(5)]
    );
    check_ledger(&cluster, &told).await;
    is_clean(&cluster).await;
    let shards = admin(&operator, "SHOW SHARDS").await;
    assert_eq!(shards.len(), 2, "{shards:?}");
}

/// What moves at that moment comes to its end, and can be taken back with the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_that_is_cancelled_stays_where_it_is_until_it_is_undone() {
    let cluster = Cluster::start(2);
    prepare(&cluster).await;
    let spare = cluster.spare_server();
    let operator = admin_client(&cluster).await;
    add(&operator, "third", &spare).await;
    let before = buckets(&cluster).await;
    let points = cluster.router().fault_points();
    points.arm("move-copied");
    admin(&operator, "REBALANCE").await;
    points.reached("move-copied").await;
    let refused = async |statement: &str| {
        let error = operator.simple_query(statement).await.expect_err(statement);
        error
            .as_db_error()
            .expect("of the router")
            .message()
            .to_owned()
    };
    // To the shard that would be removed buckets are on their way.
    for statement in ["REBALANCE", "REMOVE SHARD third", "DRAIN SHARD third"] {
        let under_way = refused(statement).await;
        assert!(under_way.contains("under way"), "{under_way}");
    }
    admin(&operator, "REBALANCE PAUSE").await;
    let paused = refused("REBALANCE UNDO").await;
    assert!(
        paused.contains("REBALANCE RESUME") && paused.contains("REBALANCE CANCEL"),
        "{paused}"
    );
    admin(&operator, "REBALANCE CANCEL").await;
    let none = refused("REBALANCE RESUME").await;
    assert!(none.contains("no rebalance is paused"), "{none}");
    points.release("move-copied");
    // It waits for the end of the move that is under way.
    admin(&operator, "REBALANCE UNDO").await;
    let moves = moved(&cluster).await;
    assert_eq!(moves.len(), 1, "{moves:?}");
    assert_eq!(buckets(&cluster).await, before);
    let home = cluster.shard(0).await;
    let sql = "select count(*) filter (where state = 'done'), count(*) filter (where state = 'cancelled'), count(*)
        from oskol.moves where rebalance = (select min(rebalance) from oskol.moves)";
    let row = home.query_one(sql, &[]).await.expect("the moves");
    let (done, cancelled, all): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!((done, cancelled), (1, all - 1));
    assert!(all > 1);
    // A drain that is given up, of a shard that has no bucket yet.
    admin(&operator, "DRAIN SHARD third").await;
    assert!(admin(&operator, "REBALANCE PLAN").await.is_empty());
    admin(&operator, "KEEP SHARD third").await;
    assert!(!admin(&operator, "REBALANCE PLAN").await.is_empty());
    is_clean(&cluster).await;
}

/// Does `sql` on the source, past the triggers, after the first copy of a group.
async fn tamper_after_the_copy(cluster: &Cluster, operator: &Client, sql: &str) -> String {
    let points = cluster.router().fault_points();
    points.arm("move-copied");
    admin(operator, "REBALANCE").await;
    points.reached("move-copied").await;
    let client = cluster.shard(0).await;
    let home = "set session_replication_role to replica";
    client.batch_execute(home).await.expect("a superuser");
    let changed = client.execute(sql, &[]).await.expect(sql);
    assert_eq!(changed, 1, "{sql}");
    points.release("move-copied");
    let moves = rebalance_is(operator, "failed").await;
    let failed = moves
        .iter()
        .find(|row| row[7] == "failed")
        .expect("a move has failed");
    failed[16].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_changed_deleted_doubled_or_misplaced_is_found() {
    let cluster = Cluster::start(2);
    prepare(&cluster).await;
    let spare = cluster.spare_server();
    let operator = admin_client(&cluster).await;
    add(&operator, "third", &spare).await;
    // Among the buckets that move: the whole of one user's.
    let moving =
        "(select hashint8extended(user_id, 0) & 4095 in (select unnest(buckets) from oskol.moves
        where source = 0 and target = 2 and state = 'copying'))";
    let one = format!("ctid = (select ctid from visits v where {moving} limit 1)");
    for tampering in [
        format!("update visits set page = 'other' where {one}"),
        format!("delete from visits where {one}"),
        format!("insert into visits select * from visits where {one}"),
    ] {
        let told = tamper_after_the_copy(&cluster, &operator, &tampering).await;
        assert!(
            told.contains("public.visits") && told.contains("differ"),
            "{tampering}: {told}"
        );
    }
    admin(&operator, "REBALANCE").await;
    moved(&cluster).await;
    is_clean(&cluster).await;
    // A row on a shard that its bucket is not on, a reference table that differs, an index that is missing.
    let shard = cluster.shard(1).await;
    let home = cluster.shard(0).await;
    let sql = "select bucket from oskol.buckets where shard <> 1 limit 1";
    let bucket: i32 = home.query_one(sql, &[]).await.expect("a bucket").get(0);
    let plant = format!(
        "set session_replication_role to replica; set oskol.moving to on; insert into visits (user_id, page) select n, 'x'
            from generate_series(1, 1000000) n where hashint8extended(n, 0) & 4095 = {bucket} limit 1;
        update kinds set words = 'other' where kind = 'k1'; drop index visits_user_id_idx"
    );
    shard.batch_execute(&plant).await.expect("planted");
    let faults = admin(&operator, "VERIFY").await;
    let kinds: Vec<(&str, &str)> = faults
        .iter()
        .map(|row| (row[0].as_str(), row[3].as_str()))
        .collect();
    for fault in [
        ("misplaced rows", "public.visits"),
        ("reference table differs", "public.kinds"),
        ("schema drift", "public.visits_user_id_idx"),
    ] {
        assert!(kinds.contains(&fault), "{fault:?} of {kinds:?}");
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

/// The share of buckets that had to move so that `after` follows `before`, and the share that did.
fn shares(before: &[i32], after: &[i32], shards: usize) -> (f64, f64) {
    let moved = before
        .iter()
        .zip(after)
        .filter(|(one, other)| one != other)
        .count();
    (1.0 / shards as f64, moved as f64 / before.len() as f64)
}

/// A change of the schema that is in doubt on one end of a move holds what the move has to write there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_waits_for_what_is_in_doubt_on_its_source_or_its_target() {
    let cluster = Cluster::start(3);
    prepare(&cluster).await;
    let operator = admin_client(&cluster).await;
    for (in_doubt, bucket_of) in [(1, 1), (2, 1)] {
        let blocker = cluster.shard(in_doubt).await;
        let hold = "begin; select from oskol.applied for update";
        blocker.batch_execute(hold).await.expect("held");
        let home = cluster.shard(0).await;
        let sql = "select max(bucket) from oskol.buckets where shard = $1";
        let bucket: i32 = home
            .query_one(sql, &[&bucket_of])
            .await
            .expect("one")
            .get(0);
        admin(&operator, &format!("MOVE BUCKET {bucket} TO 2")).await;
        eventually("some attempts have failed", async || {
            let moves = admin(&operator, "SHOW MOVES").await;
            assert_ne!(moves[0][1], "failed", "{moves:?}");
            moves[0][13].parse::<u32>().expect("attempts") > 1
        })
        .await;
        blocker.batch_execute("rollback").await.expect("let go");
        moved(&cluster).await;
    }
    is_clean(&cluster).await;
}

async fn owners(cluster: &Cluster) -> Vec<i32> {
    let home = cluster.shard(0).await;
    let sql = "select array_agg(shard order by bucket) from oskol.buckets";
    home.query_one(sql, &[]).await.expect("the map").get(0)
}

/// With a table that is large enough for an index by bucket. cargo test -p tests --test moves -- --ignored five
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes"]
async fn from_two_to_three_to_five_and_back_to_four() {
    let cluster = Cluster::start(2);
    prepare(&cluster).await;
    let client = cluster.client().await;
    for sql in [
        "create table ballast (user_id bigint not null, n bigint not null, text text, primary key (user_id, n))",
        "select oskol.shard_table('ballast', 'user_id')",
        "insert into ballast select n % 20000, n, repeat(md5(n::text), 7) from generate_series(1, 700000) n",
        "analyze ballast",
    ] {
        client.batch_execute(sql).await.expect(sql);
    }
    let spares: Vec<SpareServer> = (0..3).map(|_| cluster.spare_server()).collect();
    let operator = admin_client(&cluster).await;
    let load = Load::start(&[cluster.url()]);
    for (first, last) in [(0, 1), (1, 3)] {
        for (number, spare) in (first..last).zip(&spares[first..last]) {
            add(&operator, &format!("s{number}"), spare).await;
        }
        let before = owners(&cluster).await;
        let began = Instant::now();
        admin(&operator, "REBALANCE").await;
        let moves = moved(&cluster).await;
        let bytes: u64 = moves
            .iter()
            .map(|row| row[10].parse::<u64>().expect("bytes"))
            .sum();
        let gigabytes = bytes as f64 / f64::from(1 << 30);
        let (least, share) = shares(&before, &owners(&cluster).await, 2 + last);
        let held = moves
            .iter()
            .map(|row| row[14].parse::<u64>().expect("ms"))
            .max();
        println!(
            "to {} shards: {} moves, {:.0} MiB in {:.0} s ({:.0} s/GiB), held for {:?} ms at most; share moved {share:.3}, least {:.3}",
            2 + last,
            moves.len(),
            gigabytes * 1024.0,
            began.elapsed().as_secs_f64(),
            began.elapsed().as_secs_f64() / gigabytes,
            held,
            least * (last - first) as f64
        );
    }
    admin(&operator, "DRAIN SHARD s1").await;
    let moves = moved(&cluster).await;
    admin(&operator, "REMOVE SHARD s1").await;
    let told = load.stop().await;
    println!(
        "drained in {} moves; {} statements, {} errors, the longest {} ms",
        moves.len(),
        told.statements,
        told.errors.len(),
        told.longest.as_millis()
    );
    assert!(
        told.errors.is_empty(),
        "{:?}",
        &told.errors[..told.errors.len().min(5)]
    );
    check_ledger(&cluster, &told).await;
    is_clean(&cluster).await;
    let count = client
        .query_one("select count(*) from ballast", &[])
        .await
        .expect("rows");
    assert_eq!(count.get::<_, i64>(0), 700_000);
}

/// Status and body of a request to the router's admin port.
async fn http(cluster: &Cluster, head: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", cluster.admin_port()))
        .await
        .expect("the port");
    let length = body.len();
    let request =
        format!("{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_joins_by_itself_with_the_token_and_leaves() {
    let token = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(token.path(), "let me in\n").expect("written");
    let cluster = Cluster::start_with(tests::ClusterOptions {
        shards: Some(2),
        environment: vec![(
            "OSKOL_ADMIN__JOIN_TOKEN_FILE".into(),
            token.path().display().to_string(),
        )],
        ..tests::ClusterOptions::default()
    });
    let spare = cluster.spare_server();
    let body = format!(
        r#"{{"name": "third", "host": "{}", "port": {}, "database": "postgres", "weight": 1.0}}"#,
        spare.host(),
        spare.port()
    );
    let post = |token: &str| format!("POST /shards HTTP/1.1\r\nAuthorization: Bearer {token}");
    let refused = http(&cluster, &post("something"), &body).await;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    for _ in 0..2 {
        let joined = http(&cluster, &post("let me in"), &body).await;
        assert!(
            joined.starts_with("HTTP/1.1 200") && joined.contains(r#"{"shard_id":2}"#),
            "{joined}"
        );
    }
    let operator = admin_client(&cluster).await;
    assert_eq!(admin(&operator, "SHOW SHARDS").await.len(), 3);
    let delete = "DELETE /shards/2 HTTP/1.1\r\nAuthorization: Bearer let me in";
    eventually("the shard is out of the cluster", async || {
        http(&cluster, delete, "").await.starts_with("HTTP/1.1 200")
    })
    .await;
    assert_eq!(admin(&operator, "SHOW SHARDS").await.len(), 2);
}
