//! Asks a server how it is.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::{Error, Result, SUPERUSER, ShardNode};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// As in `server_version_num`: 150014 is 15.14.
    pub version: i32,
    /// A standby, or a server that still recovers: takes no writes.
    pub in_recovery: bool,
    /// From pg_control_system(); tells one cluster of PostgreSQL from another.
    pub system_identifier: i64,
    /// Grows by one at each promotion.
    pub timeline: i32,
    pub prepared_transactions: i64,
}

const QUESTION: &str = "select current_setting('server_version_num')::int4, pg_is_in_recovery(), \
    (select system_identifier from pg_control_system()), (select timeline_id from pg_control_checkpoint()), \
    (select count(*) from pg_prepared_xacts)";

impl ShardNode {
    /// A connection string of its superuser, without the password, over TCP.
    pub fn url(&self) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/postgres", self.port)
    }

    /// For tokio-postgres: the superuser, over the Unix socket.
    pub fn connection(&self, database: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(&self.socket_directory)
            .port(self.port)
            .user(SUPERUSER)
            .password(&self.password);
        config
            .dbname(database)
            .connect_timeout(Duration::from_secs(5))
            .application_name("oskol shard-node");
        config
    }

    /// Connects as superuser and asks; an error where no answer comes within `patience`.
    pub async fn health(&self, patience: Duration) -> Result<Health> {
        let asked = tokio::time::timeout(patience, self.ask()).await;
        let answer = asked.map_err(|_| Error::TooSlow {
            name: self.name.clone(),
            seconds: patience.as_secs(),
        })?;
        answer.map_err(|source| Error::NoAnswer {
            name: self.name.clone(),
            source,
        })
    }

    async fn ask(&self) -> std::result::Result<Health, tokio_postgres::Error> {
        let (client, connection) = self.connection("postgres").connect(NoTls).await?;
        let (answer, _) = tokio::join!(question(client), connection);
        answer
    }
}

/// Takes the client, so that the connection ends with it.
async fn question(client: Client) -> std::result::Result<Health, tokio_postgres::Error> {
    let row = client.query_one(QUESTION, &[]).await?;
    Ok(Health {
        version: row.try_get(0)?,
        in_recovery: row.try_get(1)?,
        system_identifier: row.try_get(2)?,
        timeline: row.try_get(3)?,
        prepared_transactions: row.try_get(4)?,
    })
}
