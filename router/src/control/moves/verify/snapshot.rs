//! All shards of a database at one moment: what a transaction over several has half done is not to be seen.
//!
//! The commit barrier, as a REPEATABLE READ transaction of a client has it (`session/snapshots.rs`): decisions are kept out
//! on every shard, what was decided is finished, the snapshots are opened, and decisions let go.

use std::collections::BTreeMap;

use tokio_postgres::Client;
use topology::ShardId;

use super::Verified;
use crate::control::error::ControlError;
use crate::control::gid::GlobalId;
use crate::control::moves::error::MoveError;
use crate::control::outcome;

/// For decisions that are being made, on each shard.
const PATIENCE_MS: i32 = 5_000;

const LIST_PREPARED: &str = "SELECT gid FROM pg_prepared_xacts
    WHERE database = current_database() AND starts_with(gid, 'oskol:')";

/// Values are compared as texts: as the notes' functions write them (`schema/sql/unique.sql`).
const BEGIN: &str = "SET search_path = pg_catalog, pg_temp; SET datestyle = 'ISO, YMD'; SET intervalstyle = 'postgres';
    SET bytea_output = 'hex'; SET extra_float_digits = 1; SET timezone = 'UTC';
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT 1";

/// Open transactions, one on each shard. Dropped, they are gone with their connections.
pub(super) struct Snapshot {
    pub(super) home: ShardId,
    shards: BTreeMap<ShardId, Client>,
    /// The shard of each bucket, at that moment.
    map: Vec<ShardId>,
}

impl Snapshot {
    pub(super) async fn open(verified: &Verified<'_>) -> Result<Self, MoveError> {
        let mut shards = BTreeMap::new();
        for shard in verified.map.shards() {
            let client = verified.inner.connections.own(*shard, verified.database);
            shards.insert(*shard, client.await?);
        }
        let mut snapshot = Self {
            home: verified.map.home(),
            shards,
            map: Vec::new(),
        };
        let gate = verified.inner.gate.close();
        snapshot.hold().await?;
        let decided = snapshot.decided(verified).await?;
        let connections = &verified.inner.connections;
        let finished = outcome::finish_decided(connections, verified.database, &decided);
        finished.await?;
        for (shard, client) in &snapshot.shards {
            client.batch_execute(BEGIN).await.map_err(failed(*shard))?;
        }
        for (shard, client) in &snapshot.shards {
            let released = client.batch_execute("SELECT oskol.release_decisions()");
            released.await.map_err(failed(*shard))?;
        }
        drop(gate);
        snapshot.read_map().await?;
        Ok(snapshot)
    }

    /// The lowest shard first, so that two who hold do not wait in a circle.
    async fn hold(&self) -> Result<(), ControlError> {
        for (shard, client) in &self.shards {
            let held = client.execute("SELECT oskol.hold_decisions($1)", &[&PATIENCE_MS]);
            held.await.map_err(failed(*shard))?;
        }
        Ok(())
    }

    /// What is prepared on a shard and committed on its lead.
    async fn decided(
        &self,
        verified: &Verified<'_>,
    ) -> Result<Vec<(ShardId, String)>, ControlError> {
        let cluster = &verified.inner.config.cluster.name;
        let mut decided = Vec::new();
        for shard in self.shards() {
            for row in self.query(shard, LIST_PREPARED).await? {
                let gid: String = row.get(0);
                let Ok(id) = gid.parse::<GlobalId>() else {
                    continue;
                };
                if id.cluster != *cluster || !self.shards.contains_key(&id.lead) {
                    continue;
                }
                let sql = "SELECT FROM oskol.decision WHERE outcome = 'commit' AND gid = $1";
                let lead = &self.shards[&id.lead];
                let row = lead
                    .query_opt(sql, &[&gid])
                    .await
                    .map_err(failed(id.lead))?;
                decided.extend(row.map(|_| (shard, gid)));
            }
        }
        Ok(decided)
    }

    async fn read_map(&mut self) -> Result<(), ControlError> {
        let sql = "SELECT shard FROM oskol.buckets ORDER BY bucket";
        let rows = self.query(self.home, sql).await?;
        // As the catalog checks.
        let shards = rows
            .iter()
            .map(|row| ShardId(u16::try_from(row.get::<_, i32>(0)).unwrap_or_default()));
        self.map = shards.collect();
        Ok(())
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards.keys().copied()
    }

    pub(super) fn shard_of(&self, bucket: i32) -> ShardId {
        let found = usize::try_from(bucket)
            .ok()
            .and_then(|bucket| self.map.get(bucket));
        found.copied().unwrap_or(self.home)
    }

    pub(super) fn client(&self, shard: ShardId) -> &Client {
        &self.shards[&shard]
    }

    pub(super) async fn query(
        &self,
        shard: ShardId,
        sql: &str,
    ) -> Result<Vec<tokio_postgres::Row>, ControlError> {
        self.client(shard)
            .query(sql, &[])
            .await
            .map_err(failed(shard))
    }
}

pub(super) fn failed(shard: ShardId) -> impl Fn(tokio_postgres::Error) -> ControlError {
    ControlError::statement(shard)
}
