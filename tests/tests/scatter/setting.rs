//! The tables that these tests read and write, on the cluster and on the oracle.

use std::sync::OnceLock;

pub use tests::Both;
use tests::{Cluster, ClusterOptions, Database};

const RULES: &str = "[[tables]]\nname = \"items\"\nplacement = \"sharded\"\nkey = \"owner\"\n\n\
     [[tables]]\nname = \"rates\"\nplacement = \"reference\"\n\n";

const TABLES: &str = "
    create table items (owner bigint, id int, amount int, word text, primary key (owner, id));
    create table rates (id int primary key, amount int);
    create table notes (id int primary key, word text)";

/// Owners 1 to 40, each with items 1 to 5.
pub const OWNERS: i64 = 40;

/// Four shards for all tests that leave the servers as they are.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| cluster_with(&[], ""))
}

/// A cluster of the test's own.
pub fn cluster_with(environment: &[(&str, &str)], config: &str) -> Cluster {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Cluster::start_with(ClusterOptions {
        config: RULES.to_owned() + config,
        environment: environment.iter().map(pair).collect(),
        ..ClusterOptions::default()
    })
}

/// A database with rows in `items` (by owner), `rates` (reference) and `notes` (local), on the
/// cluster and on the oracle.
pub async fn database(name: &str) -> Database<'static> {
    let database = cluster().database(name);
    fill(&database.url()).await;
    fill(&database.oracle_url()).await;
    let rows = database.rows_by_shard("items").await;
    assert!(rows.iter().all(|count| *count > 0), "{rows:?}");
    database
}

/// Makes the tables and their rows.
pub async fn fill(url: &str) {
    let client = tests::connect(url).await.unwrap();
    let run = async |sql: String| client.batch_execute(&sql).await.unwrap();
    for table in TABLES.split(';') {
        run(table.to_owned()).await;
    }
    run(format!("insert into items values {}", items())).await;
    run("insert into rates values (1, 10), (2, 20), (3, 30), (4, 40)".to_owned()).await;
    run("insert into notes values (1, 'one'), (2, 'two')".to_owned()).await;
}

fn items() -> String {
    let ids = |owner: i64| (1..=5).map(move |id| (owner, id));
    let rows = (1..=OWNERS).flat_map(ids).map(|(owner, id)| {
        let amount = owner * id % 17;
        format!("({owner}, {id}, {amount}, 'w{owner}')")
    });
    rows.collect::<Vec<_>>().join(", ")
}
