//! A server becomes a shard: it gets roles, databases, definitions and reference tables, and then a place in the catalog of
//! each database, from which on writes that go to all shards go there as well. It has no buckets yet.
//!
//! Reference tables are copied as buckets are: while they are written, with a switch at the end. May be called again after
//! any failure: what is not whole is made anew.

mod admission;
mod database;
mod roles;
mod schema;

use std::sync::Arc;

use tokio_postgres::Client;
use topology::ShardId;

use super::databases;
use super::end::End;
use super::error::MoveError;
use super::group::lock_catalog;
use super::pace::Pace;
use super::switch::{Attempt, Change, Switch};
use super::tables::MovedTable;
use super::transfer::{Copied, Transfer};
use crate::config::ShardConfig;
use crate::control::CLUSTER_DATABASE;
use crate::control::catalog::learn_shards;
use crate::control::changes;
use crate::control::error::ControlError;
use crate::control::inner::Inner;

/// One shard joins at a time.
const LOCK: &str = "SET lock_timeout TO '60s'; SELECT pg_advisory_lock(8030875938581)";
/// Tries to copy the reference tables of one database and have them used.
const TRIES: usize = 20;
const RETRY: std::time::Duration = std::time::Duration::from_millis(500);

/// A server that wants to be a shard.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Newcomer {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) weight: f64,
}

/// Returns the shard's number once every router uses it; the same one for a server that has joined already.
///
/// # Errors
/// The server cannot be a shard, or is not empty, or the name or the address is another shard's.
pub(super) async fn join(inner: &Inner, newcomer: &Newcomer) -> Result<ShardId, MoveError> {
    let home = inner.connections.home();
    let lock = inner.connections.own(home, CLUSTER_DATABASE).await?;
    lock.batch_execute(LOCK)
        .await
        .map_err(ControlError::statement(home))?;
    let stored = admission::reserve(inner, newcomer, &lock).await?;
    if stored.state != "joining" {
        return Ok(stored.id);
    }
    let server = stored.config();
    let joining = Joining {
        inner,
        server: &server,
        name: &newcomer.name,
        lock: &lock,
    };
    joining.check().await?;
    joining.copy_roles().await?;
    loop {
        let mut missing = Vec::new();
        for database in databases(inner).await? {
            // One that is new may be on no other shard yet.
            if !joining.is_joined(&database).await? {
                joining.make_database(&database).await?;
                missing.push(database);
            }
        }
        if missing.is_empty() {
            break;
        }
        for database in missing {
            inner.open(&database).await?;
            joining.join_database(&database).await?;
        }
    }
    // What was made meanwhile.
    joining.copy_roles().await?;
    joining.drop_roles().await?;
    joining.copy_settings().await?;
    joining.copy_rights().await?;
    tracing::info!(shard = %server.id, name = newcomer.name, "a shard has joined");
    Ok(server.id)
}

struct Joining<'a> {
    inner: &'a Inner,
    server: &'a ShardConfig,
    name: &'a str,
    /// The connection that keeps other attempts out.
    lock: &'a Client,
}

impl Joining<'_> {
    async fn connect(&self, database: &str) -> Result<Client, MoveError> {
        Ok(self
            .inner
            .connections
            .to_server(self.server, database)
            .await?)
    }

    fn failed(&self) -> impl Fn(tokio_postgres::Error) -> ControlError + use<> {
        ControlError::statement(self.server.id)
    }

    async fn join_database(&self, database: &str) -> Result<(), MoveError> {
        if self.is_joined(database).await? {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            let Err(error) = self.try_to_join(database).await else {
                return Ok(());
            };
            tries += 1;
            if tries == TRIES || !error.passes() {
                return Err(error);
            }
            tracing::info!(database, %error, "a shard joins: once more");
            tokio::time::sleep(RETRY).await;
            if self.is_joined(database).await? {
                return Ok(());
            }
        }
    }

    async fn is_joined(&self, database: &str) -> Result<bool, MoveError> {
        let home = self.inner.connections.get_home(database).await?;
        let sql = "SELECT to_regclass('oskol.shards') IS NOT NULL";
        let has_catalog = home.query_one(sql, &[]).await.map_err(home.failed())?;
        if !has_catalog.get::<_, bool>(0) {
            return Ok(false);
        }
        let sql = "SELECT EXISTS (SELECT FROM oskol.shards WHERE id = $1 AND state <> 'joining')";
        let id = i32::from(self.server.id.0);
        let row = home.query_one(sql, &[&id]).await.map_err(home.failed())?;
        Ok(row.get(0))
    }

    async fn try_to_join(&self, database: &str) -> Result<(), MoveError> {
        self.make_database(database).await?;
        let connections = &self.inner.connections;
        let home = connections.home();
        let mut lead = End::new(home, connections.own(home, database).await?).await?;
        let mut epoch = lock_catalog(&lead).await?;
        self.make_schema(database, &lead).await?;
        let rows = lead
            .client
            .query("SELECT * FROM oskol.reference_tables()", &[])
            .await;
        let rows = rows.map_err(lead.failed())?;
        let mut transfer = Transfer {
            tables: rows.iter().map(|row| MovedTable::of(row, None)).collect(),
            source: End::new(home, connections.own(home, database).await?).await?,
            target: End::new(self.server.id, self.connect(database).await?).await?,
            pace: Arc::new(Pace::new(self.inner.config.moves.bandwidth)),
            copied: Copied::default(),
        };
        transfer.follow(None).await?;
        transfer.copy().await?;
        let change = Change::Join {
            shard: self.server.clone(),
            name: self.name.to_owned(),
        };
        loop {
            transfer.catch_up().await?;
            let switch = Switch {
                inner: self.inner,
                database,
                lead: &lead,
                transfer: &mut transfer,
                change: &change,
            };
            match switch.attempt().await {
                Attempt::Done(_) => break,
                Attempt::Failed { error, copied } if copied && error.passes() => {
                    tracing::info!(database, %error, "a shard joins: the switch is tried again");
                    tokio::time::sleep(RETRY).await;
                }
                Attempt::Failed { error, .. } => return Err(error),
            }
            if lead.client.is_closed() {
                lead = End::new(home, connections.own(home, database).await?).await?;
            }
            let before = std::mem::replace(&mut epoch, lock_catalog(&lead).await?);
            if before != epoch {
                return Err(MoveError::Later("tables were changed meanwhile".into()));
            }
        }
        self.unfollow(&transfer).await?;
        self.announce(database).await
    }

    /// Reference tables are not followed any more.
    async fn unfollow(&self, transfer: &Transfer) -> Result<(), MoveError> {
        let oids = transfer.oids(&transfer.source).await?;
        for (table, oid) in transfer.tables.iter().zip(oids) {
            // It does nothing now: one that cannot be taken away at once may stay.
            if let Err(error) = transfer
                .source
                .run(&format!("SELECT oskol.unfollow({oid})"))
                .await
            {
                tracing::info!(table = table.name, %error, "a trigger that does nothing stays");
            }
        }
        Ok(())
    }

    /// Every router uses the shard.
    async fn announce(&self, database: &str) -> Result<(), MoveError> {
        let home = self.inner.connections.get_home(database).await?;
        learn_shards(&home).await?;
        drop(home);
        let watched = self.inner.open(database).await?;
        let limit = self.inner.config.limits.catalog_timeout;
        Ok(changes::announce_catalog(&self.inner.connections, &watched, limit).await?)
    }
}
