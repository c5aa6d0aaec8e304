//! The tables that these tests read and write, on the cluster and on the oracle.

use std::sync::OnceLock;

use tests::{Cluster, ClusterOptions, Database, RawClient};

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

/// The same messages to the cluster and to the oracle, which must be answered alike.
pub struct Both {
    pub cluster: RawClient,
    pub oracle: RawClient,
}

impl Both {
    pub async fn connect(database: &Database<'_>) -> Both {
        Both {
            cluster: RawClient::connect(&database.url()).await,
            oracle: RawClient::connect(&database.oracle_url()).await,
        }
    }

    /// Says the same to both and returns both answers, up to `ready` ReadyForQuery messages.
    pub async fn say(
        &mut self,
        ready: usize,
        mut words: impl FnMut(&mut RawClient),
    ) -> (Vec<String>, Vec<String>) {
        words(&mut self.cluster);
        words(&mut self.oracle);
        let mut cluster = self.cluster.transcript(ready).await;
        let mut oracle = self.oracle.transcript(ready).await;
        drop_what_an_error_voids(&mut cluster);
        drop_what_an_error_voids(&mut oracle);
        (cluster, oracle)
    }

    /// A simple query, to which both answer the same.
    pub async fn query(&mut self, sql: &str) {
        self.agree(sql, 1, |client| {
            client.query(sql);
        })
        .await;
    }

    /// As [`Both::query`], but for the order of rows.
    pub async fn query_unordered(&mut self, sql: &str) {
        self.agree_unordered(sql, 1, |client| {
            client.query(sql);
        })
        .await;
    }

    /// Both answer the same, in the same order.
    pub async fn agree(&mut self, what: &str, ready: usize, words: impl FnMut(&mut RawClient)) {
        let (cluster, oracle) = self.say(ready, words).await;
        assert_eq!(cluster, oracle, "{what}");
    }

    /// Both answer the same but for the order of rows.
    pub async fn agree_unordered(
        &mut self,
        what: &str,
        ready: usize,
        words: impl FnMut(&mut RawClient),
    ) {
        let (mut cluster, mut oracle) = self.say(ready, words).await;
        sort_rows(&mut cluster);
        sort_rows(&mut oracle);
        assert_eq!(cluster, oracle, "{what}");
    }
}

/// The error of one shard may come before another has said anything: the description of a result
/// that never comes is of no worth.
fn drop_what_an_error_voids(notes: &mut Vec<String>) {
    let mut at = 1;
    while at < notes.len() {
        if notes[at].starts_with("error") && notes[at - 1].starts_with("columns") {
            notes.remove(at - 1);
        } else {
            at += 1;
        }
    }
}

/// Sorts each run of rows.
fn sort_rows(notes: &mut [String]) {
    for run in notes.chunk_by_mut(|one, other| one.starts_with("row") == other.starts_with("row")) {
        if run[0].starts_with("row") {
            run.sort();
        }
    }
}
