//! `oskol backup` while money moves between shards, `oskol restore`, and the sum holds.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use shard_node::{LocalCluster, LocalClusterOptions};
use tests::{Cluster, PATIENCE, connect, eventually};

const ACCOUNTS: i64 = 40;
const EACH: i64 = 1_000;
const CLERKS: u64 = 4;

fn oskol(arguments: &[&str]) -> String {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("oskol-under-test");
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Moves one unit between two accounts, which mostly are on different shards, until told to stop; counts.
async fn clerk(url: String, mut seed: u64, stop: Arc<AtomicBool>, done: Arc<AtomicI64>) {
    let client = connect(&url).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let (from, to) = (
            (seed >> 33) as i64 % ACCOUNTS,
            (seed >> 45) as i64 % ACCOUNTS,
        );
        if from == to {
            continue;
        }
        // In ascending order, so that two clerks do not wait in a circle.
        let changes = [(from, -1), (to, 1)];
        let mut changes = changes.map(|(id, by)| {
            (
                id,
                format!("update accounts set amount = amount + {by} where id = {id};"),
            )
        });
        changes.sort();
        let [(_, first), (_, second)] = changes;
        client
            .batch_execute(&format!("begin; {first} {second} commit"))
            .await
            .unwrap();
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_restored_without_half_a_transaction() {
    let cluster = Cluster::start(3);
    let client = cluster.client().await;
    let tables = "create table accounts (id bigint primary key, amount bigint not null);
        select oskol.shard_table('accounts', 'id')";
    client.batch_execute(tables).await.unwrap();
    for id in 0..ACCOUNTS {
        let sql = format!("insert into accounts values ({id}, {EACH})");
        client.batch_execute(&sql).await.unwrap();
    }
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicI64::new(0)),
    );
    let clerks: Vec<_> = (0..CLERKS)
        .map(|number| {
            tokio::spawn(clerk(
                cluster.url(),
                number + 1,
                Arc::clone(&stop),
                Arc::clone(&done),
            ))
        })
        .collect();
    eventually("money moves", async || done.load(Ordering::Relaxed) > 20).await;

    let place = tempfile::Builder::new()
        .prefix("oskol-backup-")
        .tempdir()
        .unwrap();
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).unwrap();
    let (backup, restored) = (place.path().join("backup"), place.path().join("restored"));
    let before = done.load(Ordering::Relaxed);
    let config = cluster.router().config_file().to_owned();
    let target = backup.clone();
    let said = tokio::task::spawn_blocking(move || {
        oskol(&[
            "backup",
            "--config",
            config.to_str().unwrap(),
            "--to",
            target.to_str().unwrap(),
        ])
    });
    let said = said.await.unwrap();
    let during = done.load(Ordering::Relaxed) - before;
    println!("{said}{during} transfers meanwhile");
    assert!(during > 0, "clients went on");
    let slots = "select count(*) from pg_replication_slots";
    for number in 0..3 {
        let left: i64 = cluster
            .shard(number)
            .await
            .query_one(slots, &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(left, 0, "shard {number} keeps WAL for nobody");
    }
    // What comes later is not in it.
    eventually("more money moves", async || {
        done.load(Ordering::Relaxed) > before + during + 20
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for clerk in clerks {
        clerk.await.unwrap();
    }
    let last = amounts(&client).await;
    drop(client);

    let password = place.path().join("password");
    std::fs::write(&password, cluster.password()).unwrap();
    let arguments = [
        "restore",
        "--from",
        path(&backup),
        "--to",
        path(&restored),
        "--password-file",
        path(&password),
    ];
    print!("{}", oskol(&arguments));
    let (amounts, prepared) = run_restored(&cluster, &restored).await;
    assert_eq!(amounts.len() as i64, ACCOUNTS);
    assert_eq!(
        amounts.iter().map(|(_, amount)| amount).sum::<i64>(),
        ACCOUNTS * EACH
    );
    assert_ne!(amounts, last, "the backup is of an earlier moment");
    println!("the sum holds; {prepared} transactions were in doubt after the recovery");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn amounts(client: &tokio_postgres::Client) -> Vec<(i64, i64)> {
    let rows = client
        .query("select id, amount from accounts order by id", &[])
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What a router shows of the restored servers, and how many transactions it had to finish.
async fn run_restored(old: &Cluster, directory: &Path) -> (Vec<(i64, i64)>, i64) {
    let mut options = LocalClusterOptions::new(directory);
    options.signal_at_our_death = "KILL";
    options.settings = vec![
        ("fsync".to_owned(), "off".to_owned()),
        ("max_prepared_transactions".to_owned(), "300".to_owned()),
        ("max_connections".to_owned(), "300".to_owned()),
    ];
    let shards = LocalCluster::open(&options, |_| {}).unwrap();
    let _servers = shards.start(PATIENCE).unwrap();
    let mut in_doubt = 0;
    for shard in &shards.shards {
        let url = format!(
            "postgres://postgres:{}@127.0.0.1:{}/postgres",
            old.password(),
            shard.port
        );
        let client = connect(&url).await.unwrap();
        eventually("the server has recovered", async || {
            let row = client
                .query_one("select pg_is_in_recovery()", &[])
                .await
                .unwrap();
            !row.get::<_, bool>(0)
        })
        .await;
        let row = client
            .query_one("select count(*) from pg_prepared_xacts", &[])
            .await
            .unwrap();
        in_doubt += row.get::<_, i64>(0);
    }
    // To a router for other addresses the routers of the backup seem to live for some seconds.
    let home = format!(
        "postgres://postgres:{}@127.0.0.1:{}/postgres",
        old.password(),
        shards.shards[0].port
    );
    let home = connect(&home).await.unwrap();
    eventually("the old routers are silent", async || {
        let sql = "select count(*) from oskol.routers where heartbeat > clock_timestamp() - interval '11s'";
        home.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    let router = old.router_for(&shards);
    let client = connect(&router.url_of("postgres")).await.unwrap();
    eventually("no transaction is in doubt", async || {
        let mut left = 0;
        for shard in &shards.shards {
            let url = format!(
                "postgres://postgres:{}@127.0.0.1:{}/postgres",
                old.password(),
                shard.port
            );
            let shard = connect(&url).await.unwrap();
            let row = shard
                .query_one("select count(*) from pg_prepared_xacts", &[])
                .await
                .unwrap();
            left += row.get::<_, i64>(0);
        }
        left == 0
    })
    .await;
    (amounts(&client).await, in_doubt)
}
