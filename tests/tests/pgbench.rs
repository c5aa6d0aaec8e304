//! pgbench as it comes: its tables made and filled through the router, its TPC-B over all three protocols.

use std::process::Command;

use shard_node::Binaries;
use tests::toolchain::succeed;
use tests::{Cluster, ClusterOptions, Database};

const SCALE: i64 = 2;

/// Seconds of each run.
const LENGTH: &str = "5";

const EVERY_SUM: [&str; 4] = [
    "select sum(abalance) from pgbench_accounts",
    "select sum(tbalance) from pgbench_tellers",
    "select sum(bbalance) from pgbench_branches",
    "select sum(delta) from pgbench_history",
];

fn rules(keys: &[(&str, &str)]) -> String {
    let rule = |(table, key): &(&str, &str)| {
        format!("[[tables]]\nname = \"{table}\"\nplacement = \"sharded\"\nkey = \"{key}\"\n\n")
    };
    keys.iter().map(rule).collect()
}

fn cluster_with(keys: &[(&str, &str)]) -> Cluster {
    Cluster::start_with(ClusterOptions {
        config: rules(keys),
        ..ClusterOptions::default()
    })
}

fn pgbench(database: &Database<'_>, arguments: &[&str]) -> String {
    let binaries = Binaries::find(None).unwrap_or_else(|error| panic!("{error}"));
    let mut command = Command::new(binaries.program("pgbench"));
    succeed(command.args(arguments).arg(database.url()))
}

/// Fills, runs all protocols, and holds the sums of the four tables against one another.
async fn run_and_add_up(cluster: &Cluster) {
    let database = cluster.database("pgbench");
    pgbench(&database, &["-i", "-q", "-s", &SCALE.to_string()]);
    let accounts = database.rows_by_shard("pgbench_accounts").await;
    assert!(accounts.iter().all(|&count| count > 0), "{accounts:?}");
    assert_eq!(accounts.iter().sum::<i64>(), SCALE * 100_000);

    for protocol in ["simple", "extended", "prepared"] {
        let report = pgbench(&database, &["-n", "-M", protocol, "-c", "16", "-T", LENGTH]);
        assert!(
            report.contains("number of failed transactions: 0 "),
            "{protocol}: {report}"
        );
    }

    let client = database.client().await;
    let mut sums = Vec::new();
    for sum in EVERY_SUM {
        sums.push(client.query_one(sum, &[]).await.unwrap().get::<_, i64>(0));
    }
    assert!(
        sums.iter().all(|sum| *sum == sums[0]),
        "balances differ: {sums:?}"
    );
}

#[tokio::test]
async fn balances_add_up_with_accounts_sharded_and_the_rest_local() {
    run_and_add_up(&cluster_with(&[("pgbench_accounts", "aid")])).await;
}

#[tokio::test]
async fn balances_add_up_with_every_table_sharded() {
    let cluster = cluster_with(&[
        ("pgbench_accounts", "aid"),
        ("pgbench_tellers", "tid"),
        ("pgbench_branches", "bid"),
        ("pgbench_history", "aid"),
    ]);
    run_and_add_up(&cluster).await;
}
