//! The harness of the end-to-end tests: clusters of real PostgreSQL servers with a real router process in front.
//!
//! ```no_run
//! # async fn fact() {
//! use tests::Cluster;
//!
//! let database = Cluster::shared().database("posts");   // fresh and empty on every shard, and on an oracle
//! let client = database.client().await;                 // through the router
//! client.batch_execute("create table posts (id bigint)").await.unwrap();
//! let shard = database.shard(0).await;                  // straight to one shard
//! let oracle = database.oracle().await;                 // one plain PostgreSQL, nothing sharded
//! # let _ = (shard, oracle);
//! # }
//! ```
//!
//! [`Cluster::shared`] is one cluster of four shards per test binary, for tests that leave it as it is; tests that
//! kill things start their own ([`Cluster::start`]). Everything listens on free ports, keeps its files in a
//! temporary directory, and is gone when the test's process is gone, however that ends. A failed test prints the
//! end of the logs and where the rest is.

pub mod answer;
mod both;
pub mod chaos;
mod cluster;
pub mod constraints;
mod database;
pub mod differential;
mod directory;
mod fault_points;
pub mod history;
mod proxy;
mod psql;
pub mod raw;
mod router;
mod router_process;
pub mod sides;
pub mod social;
mod standby;
mod template;
pub mod toolchain;

pub use both::Both;
pub use cluster::{Cluster, ClusterOptions, SpareServer};
pub use database::Database;
pub use fault_points::FaultPoints;
pub use proxy::{Direction, Proxy};
pub use psql::{Psql, psql};
pub use raw::RawClient;
pub use router::Router;
pub use standby::Standby;

use std::future::Future;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

/// Longest wait for anything that ought to happen soon.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Connects by a connection string; the connection lives as long as the client.
pub async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Errors of the connection come out at the client.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// Asks until `condition` holds; panics with `what` when it does not within [`PATIENCE`].
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs a future to its end on a thread of its own, so that it may be called from inside a runtime too.
pub fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime for the harness").block_on(future)
        };
        scope
            .spawn(run)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
