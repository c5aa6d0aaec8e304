//! The tables that these tests read, on the cluster and on the oracle.

use std::sync::OnceLock;

use futures_util::SinkExt as _;
use tests::{Cluster, ClusterOptions, Database};

const RULES: &str = "[[tables]]\nname = \"posts\"\nplacement = \"sharded\"\nkey = \"author\"\n\n\
     [[tables]]\nname = \"likes\"\nplacement = \"sharded\"\nkey = \"fan\"\n\n\
     [[tables]]\nname = \"things\"\nplacement = \"sharded\"\nkey = \"id\"\n\n\
     [[tables]]\nname = \"countries\"\nplacement = \"reference\"\n\n";

/// Likes are of posts by other authors: a join of the two leaves the key.
const TABLES: &str = "
    create table posts (author bigint, id int, country int, score numeric(10, 2), word text, primary key (author, id));
    create table likes (fan bigint, author bigint, post int, primary key (fan, author, post));
    create table countries (id int primary key, name text);
    create table settings (id int primary key, word text)";

const ROWS: &str = "
    insert into countries values (0, 'Chile'), (1, 'Aruba'), (2, 'Benin'), (3, null);
    insert into settings values (1, 'w1'), (2, 'w2')";

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

/// A database with rows in all tables, on the cluster and on the oracle.
pub async fn database(name: &str) -> Database<'static> {
    let database = cluster().database(name);
    fill(&database.url()).await;
    fill(&database.oracle_url()).await;
    let rows = database.rows_by_shard("posts").await;
    assert!(rows.iter().all(|count| *count > 0), "{rows:?}");
    database
}

/// Makes the tables and their rows.
pub async fn fill(url: &str) {
    run_each(url, TABLES).await;
    run_each(url, ROWS).await;
    let posts = pairs(1..=40, 1..=5).map(|(author, id)| {
        let score = f64::from(author * id % 17) / 4.0;
        format!("{author}\t{id}\t{}\t{score}\tw{}", author % 4, author % 7)
    });
    copy(url, "posts", posts).await;
    let likes = pairs(1..=40, 1..=3)
        .map(|(fan, post)| format!("{fan}\t{}\t{post}", (fan * 7 + post) % 40 + 1));
    copy(url, "likes", likes).await;
}

/// More rows in `posts`: 100 for each of the authors from 101 on.
pub async fn grow(url: &str, rows: i32) {
    let posts = pairs(101..=100 + rows / 100, 1..=100).map(|(author, id)| {
        let score = f64::from(id) / 8.0;
        let word = "x".repeat(20);
        format!(
            "{author}\t{id}\t{}\t{score}\t{word}{}",
            author % 4,
            author % 100
        )
    });
    copy(url, "posts", posts).await;
}

fn pairs(
    ones: std::ops::RangeInclusive<i32>,
    others: std::ops::RangeInclusive<i32>,
) -> impl Iterator<Item = (i32, i32)> {
    ones.flat_map(move |one| others.clone().map(move |other| (one, other)))
}

/// Rows in COPY's text form.
pub async fn copy(url: &str, table: &str, rows: impl Iterator<Item = String>) {
    const CHUNK: usize = 1000;
    let client = tests::connect(url).await.unwrap();
    let sink = client.copy_in(&format!("copy {table} from stdin")).await;
    let mut sink = std::pin::pin!(sink.unwrap());
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let chunk: String = rows.by_ref().take(CHUNK).map(|row| row + "\n").collect();
        sink.send(bytes::Bytes::from(chunk)).await.unwrap();
    }
    sink.finish().await.unwrap();
}

/// Runs statements that are set apart by semicolons, each by itself.
pub async fn run_each(url: &str, statements: &str) {
    let client = tests::connect(url).await.unwrap();
    for statement in statements.split(';') {
        let done = client.batch_execute(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}
