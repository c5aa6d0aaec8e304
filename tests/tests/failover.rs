//! A shard's primary dies and its standby is promoted, while clients write. With synchronous replication nothing that
//! was acknowledged is lost, statements wait instead of failing, and other shards do not notice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use shard_node::Stop;
use tests::{Cluster, ClusterOptions, PATIENCE, connect, eventually};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const WRITERS: i64 = 4;
/// A transaction is one entry on each of two shards.
const PAIR: i64 = 1_000_000;

/// What one writer did.
#[derive(Default)]
struct Account {
    acknowledged: BTreeSet<i64>,
    /// Number, time and text of what failed: done or not.
    failed: Vec<(i64, String)>,
    /// When each was acknowledged.
    times: Vec<Instant>,
}

fn cluster(standby_of: usize) -> Cluster {
    Cluster::start_with(ClusterOptions {
        shards: Some(2),
        standby_of: Some(standby_of),
        ..ClusterOptions::default()
    })
}

/// From now on a commit waits for the standby.
async fn replicate_synchronously(cluster: &Cluster, number: usize) {
    let primary = cluster.shard(number).await;
    primary
        .batch_execute("alter system set synchronous_standby_names = '*'")
        .await
        .unwrap();
    primary
        .batch_execute("select pg_reload_conf()")
        .await
        .unwrap();
    eventually("the standby is synchronous", async || {
        let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'";
        let row = primary.query_one(sql, &[]).await.unwrap();
        row.get::<_, i64>(0) == 1
    })
    .await;
}

/// A key whose rows are on the shard.
async fn key_on(cluster: &Cluster, client: &Client, number: usize) -> i64 {
    for key in 1..1000 {
        let sql = format!("insert into ledger values ({key}, 0)");
        client.batch_execute(&sql).await.unwrap();
        let shard = cluster.shard(number).await;
        let sql = format!("select count(*) from ledger where account = {key}");
        if shard.query_one(&sql, &[]).await.unwrap().get::<_, i64>(0) == 1 {
            return key;
        }
    }
    panic!("no key of a thousand is on shard {number}");
}

/// Writes entry after entry, each by itself, until told to stop.
async fn write(
    url: String,
    statement: impl Fn(i64) -> String,
    first: i64,
    stop: Arc<AtomicBool>,
) -> Account {
    let mut account = Account::default();
    let mut client = None;
    let mut entry = first;
    while !stop.load(Ordering::Relaxed) {
        let connected = match client.take() {
            Some(client) => client,
            None => connect(&url)
                .await
                .expect("the router takes clients throughout"),
        };
        match connected.batch_execute(&statement(entry)).await {
            Ok(()) => {
                account.acknowledged.insert(entry);
                account.times.push(Instant::now());
                client = Some(connected);
            }
            Err(error) => {
                let said = error
                    .as_db_error()
                    .map(|error| format!("{} {}", error.code().code(), error.message()));
                account
                    .failed
                    .push((entry, said.unwrap_or_else(|| error.to_string())));
            }
        }
        entry += 1;
    }
    account
}

fn spawn_writers(
    cluster: &Cluster,
    [near, far]: [i64; 2],
    stop: &Arc<AtomicBool>,
) -> Vec<(&'static str, JoinHandle<Account>)> {
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        for (kind, key) in [("surviving shard", near), ("failing shard", far)] {
            let single = move |entry| format!("insert into ledger values ({key}, {entry})");
            let first = 1 + number * 100_000;
            writers.push((
                kind,
                tokio::spawn(write(cluster.url(), single, first, Arc::clone(stop))),
            ));
        }
    }
    let pair = move |entry| {
        format!(
            "begin; insert into ledger values ({near}, {entry}); insert into ledger values ({far}, {entry}); commit"
        )
    };
    writers.push((
        "both shards",
        tokio::spawn(write(cluster.url(), pair, PAIR, Arc::clone(stop))),
    ));
    writers
}

async fn entries(client: &Client, key: i64) -> BTreeSet<i64> {
    let sql = format!("select entry from ledger where account = {key} and entry > 0");
    let rows = client.query(&sql, &[]).await.unwrap();
    let entries: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(entries.len(), rows.len(), "an entry is there twice");
    entries
}

/// The longest time without an acknowledged write.
fn longest_gap(mut times: Vec<Instant>) -> Duration {
    times.sort();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or_default()
}

