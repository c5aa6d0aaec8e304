//! What the agent says of its server, and how it begins and ends.

use std::fs;

use hyper::StatusCode;

use crate::process::{Agent, Options, directory};

#[test]
fn the_health_page_tells_role_disk_connections_doubts_and_slots() {
    let directory = directory();
    let mut agent = Agent::ready(&Options::new(directory.path()));
    agent.sql("select pg_create_physical_replication_slot('left_behind', true)");
    agent.sql("create table t (a int)");
    agent.sql("begin; insert into t values (1); prepare transaction 'in doubt'");
    let page = agent.eventually("the prepared transaction is seen", |page| {
        page["server"]["prepared"]["count"] == 1
    });
    let server = &page["server"];
    assert_eq!(server["role"], "primary");
    assert_eq!(server["slots"][0]["name"], "left_behind");
    assert_eq!(server["slots"][0]["active"], false);
    assert!(
        server["slots"][0]["retained_bytes"].as_i64().unwrap() > 0,
        "{page}"
    );
    assert_eq!(server["connections"]["max"], 200);
    assert!(
        server["connections"]["used"].as_i64().unwrap() >= 1,
        "{page}"
    );
    let disk = &page["disk"];
    assert!(disk["free_bytes"].as_u64().unwrap() > 0, "{page}");
    assert!(
        disk["free_bytes"].as_u64() <= disk["total_bytes"].as_u64(),
        "{page}"
    );
    assert_eq!(page["cluster"]["state"], "alone");

    let (status, metrics) = agent.page("/metrics").unwrap();
    assert_eq!(status, StatusCode::OK);
    for line in [
        "oskol_shard_up 1",
        "oskol_shard_primary 1",
        "oskol_shard_prepared_transactions 1",
        "oskol_shard_slot_active{slot=\"left_behind\",kind=\"physical\"} 0",
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "no {line} in:\n{metrics}"
        );
    }
    assert_eq!(agent.page("/secrets").unwrap().0, StatusCode::NOT_FOUND);
}

#[test]
fn sigterm_stops_the_server_in_order_and_its_data_is_adopted_by_the_next() {
    let directory = directory();
    let options = Options::new(directory.path());
    let agent = Agent::ready(&options);
    agent.sql("create table kept as select 42 as answer");
    let status = agent.stop();
    assert!(status.success(), "{status}");
    let data = directory.path().join("shards/data");
    assert!(
        !data.join("postmaster.pid").exists(),
        "the server has stopped"
    );
    let logs = logs(&directory.path().join("shards/log"));
    assert!(logs.contains("database system is shut down"), "{logs}");

    let agent = Agent::ready(&options);
    assert_eq!(agent.sql("select answer from kept"), "42");
    let recovered = self::logs(&directory.path().join("shards/log"));
    assert!(!recovered.contains("not properly shut down"), "{recovered}");
}

fn logs(directory: &std::path::Path) -> String {
    let files = fs::read_dir(directory).unwrap();
    files
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

#[test]
fn neither_the_agent_nor_its_server_runs_as_root() {
    let directory = directory();
    let agent = Agent::ready(&Options::new(directory.path()));
    let pid_file = fs::read_to_string(directory.path().join("shards/data/postmaster.pid")).unwrap();
    for id in [&agent.id().to_string(), pid_file.lines().next().unwrap()] {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let ids = status
            .lines()
            .find(|line| line.starts_with("Uid:"))
            .unwrap();
        let root = ids.split_whitespace().skip(1).any(|uid| uid == "0");
        assert!(!root, "process {id} has {ids}");
    }
}

#[test]
fn a_server_that_dies_is_reported_and_started_again() {
    let directory = directory();
    let mut agent = Agent::ready(&Options::new(directory.path()));
    let pid_file = fs::read_to_string(directory.path().join("shards/data/postmaster.pid")).unwrap();
    let pid = pid_file.lines().next().unwrap().parse().unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let page = agent.eventually("it is started again", |page| {
        page["restarts"] == 1 && page["status"] == "ok"
    });
    assert_eq!(page["server"]["role"], "primary");
}

#[test]
fn another_password_than_the_servers_is_told_at_the_start() {
    let directory = directory();
    let options = Options::new(directory.path());
    assert!(Agent::ready(&options).stop().success());
    let mut wrong = Options::new(directory.path());
    wrong.password = "battery staple";
    let (status, log) = Agent::start(&wrong).end();
    assert!(!status.success());
    assert!(log.contains("has another superuser password"), "{log}");
    assert!(!log.contains("battery"), "{log}");
}

#[test]
fn agents_that_share_a_directory_take_places_of_their_own() {
    let directory = directory();
    let options = Options::new(directory.path()).with(&["--claim"]);
    let (mut first, mut second) = (Agent::ready(&options), Agent::ready(&options));
    let name = |agent: &mut Agent| agent.eventually("it has a name", |_| true)["name"].clone();
    assert_eq!(
        (name(&mut first), name(&mut second)),
        ("shard-1".into(), "shard-2".into())
    );
    first.sql("create table of_the_first ()");
    assert!(first.stop().success());
    let mut third = Agent::ready(&options);
    assert_eq!(name(&mut third), "shard-1");
    assert_eq!(third.sql("select 'of_the_first'::regclass"), "of_the_first");
}

#[test]
fn a_standby_tells_its_lag_and_its_primary_tells_of_it() {
    let directory = directory();
    let mut primary = Agent::ready(&Options::new(directory.path()));
    let copy = self::directory();
    let data = copy.path().join("shards/data");
    base_backup(&primary, &data);
    let mut standby = Agent::ready(&Options::new(copy.path()));
    let page = standby.eventually("it streams", |page| {
        page["server"]["replication"]["streaming"] == true
    });
    assert_eq!(page["server"]["role"], "standby");
    primary.sql("create table t as select generate_series(1, 1000)");
    standby.eventually("it has replayed all", |page| {
        let replication = &page["server"]["replication"];
        replication["replay_lag_bytes"] == 0 && replication["replay_lag_seconds"] == 0.0
    });
    let page = primary.eventually("the standby is seen", |page| {
        page["server"]["standbys"][0]["lag_bytes"] == 0
    });
    assert_eq!(page["server"]["standbys"][0]["state"], "streaming");

    standby.sql("select pg_promote()");
    let promoted = standby.eventually("it is promoted", |page| page["server"]["role"] == "primary");
    assert_eq!(promoted["server"]["replication"], serde_json::Value::Null);
}

/// By PostgreSQL's own tool, as the user that runs servers.
fn base_backup(primary: &Agent, data: &std::path::Path) {
    let owner = shard_node::Owner::choose().unwrap();
    let binaries = shard_node::Binaries::find(None).unwrap();
    owner.make_directory(data.parent().unwrap(), 0o755).unwrap();
    let mut command = owner.command(binaries.program("pg_basebackup"));
    let target = format!(
        "host=127.0.0.1 port={} user=postgres password='correct horse'",
        primary.port
    );
    command
        .arg("-D")
        .arg(data)
        .args(["-R", "-c", "fast", "-d", &target]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
