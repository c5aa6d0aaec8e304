//! The social network on the cluster and on one plain PostgreSQL, with the same rows.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tests::sides::Sides;
use tests::{Cluster, ClusterOptions, Database};
use tokio_postgres::Client;

/// A reference table, a local one, and sharded ones.
const TABLES: [&str; 8] = [
    "countries",
    "settings",
    "users",
    "posts",
    "follows",
    "likes",
    "comments",
    "messages",
];

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        Cluster::start_with(ClusterOptions {
            config: text("rules.toml"),
            ..ClusterOptions::default()
        })
    })
}

/// A file of `tests/cases`.
pub fn text(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// A database with all tables and rows on both sides.
pub struct Setting {
    pub database: Database<'static>,
    cluster: Client,
    oracle: Client,
}

impl Setting {
    pub async fn new(name: &str) -> Setting {
        let database = cluster().database(name);
        let (cluster, oracle) = (database.client().await, database.oracle().await);
        for (what, client) in [("cluster", &cluster), ("oracle", &oracle)] {
            for statement in statements(&text("tables.sql")) {
                let done = client.batch_execute(statement).await;
                done.unwrap_or_else(|error| panic!("{what}: {statement}: {error:?}"));
            }
        }
        let setting = Setting {
            database,
            cluster,
            oracle,
        };
        setting.fill().await;
        for table in ["users", "posts", "likes"] {
            let rows = setting.database.rows_by_shard(table).await;
            assert!(rows.iter().all(|count| *count > 0), "{table}: {rows:?}");
        }
        setting
    }

    /// New connections, so that no file meets another's settings.
    pub async fn sides(&self) -> Sides {
        Sides::connect(&self.database).await
    }

    /// Brings all rows back to what they were at first.
    pub async fn fill(&self) {
        let empty = format!("truncate {}", TABLES.join(", "));
        self.oracle
            .batch_execute(&empty)
            .await
            .expect("it can be emptied");
        self.oracle
            .batch_execute(&text("rows.sql"))
            .await
            .expect("it can be filled");
        for group in [&TABLES[..1], &TABLES[1..2], &TABLES[2..]] {
            let empty = format!("truncate {}", group.join(", "));
            self.cluster
                .batch_execute(&empty)
                .await
                .expect("it can be emptied");
        }
        for table in TABLES {
            self.copy(table).await;
        }
        let next = "select setval('users_id_seq', 1000); select setval('posts_id_seq', 1000)";
        for statement in statements(next) {
            self.cluster
                .batch_execute(statement)
                .await
                .expect("sequences are set");
        }
    }

    /// The plain PostgreSQL's rows of a table, to the cluster.
    async fn copy(&self, table: &str) {
        use futures_util::{SinkExt, TryStreamExt};
        let empty = format!("truncate {table}");
        self.cluster
            .batch_execute(&empty)
            .await
            .expect("it can be emptied");
        let rows = self
            .oracle
            .copy_out(&format!("copy {table} to stdout"))
            .await;
        let rows: Vec<bytes::Bytes> = rows
            .expect("it can be read")
            .try_collect()
            .await
            .expect("rows");
        let sink = self
            .cluster
            .copy_in(&format!("copy {table} from stdin"))
            .await;
        let mut sink = std::pin::pin!(sink.expect("it can be filled"));
        sink.send(bytes::Bytes::from(rows.concat()))
            .await
            .expect("rows");
        sink.finish()
            .await
            .unwrap_or_else(|error| panic!("{table}: {error:?}"));
    }
}

/// The statements of a file that has a `;` at the end of each, and nowhere else at a line's end.
fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split(";\n")
        .flat_map(|part| part.split("; "))
        .map(str::trim)
        .filter(|statement| !statement.is_empty())
}
