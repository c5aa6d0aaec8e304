//! A shard that does not stand where the others do: it is asked for nothing, and told what may be done.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use shard_node::Stop;
use tempfile::TempDir;
use tests::{Cluster, ClusterOptions, Direction, connect, eventually};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Keys of rows; some are on each shard.
const KEYS: i64 = 40;

/// A shard's data directory as it was.
struct Older {
    shard: usize,
    place: TempDir,
}

impl Older {
    /// Of the shard as it is now. It is down for a moment.
    fn of(cluster: &Cluster, shard: usize) -> Older {
        let place = TempDir::new().expect("a directory");
        cluster.stop_shard(shard, Stop::Fast);
        copy(data(cluster, shard), &place.path().join("data"));
        cluster.start_shard(shard);
        Older { shard, place }
    }

    /// The shard is as it was then, and the others are not.
    fn put_back(&self, cluster: &Cluster) {
        let data = data(cluster, self.shard);
        cluster.stop_shard(self.shard, Stop::Immediate);
        std::fs::remove_dir_all(data).expect("it is ours");
        copy(&self.place.path().join("data"), data);
        cluster.start_shard(self.shard);
    }
}

fn data(cluster: &Cluster, shard: usize) -> &PathBuf {
    &cluster.shard_node(shard).data_directory
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.expect("cp").success());
}

