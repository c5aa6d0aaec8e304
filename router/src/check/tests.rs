//! Verdicts on made-up shards; a live one is checked in the tests crate.

use super::*;
use crate::config::Config;

fn good() -> ShardFacts {
    ShardFacts {
        shard: 0,
        version: 150_004,
        max_prepared_transactions: 64,
        max_connections: 100,
        reserved_connections: 3,
        wal_level: "logical".into(),
        encoding: "UTF8".into(),
        collation: "C.UTF-8".into(),
        character_type: "C.UTF-8".into(),
        password_encryption: "scram-sha-256".into(),
        standard_conforming_strings: "on".into(),
        synchronous_commit: "on".into(),
        fsync: "on".into(),
        read_only: "off".into(),
        in_recovery: false,
        superuser: true,
        system_identifier: "1".into(),
        clock_offset: 0.01,
        roles: [("app".to_owned(), "digest".to_owned())].into(),
    }
}

fn shard() -> ShardConfig {
    ShardConfig {
        id: topology::ShardId(0),
        host: "h".into(),
        port: 5432,
        weight: 1.0,
        patroni: None,
    }
}

fn not_ok(facts: &ShardFacts) -> Vec<String> {
    let findings = judge(facts, &Config::default(), &shard());
    findings
        .iter()
        .filter(|f| f.verdict != Verdict::Ok)
        .map(Finding::to_string)
        .collect()
}

#[test]
fn a_shard_as_it_should_be_has_nothing_wrong() {
    assert_eq!(not_ok(&good()), [""; 0]);
}

#[test]
fn each_fault_says_what_to_set() {
    type Spoil = fn(&mut ShardFacts);
    let cases: [(Spoil, &str); 8] = [
        (
            |f| f.version = 140_009,
            "wrong  shard 0: PostgreSQL 14.9; upgrade to 15 or newer",
        ),
        (
            |f| f.max_prepared_transactions = 0,
            "wrong  shard 0: max_prepared_transactions = 0; set max_prepared_transactions = 64 and restart it",
        ),
        (
            |f| f.max_prepared_transactions = 5,
            "warn   shard 0: max_prepared_transactions = 5 is below pool.size = 20; set max_prepared_transactions = 64 and restart it",
        ),
        (
            |f| f.wal_level = "replica".into(),
            "wrong  shard 0: wal_level = replica; set wal_level = logical and restart it",
        ),
        (
            |f| f.max_connections = 20,
            "wrong  shard 0: max_connections = 20, 3 of them for superusers; this router needs 30; set max_connections to 33 or more for each router, or lower pool.size",
        ),
        (
            |f| f.superuser = false,
            "wrong  shard 0: \"postgres\" is no superuser; run ALTER ROLE \"postgres\" SUPERUSER there",
        ),
        (
            |f| f.in_recovery = true,
            "wrong  shard 0: is a standby in recovery; name the primary in cluster.shards, or promote it",
        ),
        (
            |f| f.clock_offset = -7.5,
            "warn   shard 0: clock differs from this machine's by 7.500 s; let a time service set both clocks",
        ),
    ];
    for (spoil, line) in cases {
        let mut facts = good();
        spoil(&mut facts);
        assert_eq!(not_ok(&facts), [line]);
    }
}

fn second() -> ShardFacts {
    ShardFacts {
        shard: 1,
        system_identifier: "2".into(),
        ..good()
    }
}

#[test]
fn shards_that_agree_have_nothing_wrong() {
    assert!(
        compare(&[good(), second()])
            .iter()
            .all(|finding| finding.verdict == Verdict::Ok)
    );
    assert!(compare(&[good()]).is_empty());
}

#[test]
fn shards_that_differ_are_told_apart() {
    let mut other = second();
    other.collation = "de_DE.UTF-8".into();
    other.system_identifier = "1".into();
    other.roles.clear();
    let findings: Vec<String> = compare(&[good(), other])
        .iter()
        .map(Finding::to_string)
        .collect();
    let all = findings.join("\n");
    assert!(
        all.contains("wrong  shards: shards 0 and 1 are one server, or copies of one"),
        "{all}"
    );
    assert!(
        all.contains("collation differs: C.UTF-8 on shard 0, de_DE.UTF-8 on shard 1"),
        "{all}"
    );
    assert!(
        all.contains("warn   shards: roles differ in rights or password: app"),
        "{all}"
    );
}

#[tokio::test]
async fn a_shard_out_of_reach_is_told_with_its_address() {
    let mut config = Config::default();
    // Port 9 of this machine: the discard service, which nobody runs.
    config.cluster.shards = vec![ShardConfig {
        host: "127.0.0.1".into(),
        port: 9,
        ..shard()
    }]
    .into();
    let mut out = Vec::new();
    assert!(!run_shards(&config, &mut out).await.unwrap());
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.contains("wrong  shard 0: cannot connect to 127.0.0.1:9"),
        "{out}"
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_ends_the_check() {
    let mut out = Vec::new();
    assert!(
        !run(Some(Path::new("/nonexistent.toml")), &mut out)
            .await
            .unwrap()
    );
    let out = String::from_utf8(out).unwrap();
    assert!(
        out.starts_with("wrong  configuration: /nonexistent.toml: cannot be read"),
        "{out}"
    );
}
