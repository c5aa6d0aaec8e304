//! The tables that these tests write, on the cluster and on the oracle.

use std::sync::OnceLock;

use tests::{Cluster, ClusterOptions, Database, RawClient};
use tokio_postgres::Client;

const RULES: [(&str, &str); 5] = [
    ("users", "id"),
    ("posts", "user_id"),
    ("likes", "user_id"),
    ("countries", ""),
    ("rates", ""),
];

const TABLES: &str = "
    create type mood as enum ('calm', 'gay');
    create table users (id bigint primary key, name text not null, country int, score int default 0);
    create table posts (id bigint, user_id bigint, body text, stars int, primary key (user_id, id));
    create table likes (user_id bigint, post_id bigint, weight numeric(8,2), primary key (user_id, post_id));
    create table countries (id int primary key, name text, rating numeric, made timestamptz default now(),
        code uuid default gen_random_uuid(), labels text[], mood mood, size int generated always as (id * 2) stored);
    create table rates (id serial primary key, amount int, made timestamptz default clock_timestamp());
    create table settings (id int primary key, value text)";

const ROWS: &str = "
    insert into users select n, 'user ' || n, n % 7, n % 11 from generate_series(1, 60) n;
    insert into posts select n, 1 + n * 7 % 60, 'post ' || n, n % 5 from generate_series(1, 200) n;
    insert into likes select 1 + n * 11 % 60, n, n / 4.0 from generate_series(1, 150) n;
    insert into countries (id, name, rating, labels, mood)
        values (0, 'zero', 0.5, '{a,\"b c\"}', 'calm'), (1, 'one', 1.5, null, 'gay'), (2, 'two', null, '{}', null),
        (3, 'three', 3.25, '{x}', 'calm'), (4, null, 4, null, null), (5, 'five', 5, '{\"\"}', 'gay');
    insert into settings values (1, 'one'), (2, 'two'), (3, 'three')";

/// Four shards for all tests.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let rule = |(name, key): &(&str, &str)| match *key {
            "" => format!("[[tables]]\nname = \"{name}\"\nplacement = \"reference\"\n\n"),
            key => {
                format!(
                    "[[tables]]\nname = \"{name}\"\nplacement = \"sharded\"\nkey = \"{key}\"\n\n"
                )
            }
        };
        Cluster::start_with(ClusterOptions {
            config: RULES.iter().map(rule).collect(),
            ..ClusterOptions::default()
        })
    })
}

/// The same tables and rows on the cluster and on the oracle.
pub struct Both {
    _database: Database<'static>,
    cluster: RawClient,
    oracle: RawClient,
    cluster_rows: Client,
    oracle_rows: Client,
    /// Straight to each.
    shards: Vec<Client>,
}

impl Both {
    pub async fn new(name: &str) -> Both {
        let database = cluster().database(name);
        let oracle_rows = database.oracle().await;
        oracle_rows.batch_execute(TABLES).await.unwrap();
        oracle_rows.batch_execute(ROWS).await.unwrap();
        let cluster_rows = database.client().await;
        for table in TABLES.split(';') {
            cluster_rows.batch_execute(table).await.unwrap();
        }
        for table in ["users", "posts", "likes", "countries", "settings"] {
            carry_over(&oracle_rows, &cluster_rows, table).await;
        }
        let mut shards = Vec::new();
        for number in 0..database.cluster.shard_count() {
            shards.push(database.shard(number).await);
        }
        Both {
            shards,
            cluster: RawClient::connect(&database.url()).await,
            oracle: RawClient::connect(&database.oracle_url()).await,
            _database: database,
            cluster_rows,
            oracle_rows,
        }
    }

    /// Both say the same to the same words, but for the order of rows, and have the same rows after it.
    pub async fn say(&mut self, what: &str, words: impl Fn(&mut RawClient)) {
        words(&mut self.cluster);
        words(&mut self.oracle);
        let mut cluster = self.cluster.transcript(1).await;
        let mut oracle = self.oracle.transcript(1).await;
        drop_what_an_error_voids(&mut cluster);
        drop_what_an_error_voids(&mut oracle);
        cluster.sort();
        oracle.sort();
        assert_eq!(cluster, oracle, "{what}");
        for table in ["users", "posts", "likes", "settings"] {
            let sql = format!("select t::text from {table} t");
            let cluster = sorted(&self.cluster_rows, &sql).await;
            assert_eq!(
                cluster,
                sorted(&self.oracle_rows, &sql).await,
                "{table} after {what}"
            );
        }
        self.copies_are_the_same(what).await;
    }

    /// A simple query.
    pub async fn query(&mut self, sql: &str) {
        self.say(sql, |client| {
            client.query(sql);
        })
        .await;
    }

    /// What the cluster says to a statement whose values no other server gives.
    pub async fn cluster_says(&mut self, sql: &str) -> Vec<String> {
        let said = self.cluster.query(sql).transcript(1).await;
        self.copies_are_the_same(sql).await;
        said
    }

    async fn copies_are_the_same(&self, what: &str) {
        for table in ["countries", "rates"] {
            let sql = format!(
                "select md5(coalesce(string_agg(t::text, ' ' order by id), '')) from {table} t"
            );
            let mut copies = Vec::new();
            for shard in &self.shards {
                copies.push(sorted(shard, &sql).await);
            }
            assert!(
                copies.iter().all(|copy| *copy == copies[0]),
                "{table} after {what}: {copies:?}"
            );
        }
    }
}

/// A result may be described before an error comes: then the description is of no worth.
fn drop_what_an_error_voids(notes: &mut Vec<String>) {
    if notes.iter().any(|note| note.starts_with("error")) {
        notes.retain(|note| !note.starts_with("columns"));
    }
}

/// Copies the rows of a table by INSERT.
async fn carry_over(from: &Client, to: &Client, table: &str) {
    let columns = match table {
        "countries" => "id, name, rating, made, code, labels, mood",
        _ => "t.*",
    };
    let sql = format!(
        "select (select string_agg(quote_nullable(v.value), ', ' order by n) \
        from json_each_text(row_to_json(r)) with ordinality v(key, value, n)) from (select {columns} from {table} t) r"
    );
    let rows = match table {
        "countries" => sorted(from, "select format('%L, %L, %L, %L, %L, %L, %L', id, name, rating, made, code, labels, mood) from countries").await,
        _ => sorted(from, &sql).await,
    };
    let columns = if table == "countries" {
        format!("({columns})")
    } else {
        String::new()
    };
    let sql = format!(
        "insert into {table} {columns} values ({})",
        rows.join("), (")
    );
    to.batch_execute(&sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// The first column of all rows, sorted.
async fn sorted(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut texts: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    texts.sort();
    texts
}