async fn run(client: &Client, sql: &str) {
    let done = client.batch_execute(sql).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// A shard or a pool may need a moment after a restart.
async fn run_soon(cluster: &Cluster, sql: &str) {
    eventually(sql, async || {
        cluster.client().await.batch_execute(sql).await.is_ok()
    })
    .await;
}

async fn admin(cluster: &Cluster, statement: &str) -> Result<Vec<Vec<String>>, String> {
    let operator = connect(&cluster.url_of("oskol")).await;
    let operator = operator.expect("the admin database");
    let answer = operator.simple_query(statement).await.map_err(|error| {
        let error = error.as_db_error().expect("an error of the router");
        error.message().to_owned()
    })?;
    let rows = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let cells = |row: tokio_postgres::SimpleQueryRow| {
        let cell = |at| row.get(at).unwrap_or_default().to_owned();
        (0..row.len()).map(cell).collect()
    };
    Ok(rows.map(cells).collect())
}

/// State and fault of a shard in SHOW SHARDS.
async fn shown(cluster: &Cluster, shard: usize) -> (String, String) {
    let shards = admin(cluster, "SHOW SHARDS").await.expect("shards");
    (shards[shard][3].clone(), shards[shard][12].clone())
}

async fn becomes(cluster: &Cluster, shard: usize, state: &str, fault: &str) {
    eventually(&format!("shard {shard} is {state}"), async || {
        let (now, why) = shown(cluster, shard).await;
        now == state && why.contains(fault)
    })
    .await;
}

async fn keys(cluster: &Cluster, shard: usize) -> Vec<i64> {
    let here = cluster.shard(shard).await;
    let rows = here.query("select k from t order by k", &[]).await;
    let rows = rows.expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Number and digest of each shard.
async fn standings(cluster: &Cluster) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    for shard in 0..cluster.shard_count() {
        let sql = "select number, digest from oskol.applied";
        let row = cluster.shard(shard).await.query_one(sql, &[]).await;
        let row = row.expect("a standing");
        all.push((row.get(0), row.get(1)));
    }
    all
}

/// A sharded table with rows on two shards. Gives a key of each.
async fn prepare(cluster: &Cluster) -> [i64; 2] {
    let client = cluster.client().await;
    run(
        &client,
        "create table t (k bigint primary key, v text); select oskol.shard_table('t', 'k')",
    )
    .await;
    for key in 1..=KEYS {
        run(&client, &format!("insert into t values ({key}, 'x')")).await;
    }
    [keys(cluster, 0).await[0], keys(cluster, 1).await[0]]
}

/// SQLSTATE and message of a refusal.
async fn refused(client: &Client, sql: &str) -> (String, String) {
    let error = client.simple_query(sql).await.expect_err(sql);
    let said = error.as_db_error();
    let said = said.unwrap_or_else(|| panic!("{sql}: {error:?}"));
    (said.code().code().to_owned(), said.message().to_owned())
}

/// Reads and writes of the shard's row, and DDL, are refused with these words; the rest goes on.
async fn is_kept_out(cluster: &Cluster, [near, far]: [i64; 2], words: &str) {
    run_soon(cluster, &format!("select v from t where k = {near}")).await;
    let client = cluster.client().await;
    for sql in [
        format!("select v from t where k = {far}"),
        format!("update t set v = 'y' where k = {far}"),
        "select count(*) from t".to_owned(),
        "create table never (id int)".to_owned(),
    ] {
        let (code, message) = refused(&client, &sql).await;
        assert_eq!(code, "57P03", "{sql}: {message}");
        assert!(message.contains(words), "{sql}: {message}");
    }
    run(&client, &format!("update t set v = 'z' where k = {near}")).await;
}

const CHANGES: [&str; 7] = [
    "alter table t add column c int default 3",
    "create index concurrently by_v on t (v)",
    "create schema s",
    "create role made_later",
    "set search_path to s; create table of_s (id int primary key, name text default 'it''s \\ here'); reset search_path",
    "create table mail (id bigint primary key, address text unique)",
    "grant select on t to made_later",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_lacks_changes_is_kept_out_until_it_has_caught_up() {
    let cluster = Cluster::start(2);
    let keys = prepare(&cluster).await;
    let older = Older::of(&cluster, 1);
    for change in CHANGES {
        run_soon(&cluster, change).await;
    }
    older.put_back(&cluster);
    is_kept_out(&cluster, keys, "it lacks changes of the schema").await;
    becomes(&cluster, 1, "kept out", "lacks 6 changes of the schema").await;

    // A router that starts knows it, too.
    cluster.kill_router();
    cluster.start_router();
    is_kept_out(&cluster, keys, "it lacks changes of the schema").await;

    let made = admin(&cluster, "CATCH UP SHARD 1")
        .await
        .expect("caught up");
    let of_postgres = made.iter().find(|row| row[0] == "postgres");
    let of_postgres = of_postgres.expect("the database");
    assert_eq!(of_postgres[1], "6", "{made:?}");
    let client = cluster.client().await;
    let rows = client
        .query("select c from t where k = $1", &[&keys[1]])
        .await;
    assert_eq!(rows.expect("served again")[0].get::<_, i32>(0), 3);
    run(&client, "create table after_it (id int)").await;
    let all = standings(&cluster).await;
    assert_eq!(all[0], all[1]);
    becomes(&cluster, 1, "up", "").await;
    let found = admin(&cluster, "VERIFY").await.expect("verified");
    assert_eq!(found, Vec::<Vec<String>>::new());
    let again = admin(&cluster, "CATCH UP SHARD 1").await.expect("again");
    assert!(again.iter().all(|row| row[1] == "0"), "{again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_shard_cannot_make_again_is_not_begun() {
    let cluster = Cluster::start(2);
    let keys = prepare(&cluster).await;
    let older = Older::of(&cluster, 1);
    run_soon(&cluster, "create table u (k bigint primary key)").await;
    run_soon(&cluster, "select oskol.reference_table('u')").await;
    older.put_back(&cluster);
    is_kept_out(&cluster, keys, "it lacks changes of the schema").await;
    let before = standings(&cluster).await[1];
    let told = admin(&cluster, "CATCH UP SHARD 1")
        .await
        .expect_err("refused");
    assert!(
        told.contains("PLACE TABLE") && told.contains("by itself"),
        "{told}"
    );
    assert_eq!(standings(&cluster).await[1], before, "nothing was made");
    let told = admin(&cluster, "CATCH UP SHARD 0").await.expect_err("home");
    assert!(told.contains("the home shard"), "{told}");
}

/// What a function of an ordinary role does when its owner's statement is made again must not be done with other rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_made_again_with_the_rights_of_who_made_it_and_stops_at_the_first_failure() {
    let cluster = Cluster::start(2);
    let keys = prepare(&cluster).await;
    run(
        &cluster.client().await,
        "create role plain; grant create on schema public to plain",
    )
    .await;
    let older = Older::of(&cluster, 1);
    let trap = "set role plain;
        create function trap() returns int language plpgsql as $$ begin
            if session_user <> current_user then
                execute 'reset role'; execute 'alter role plain superuser';
            end if; return 1; end $$;
        create table first_made (id int);
        create table trapped (id int); reset role";
    run_soon(&cluster, trap).await;
    run_soon(
        &cluster,
        "set role plain; alter table trapped add column c int default trap(); reset role",
    )
    .await;
    older.put_back(&cluster);
    is_kept_out(&cluster, keys, "it lacks changes of the schema").await;
    let row = "insert into trapped values (1)";
    let here = cluster.shard(1).await;
    // The table is there after the third change only: a row makes the fourth call the function.
    let hook = "create function fill() returns event_trigger language plpgsql as $$ begin
            if tg_tag = 'CREATE TABLE' and to_regclass('public.trapped') is not null then
                insert into public.trapped values (1); end if; end $$;
        create event trigger fill on ddl_command_end execute function fill()";
    run(&here, hook).await;
    let told = admin(&cluster, "CATCH UP SHARD 1").await.expect_err(row);
    assert!(told.contains("security-definer function"), "{told}");
    let sql = "select rolsuper, to_regclass('public.first_made') is not null from pg_roles where rolname = 'plain'";
    let found = here.query_one(sql, &[]).await.expect("the role");
    assert_eq!(
        (found.get(0), found.get(1)),
        (false, true),
        "what came before stays"
    );
    is_kept_out(&cluster, keys, "it lacks changes of the schema").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_of_before_a_move_is_kept_out() {
    let cluster = Cluster::start(2);
    let keys = prepare(&cluster).await;
    let older = Older::of(&cluster, 1);
    let home = cluster.shard(0).await;
    let sql = "select bucket from oskol.buckets where shard = 1 order by bucket desc limit 1";
    let bucket: i32 = home.query_one(sql, &[]).await.expect("a bucket").get(0);
    run_soon(&cluster, "select count(*) from t").await;
    admin(&cluster, &format!("MOVE BUCKET {bucket} TO 0"))
        .await
        .expect("begun");
    eventually("the bucket has moved", async || {
        let moves = admin(&cluster, "SHOW MOVES").await.expect("moves");
        moves.first().is_some_and(|row| row[1] == "finished")
    })
    .await;
    older.put_back(&cluster);
    is_kept_out(&cluster, keys, "before buckets were moved").await;
    becomes(&cluster, 1, "kept out", "before buckets were moved").await;
    let told = admin(&cluster, "CATCH UP SHARD 1").await.expect_err("rows");
    assert!(told.contains("restore all shards"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_have_done_more_than_the_home_shard_are_kept_out() {
    let cluster = Cluster::start(2);
    let keys = prepare(&cluster).await;
    let older = Older::of(&cluster, 0);
    run_soon(&cluster, "alter table t add column c int default 3").await;
    older.put_back(&cluster);
    becomes(&cluster, 1, "kept out", "the home shard does not know of").await;
    is_kept_out(&cluster, keys, "the home shard does not know of").await;
}

/// Shard 1 lacks a change whose function of an ordinary role does `trap` when it is made again. What came of it: the answer, and
/// whether the role is a superuser.
async fn caught_up_with(trap: &str) -> (Result<Vec<Vec<String>>, String>, bool) {
    let cluster = Cluster::start(2);
    let keys = prepare(&cluster).await;
    let client = cluster.client().await;
    run(
        &client,
        "create role plain; grant create on schema public to plain",
    )
    .await;
    let older = Older::of(&cluster, 1);
    // When the change was made first the role was nobody else's.
    let make = format!(
        "set role plain;
        create function seize() returns int language plpgsql as $$ begin
            if current_user <> 'plain' then execute 'alter role plain superuser'; end if; return 1; end $$;
        create function seize_later() returns trigger language plpgsql as $$ begin
            perform seize(); return null; end $$;
        create table noted (id int);
        create constraint trigger later after insert on noted deferrable initially deferred
            for each row execute function seize_later();
        create function trap() returns int language plpgsql as $$ begin
            if session_user <> current_user then {trap}; end if; return 1; end $$;
        create function set_config(text, text, boolean) returns int language plpgsql as $$ begin
            return seize(); end $$;
        create table trapped (id int); reset role"
    );
    run_soon(&cluster, &make).await;
    let change = "set role plain; alter table trapped add column c int default trap(); reset role";
    run_soon(&cluster, change).await;
    run_soon(&cluster, "create table after_it (id int)").await;
    older.put_back(&cluster);
    is_kept_out(&cluster, keys, "it lacks changes of the schema").await;
    let here = cluster.shard(1).await;
    // The table needs a row for its default to be computed.
    let hook = "create function fill() returns event_trigger language plpgsql as $$ begin
            if tg_tag = 'CREATE TABLE' and to_regclass('public.trapped') is not null then
                insert into public.trapped values (1); end if; end $$;
        create event trigger fill on ddl_command_end execute function fill()";
    run(&here, hook).await;
    let told = admin(&cluster, "CATCH UP SHARD 1").await;
    let sql = "select rolsuper from pg_roles where rolname = 'plain'";
    let found = here.query_one(sql, &[]).await.expect("the role");
    (told, found.get(0))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_change_leaves_for_the_commit_has_no_other_rights_either() {
    let cursor = "execute 'declare held cursor with hold for select seize()'";
    let (told, is_super) = caught_up_with(cursor).await;
    assert!(!is_super, "a cursor: {told:?}");
    let name = "perform pg_catalog.set_config('search_path', 'public, pg_catalog', false)";
    let (told, is_super) = caught_up_with(name).await;
    assert!(!is_super, "a name: {told:?}");
    let row = "insert into noted values (1)";
    let (told, is_super) = caught_up_with(row).await;
    assert!(!is_super, "a deferred trigger: {told:?}");
    let told = told.expect_err("what is to run at the commit cannot run with its owner's rights");
    assert!(told.contains("deferred triggers"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_is_made_again_may_take_long() {
    let cluster = Cluster::start(2);
    let keys = prepare(&cluster).await;
    let older = Older::of(&cluster, 1);
    run_soon(&cluster, "create table made (id int)").await;
    older.put_back(&cluster);
    is_kept_out(&cluster, keys, "it lacks changes of the schema").await;
    let here = cluster.shard(1).await;
    let hook = "create table limits as select '' as told where false;
        create function note() returns event_trigger language plpgsql as $$ begin
            insert into public.limits values (current_setting('statement_timeout')); end $$;
        create event trigger note on ddl_command_end when tag in ('CREATE TABLE') execute function note()";
    run(&here, hook).await;
    admin(&cluster, "CATCH UP SHARD 1")
        .await
        .expect("caught up");
    let told = here.query_one("select told from limits", &[]).await;
    assert_eq!(told.expect("a limit").get::<_, String>(0), "6h");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_starts_while_a_shard_is_down_and_uses_it_once_it_is_back() {
    let cluster = Cluster::start(2);
    let [near, far] = prepare(&cluster).await;
    run(
        &cluster.client().await,
        "create type mood as enum ('sad', 'glad'); alter table t add column m mood default 'sad'",
    )
    .await;
    cluster.kill_router();
    cluster.stop_shard(1, Stop::Immediate);
    cluster.start_router();
    let client = cluster.client().await;
    run(&client, &format!("update t set v = 'y' where k = {near}")).await;
    let (code, message) = refused(&client, &format!("select v from t where k = {far}")).await;
    assert_eq!(code, "08001", "{message}");
    let (code, _) = refused(&client, "create table never (id int)").await;
    assert_eq!(code, "08001");
    cluster.start_shard(1);
    run_soon(&cluster, &format!("update t set v = 'y' where k = {far}")).await;
    let rows = cluster.client().await;
    let rows = rows
        .query("select m::text, v from t where v = 'y'", &[])
        .await;
    assert_eq!(rows.expect("both rows").len(), 2);
    run_soon(&cluster, "create table again (id int)").await;
}

/// A shard that answers nothing, rather than refusing connections, must not keep a router from giving signs of life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_looks_for_a_shard_that_was_away_gives_signs_of_life() {
    let cluster = Cluster::start_with(ClusterOptions {
        shards: Some(2),
        proxied: true,
        ..ClusterOptions::default()
    });
    let keys = prepare(&cluster).await;
    cluster.kill_router();
    cluster.proxy(1).lose(Direction::ToRouter);
    cluster.start_router();
    let home = cluster.shard(0).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        let age = "select extract(epoch from clock_timestamp() - max(heartbeat))::float8 from oskol.routers";
        let age = home.query_one(age, &[]).await.expect("an age");
        let age: f64 = age.get(0);
        assert!(age < 5.0, "silent for {age} s");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cluster.proxy(1).heal();
    run_soon(
        &cluster,
        &format!("update t set v = 'y' where k = {}", keys[1]),
    )
    .await;
}

/// Ids of the routers that a shard's table lists.
async fn routers_in(cluster: &Cluster, shard: usize, sql: &str) -> Vec<i64> {
    let here = cluster.shard(shard).await;
    let rows = here.query(sql, &[]).await.expect("routers");
    rows.iter().map(|row| row.get(0)).collect()
}

fn signal(pid: Option<u32>, signal: &str) {
    let pid = pid.expect("it runs").to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.expect("kill").success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_that_are_no_more_are_forgotten_and_one_that_was_only_silent_comes_back() {
    let listed = "select id from oskol.routers order by id";
    let cluster = Cluster::start(2);
    let keys = prepare(&cluster).await;
    let other = cluster.another_router();
    let client = connect(&other.url_of("postgres")).await.expect("a client");
    for key in keys {
        run(&client, &format!("select v from t where k = {key}")).await;
    }
    let before = routers_in(&cluster, 0, listed).await;
    assert_eq!(before.len(), 2);
    signal(other.pid(), "-STOP");
    cluster.kill_router();
    let old = "update oskol.routers set heartbeat = heartbeat - interval '2 hours'";
    run(&cluster.shard(0).await, old).await;
    cluster.start_router();
    eventually("those of before are forgotten", async || {
        let now = routers_in(&cluster, 0, listed).await;
        now.len() == 1 && !before.contains(&now[0])
    })
    .await;
    for shard in 0..2 {
        let kept_out = "select router from oskol.kept_out order by router";
        assert_eq!(routers_in(&cluster, shard, kept_out).await, before);
    }
    run_soon(&cluster, "alter table t add column c int default 3").await;
    signal(other.pid(), "-CONT");
    eventually("the silent router serves again", async || {
        let Ok(client) = connect(&other.url_of("postgres")).await else {
            return false;
        };
        let sql = "update t set v = 'back' where c = 3 returning k";
        let rows = client.query(sql, &[]).await;
        rows.is_ok_and(|rows| rows.len() == KEYS as usize)
    })
    .await;
    assert_eq!(routers_in(&cluster, 0, listed).await.len(), 2);
    run_soon(&cluster, "create table heard_by_both (id int)").await;
}