async fn fails_over(failing: usize) {
    let cluster = cluster(failing);
    let client = cluster.client().await;
    let tables = "create table ledger (account bigint, entry bigint); select oskol.shard_table('ledger', 'account')";
    client.batch_execute(tables).await.unwrap();
    replicate_synchronously(&cluster, failing).await;
    let keys = [
        key_on(&cluster, &client, 1 - failing).await,
        key_on(&cluster, &client, failing).await,
    ];
    let stop = Arc::new(AtomicBool::new(false));
    let writers = spawn_writers(&cluster, keys, &stop);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let died = Instant::now();
    cluster.stop_shard(failing, Stop::Immediate);
    // As a failover manager needs some time to be sure.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let standby = connect(&cluster.standby().url()).await.unwrap();
    standby.batch_execute("select pg_promote()").await.unwrap();
    let question = format!("select count(*) from ledger where account = {}", keys[1]);
    let held = client.query_one(&question, &[]);
    let held = tokio::time::timeout(PATIENCE, held).await;
    held.expect("in time").expect("held, not failed");
    println!(
        "shard {failing}: serves again {} ms after the death, 1000 ms of them until the promotion",
        died.elapsed().as_millis()
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);

    let (mut near_sure, mut far_sure, mut unsure) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut far_times, mut failures) = (Vec::new(), Vec::new());
    for (kind, writer) in writers {
        let account = tokio::time::timeout(PATIENCE, writer)
            .await
            .expect("the writer ends")
            .unwrap();
        if kind != "failing shard" {
            near_sure.extend(&account.acknowledged);
        }
        if kind != "surviving shard" {
            far_sure.extend(&account.acknowledged);
        }
        match kind {
            "surviving shard" => assert!(account.failed.is_empty(), "{kind}: {:?}", account.failed),
            "failing shard" => far_times.extend(account.times),
            _ => {}
        }
        // What was under way when the server died; all that came later was held.
        assert!(account.failed.len() <= 2, "{kind}: {:?}", account.failed);
        unsure.extend(account.failed.iter().map(|(entry, _)| *entry));
        failures.extend(account.failed);
    }
    println!("{} statements failed: {failures:?}", failures.len());
    println!(
        "{} and {} entries acknowledged; the longest time without a write: {} ms",
        near_sure.len(),
        far_sure.len(),
        longest_gap(far_times).as_millis()
    );

    let (near, far) = (
        entries(&client, keys[0]).await,
        entries(&client, keys[1]).await,
    );
    let lost: Vec<_> = near_sure
        .difference(&near)
        .chain(far_sure.difference(&far))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let unasked: Vec<_> = far
        .iter()
        .filter(|entry| !far_sure.contains(entry) && !unsure.contains(entry))
        .collect();
    assert!(unasked.is_empty(), "never written: {unasked:?}");
    let in_pairs = |entries: BTreeSet<i64>| {
        entries
            .into_iter()
            .filter(|entry| *entry >= PAIR)
            .collect::<Vec<_>>()
    };
    eventually("no transaction is in doubt", async || {
        let pending = standby
            .query_one("select count(*) from pg_prepared_xacts", &[])
            .await;
        pending.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let (near, far) = (
        entries(&client, keys[0]).await,
        entries(&client, keys[1]).await,
    );
    assert_eq!(
        in_pairs(near),
        in_pairs(far),
        "a transaction is there in part"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_takes_over_and_nothing_acknowledged_is_lost() {
    fails_over(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_home_shard_fails_over_too() {
    fails_over(0).await;
}

#[tokio::test]
async fn a_shard_without_a_primary_is_told_after_the_configured_time() {
    let cluster = Cluster::start_with(ClusterOptions {
        shards: Some(2),
        standby_of: Some(1),
        environment: vec![(
            "OSKOL_CLUSTER__FAILOVER_TIMEOUT".to_owned(),
            "1s".to_owned(),
        )],
        ..ClusterOptions::default()
    });
    let client = cluster.client().await;
    let tables = "create table t (id bigint); select oskol.shard_table('t', 'id')";
    client.batch_execute(tables).await.unwrap();
    cluster.stop_shard(1, Stop::Fast);
    let error = client
        .batch_execute("select count(*) from t")
        .await
        .unwrap_err();
    let error = error.as_db_error().expect("the router says it");
    assert!(error.code().code().starts_with("08"), "{error:?}");
    cluster.start_shard(1);
    eventually("the primary is back", async || {
        client.batch_execute("select count(*) from t").await.is_ok()
    })
    .await;
}
