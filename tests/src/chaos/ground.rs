//! Three shards and two routers, and clients that come again when they are thrown out.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::{Cluster, ClusterOptions, Router, block_on, connect};

pub(super) const SHARDS: usize = 3;

/// A transaction that takes longer is given up by its client.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Ground {
    pub(super) cluster: Cluster,
    pub(super) second: Router,
}

/// How a transaction ended, as far as its client knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Committed,
    /// It has not happened: this SQLSTATE, or a connection lost before COMMIT was sent.
    Refused(String),
    Unknown(String),
}

impl Ground {
    pub(super) fn start(tables: &str) -> Ground {
        let cluster = Cluster::start_with(ClusterOptions {
            shards: Some(SHARDS),
            config: "[pool]\nsize = 30\n".to_owned(),
            ..ClusterOptions::default()
        });
        let second = cluster.another_router();
        block_on(async {
            let client = cluster.client().await;
            for statement in tables.split(';') {
                let made = client.batch_execute(statement).await;
                made.unwrap_or_else(|error| panic!("{statement}: {error}"));
            }
        });
        Ground { cluster, second }
    }

    pub(super) fn routers(&self) -> [&Router; 2] {
        [self.cluster.router(), &self.second]
    }

    /// A connection through one of the routers, as soon as there is one; none after `until`.
    pub(super) async fn client(&self, number: usize, until: Instant) -> Option<Client> {
        for attempt in number.. {
            let url = self.routers()[attempt % 2].url_of("postgres");
            let connected = tokio::time::timeout(LIMIT, connect(&url)).await;
            if let Ok(Ok(client)) = connected {
                return Some(client);
            }
            if Instant::now() > until {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    /// Waits until nothing is prepared on any shard; false when that takes longer than [`LIMIT`].
    pub(super) async fn settled(&self) -> bool {
        let until = Instant::now() + LIMIT;
        let mut left = i64::MAX;
        while left > 0 && Instant::now() < until {
            left = 0;
            for shard in 0..SHARDS {
                let shard = self.cluster.shard(shard).await;
                let prepared = "select count(*) from pg_prepared_xacts";
                left += shard
                    .query_one(prepared, &[])
                    .await
                    .map_or(1, |row| row.get(0));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        left == 0
    }
}

/// COMMIT, and what it tells of the transaction.
pub(super) async fn commit(client: &Client) -> Ended {
    match tokio::time::timeout(LIMIT, client.batch_execute("commit")).await {
        Ok(Ok(())) => Ended::Committed,
        Ok(Err(error)) => match code(&error) {
            code if leaves_open(&code) => Ended::Unknown(code),
            code => Ended::Refused(code),
        },
        Err(_) => Ended::Unknown("no answer".to_owned()),
    }
}

/// After these a transaction may have been committed: 57P01 and 57P02 are PostgreSQL's own last words.
fn leaves_open(code: &str) -> bool {
    matches!(code, "08007" | "40003" | "57P01" | "57P02" | LOST)
}

const LOST: &str = "connection lost";

/// The SQLSTATE, if the connection lived long enough to bring one.
pub(super) fn code(error: &tokio_postgres::Error) -> String {
    error
        .code()
        .map_or_else(|| LOST.to_owned(), |code| code.code().to_owned())
}

/// The client gives up its connection after these.
pub(super) fn is_fatal(client: &Client, ended: &Ended) -> bool {
    client.is_closed() || matches!(ended, Ended::Unknown(code) if code == "no answer")
}
