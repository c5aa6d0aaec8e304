//! Against real PostgreSQL servers, in temporary directories.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use shard_node::{Error, LocalCluster, LocalClusterOptions, Server, ShardNode, Stop};
use tempfile::TempDir;
use tokio_postgres::NoTls;

const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that an ordinary user can enter.
fn directory() -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix("oskol-node-")
        .tempdir()
        .unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn options(directory: &Path, shards: usize) -> LocalClusterOptions {
    let mut options = LocalClusterOptions::new(directory.join("cluster"));
    options.shards = Some(shards);
    options.signal_at_our_death = "KILL";
    options.settings = vec![("fsync".to_owned(), "off".to_owned())];
    options
}

fn open(directory: &Path, shards: usize) -> LocalCluster {
    LocalCluster::open(&options(directory, shards), |_| {}).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn value(node: &ShardNode, sql: &str) -> String {
    runtime().block_on(async {
        let (client, connection) = node.connection("postgres").connect(NoTls).await.unwrap();
        let task = tokio::spawn(connection);
        let messages = client.simple_query(sql).await.unwrap();
        drop(client);
        task.await.unwrap().unwrap();
        let row = messages.into_iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        row.unwrap_or_default()
    })
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn data_ports_and_password_are_kept_from_one_start_to_the_next() {
    let directory = directory();
    let cluster = open(directory.path(), 2);
    let (ports, password) = (ports(&cluster), cluster.password.clone());
    let servers = cluster.start(PATIENCE).unwrap();
    value(
        &cluster.shards[1],
        "create table kept as select 42 as answer",
    );
    Server::stop_all(servers, Stop::Fast);
    drop(cluster);

    let cluster = open(directory.path(), 2);
    let _servers = cluster.start(PATIENCE).unwrap();
    assert_eq!(value(&cluster.shards[1], "select answer from kept"), "42");
    assert_eq!(
        (self::ports(&cluster), &cluster.password),
        (ports, &password)
    );
}

fn ports(cluster: &LocalCluster) -> Vec<u16> {
    cluster.shards.iter().map(|shard| shard.port).collect()
}

#[test]
fn a_server_killed_is_started_again_with_its_data() {
    let directory = directory();
    let cluster = open(directory.path(), 1);
    let servers = cluster.start(PATIENCE).unwrap();
    value(
        &cluster.shards[0],
        "create table kept as select 42 as answer",
    );
    let before = servers[0].pid();
    servers[0].kill();
    eventually("another process is ready", || {
        servers[0].pid().is_some_and(|pid| Some(pid) != before) && servers[0].is_ready()
    });
    assert!(servers[0].restarts() >= 1);
    assert_eq!(value(&cluster.shards[0], "select answer from kept"), "42");
}

#[test]
fn a_shard_has_the_settings_that_the_router_needs() {
    let directory = directory();
    let cluster = open(directory.path(), 1);
    let _servers = cluster.start(PATIENCE).unwrap();
    let shown = |name: &str| value(&cluster.shards[0], &format!("show {name}"));
    assert_eq!(shown("wal_level"), "logical");
    assert_ne!(shown("max_prepared_transactions"), "0");
    assert_eq!(shown("server_encoding"), "UTF8");
    assert_eq!(shown("data_checksums"), "on");
    assert_eq!(shown("listen_addresses"), "127.0.0.1");
    let methods = "select string_agg(distinct auth_method, ',') from pg_hba_file_rules";
    assert_eq!(value(&cluster.shards[0], methods), "scram-sha-256");
    let collation = "select datcollate from pg_database where datname = 'postgres'";
    assert_eq!(value(&cluster.shards[0], collation), "C.UTF-8");
}

#[test]
fn health_tells_version_and_recovery() {
    let directory = directory();
    let cluster = open(directory.path(), 1);
    let servers = cluster.start(PATIENCE).unwrap();
    let health = runtime()
        .block_on(cluster.shards[0].health(PATIENCE))
        .unwrap();
    assert_eq!(
        health.version / 10_000,
        cluster.shards[0].binaries.major_version.cast_signed()
    );
    assert!(!health.in_recovery);
    Server::stop_all(servers, Stop::Fast);
    let silent = runtime().block_on(cluster.shards[0].health(PATIENCE));
    assert!(matches!(silent, Err(Error::NoAnswer { .. })), "{silent:?}");
}

#[test]
fn the_files_with_the_password_are_for_their_owner_only() {
    let directory = directory();
    let cluster = open(directory.path(), 1);
    for file in ["password", "pgpass"] {
        let permissions = cluster
            .directory
            .join(file)
            .metadata()
            .unwrap()
            .permissions();
        assert_eq!(permissions.mode() & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_directory_is_used_by_one_process_at_a_time() {
    let directory = directory();
    let _cluster = open(directory.path(), 1);
    let second = LocalCluster::open(&options(directory.path(), 1), |_| {});
    assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
}

#[test]
fn another_number_of_shards_than_there_are_is_refused() {
    let directory = directory();
    drop(open(directory.path(), 1));
    let other = LocalCluster::open(&options(directory.path(), 2), |_| {});
    assert!(
        matches!(
            other,
            Err(Error::OtherShardCount {
                found: 1,
                wanted: 2,
                ..
            })
        ),
        "{other:?}"
    );
}

#[test]
fn a_stale_pid_file_that_names_somebody_elses_process_does_not_prevent_the_start() {
    let directory = directory();
    let cluster = open(directory.path(), 1);
    let mut other = cluster.shards[0].owner.command("cat");
    let mut other = other.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let pid_file = cluster.shards[0].data_directory.join("postmaster.pid");
    std::fs::write(&pid_file, format!("{}\n", other.id())).unwrap();
    cluster.shards[0].owner.give(&pid_file).unwrap();

    let servers = cluster.start(PATIENCE).unwrap();
    assert!(servers[0].is_ready());
    assert!(
        other.try_wait().unwrap().is_none(),
        "the other process must be left alone"
    );
    drop(other.stdin.take());
    other.wait().unwrap();
}

#[test]
fn a_server_left_running_by_an_earlier_run_is_stopped_first() {
    let directory = directory();
    let cluster = open(directory.path(), 1);
    let shard = &cluster.shards[0];
    drop(shard.start(PATIENCE).unwrap());
    let postgres = shard.binaries.program("postgres");
    let mut left = shard.owner.command(postgres);
    let mut left = left
        .arg("-D")
        .arg(&shard.data_directory)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid_file = shard.data_directory.join("postmaster.pid");
    eventually("the first server runs", || {
        std::fs::read_to_string(&pid_file).is_ok_and(|text| text.contains("ready"))
    });

    // Its parent takes note of its end, as init does for one without a parent.
    let reaper = std::thread::spawn(move || left.wait().unwrap());
    let server = shard.start(PATIENCE).unwrap();
    assert!(reaper.join().unwrap().success(), "stopped in order");
    assert!(server.is_ready());
}

#[test]
fn a_server_that_cannot_start_gives_the_end_of_its_log() {
    let directory = directory();
    let mut options = options(directory.path(), 1);
    options
        .settings
        .push(("shared_buffers".to_owned(), "nonsense".to_owned()));
    let cluster = LocalCluster::open(&options, |_| {}).unwrap();
    let error = cluster
        .start(PATIENCE)
        .err()
        .expect("no server starts with nonsense")
        .to_string();
    assert!(error.contains("shared_buffers"), "{error}");
}

#[test]
fn a_file_in_the_place_of_the_data_is_left_alone() {
    let directory = directory();
    let place = directory.path().join("cluster/shard-0");
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("precious"), "text").unwrap();
    let opened = LocalCluster::open(&options(directory.path(), 1), |_| {});
    assert!(
        matches!(opened, Err(Error::NotADataDirectory { .. })),
        "{opened:?}"
    );
    assert_eq!(
        std::fs::read_to_string(place.join("precious")).unwrap(),
        "text"
    );
}

#[test]
fn the_superuser_has_the_same_verifier_on_all_shards_and_no_shard_the_others_system_identifier() {
    let directory = directory();
    let cluster = open(directory.path(), 2);
    let _servers = cluster.start(PATIENCE).unwrap();
    let on = |shard: usize, sql: &str| value(&cluster.shards[shard], sql);
    let verifier = "select rolpassword from pg_authid where rolname = 'postgres'";
    assert_eq!(on(0, verifier), on(1, verifier));
    let identifier = "select system_identifier from pg_control_system()";
    assert_ne!(on(0, identifier), on(1, identifier));
}
