//! One test's database in a cluster that many tests share.

use std::sync::OnceLock;

use tokio_postgres::Client;

use crate::{Cluster, Psql, block_on, connect, psql};

pub struct Database<'a> {
    pub cluster: &'a Cluster,
    /// Of letters, digits and underscores: needs no quotes.
    pub name: String,
    /// Of CREATE DATABASE.
    options: String,
    on_oracle: OnceLock<()>,
}

impl<'a> Database<'a> {
    pub(crate) fn create(cluster: &'a Cluster, name: String, options: &str) -> Database<'a> {
        let urls = (0..cluster.shard_count()).map(|shard| cluster.shard_url(shard, "postgres"));
        create_on(urls.collect(), &name, options);
        Database {
            cluster,
            name,
            options: options.to_owned(),
            on_oracle: OnceLock::new(),
        }
    }

    /// Through the router.
    pub async fn client(&self) -> Client {
        connect(&self.url())
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.url()))
    }

    pub fn url(&self) -> String {
        self.cluster.url_of(&self.name)
    }

    /// Straight to one shard.
    pub async fn shard(&self, number: usize) -> Client {
        let url = self.cluster.shard_url(number, &self.name);
        connect(&url)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// One plain PostgreSQL with a database of this name.
    pub async fn oracle(&self) -> Client {
        let url = self.oracle_url();
        connect(&url)
            .await
            .unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub fn oracle_url(&self) -> String {
        self.on_oracle.get_or_init(|| {
            create_on(
                vec![self.cluster.oracle_url("postgres")],
                &self.name,
                &self.options,
            )
        });
        self.cluster.oracle_url(&self.name)
    }

    /// psql through the router, the script on its input.
    pub fn psql(&self, script: &str) -> Psql {
        psql(&self.url(), &[], script)
    }

    /// How many rows of `table` each shard holds.
    pub async fn rows_by_shard(&self, table: &str) -> Vec<i64> {
        let mut counts = Vec::new();
        for shard in 0..self.cluster.shard_count() {
            let row = self
                .shard(shard)
                .await
                .query_one(&format!("select count(*) from {table}"), &[])
                .await;
            counts.push(
                row.unwrap_or_else(|error| panic!("shard {shard}: {error}"))
                    .get(0),
            );
        }
        counts
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cluster.report_failure();
        }
    }
}

fn create_on(urls: Vec<String>, name: &str, options: &str) {
    std::thread::scope(|scope| {
        for url in urls {
            scope.spawn(move || {
                block_on(async {
                    let client = connect(&url)
                        .await
                        .unwrap_or_else(|error| panic!("{url}: {error}"));
                    let made = client
                        .batch_execute(&format!("create database {name} {options}"))
                        .await;
                    made.unwrap_or_else(|error| panic!("{url}: database {name}: {error}"));
                });
            });
        }
    });
}
