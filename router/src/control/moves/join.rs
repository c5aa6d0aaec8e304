//! A server becomes a shard: it gets roles, databases, definitions and reference tables, and then a place in the catalog of
//! each database, from which on writes that go to all shards go there as well. It has no buckets yet.
//!
//! Reference tables are copied as buckets are: while they are written, with a switch at the end. May be called again after
//! any failure: what is not whole is made anew.

use std::sync::Arc;

use tokio_postgres::Client;
use topology::ShardId;

use super::create_database::{DESCRIBED, Described};
use super::databases;
use super::dump::copy_schema;
use super::end::End;
use super::error::MoveError;
use super::group::lock_catalog;
use super::pace::Pace;
use super::switch::{Attempt, Change, Switch};
use super::tables::MovedTable;
use super::transfer::{Copied, Transfer};
use crate::check::{self, Verdict};
use crate::config::ShardConfig;
use crate::control::CLUSTER_DATABASE;
use crate::control::bootstrap;
use crate::control::catalog::{StoredShard, learn_shards, stored_shards};
use crate::control::changes;
use crate::control::error::ControlError;
use crate::control::gid::GlobalId;
use crate::control::inner::Inner;
use crate::control::recovery::Outcome;
use crate::control::roles::copy::{copy_rights, copy_roles};
use crate::settings::{quote_identifier, quote_literal};

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
    let stored = reserve(inner, newcomer, &lock).await?;
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

/// The newcomer's row in the catalog of the cluster's database, made where there is none.
async fn reserve(
    inner: &Inner,
    newcomer: &Newcomer,
    lock: &Client,
) -> Result<StoredShard, MoveError> {
    let home = inner.connections.get_home(CLUSTER_DATABASE).await?;
    let stored = stored_shards(&home).await?;
    let mut present = stored.iter().filter(|shard| shard.state != "removed");
    let same_address =
        |shard: &&StoredShard| (&shard.host, shard.port) == (&newcomer.host, newcomer.port);
    let refused = |text: String| Err(MoveError::Refused(text));
    if let Some(shard) = present.clone().find(|shard| shard.name == newcomer.name) {
        return match same_address(&shard) {
            true => Ok(shard.clone()),
            false => readdress(inner, shard, newcomer, lock).await,
        };
    }
    if let Some(shard) = present.find(same_address) {
        return refused(format!(
            "shard {} ({}) is at that address",
            shard.id, shard.name
        ));
    }
    let last = stored.iter().map(|shard| shard.id.0).max().unwrap_or(0);
    let id = last
        .checked_add(1)
        .ok_or_else(|| MoveError::Refused("no number is left".into()))?;
    let sql = "INSERT INTO oskol.shards (id, name, host, port, weight, state) VALUES ($1, $2, $3, $4, $5, 'joining')";
    let (number, port) = (i32::from(id), i32::from(newcomer.port));
    home.execute(
        sql,
        &[
            &number,
            &newcomer.name,
            &newcomer.host,
            &port,
            &newcomer.weight,
        ],
    )
    .await
    .map_err(home.failed())?;
    Ok(StoredShard {
        id: ShardId(id),
        name: newcomer.name.clone(),
        host: newcomer.host.clone(),
        port: newcomer.port,
        weight: newcomer.weight,
        state: "joining".into(),
    })
}

/// A shard that is at another address now; it must be itself that is there.
async fn readdress(
    inner: &Inner,
    shard: &StoredShard,
    newcomer: &Newcomer,
    lock: &Client,
) -> Result<StoredShard, MoveError> {
    let moved = StoredShard {
        host: newcomer.host.clone(),
        port: newcomer.port,
        ..shard.clone()
    };
    let server = moved.config();
    if shard.state != "joining" {
        let joining = Joining {
            inner,
            server: &server,
            name: &newcomer.name,
            lock,
        };
        let client = joining.connect(CLUSTER_DATABASE).await?;
        let sql = "SELECT to_regclass('oskol.meta') IS NOT NULL";
        let found = client.query_one(sql, &[]).await.map_err(joining.failed())?;
        if !found.get::<_, bool>(0) {
            return Err(MoveError::Refused(format!(
                "shard {} has that name, at {}:{}, and another server asks for it",
                shard.id, shard.host, shard.port
            )));
        }
        joining.check_identity(&client).await?;
    }
    let (id, port) = (i32::from(shard.id.0), i32::from(newcomer.port));
    for database in databases(inner).await? {
        if inner.open(&database).await.is_err() {
            continue;
        }
        let home = inner.connections.get_home(&database).await?;
        let sql = "UPDATE oskol.shards SET host = $1, port = $2 WHERE id = $3";
        home.execute(sql, &[&newcomer.host, &port, &id])
            .await
            .map_err(home.failed())?;
        // Routers look at the shards when the map has changed.
        let sql = "UPDATE oskol.meta SET map_epoch = map_epoch + 1";
        home.execute(sql, &[]).await.map_err(home.failed())?;
    }
    Ok(moved)
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

    /// It has the settings of a shard, and holds nothing of anybody's.
    async fn check(&self) -> Result<(), MoveError> {
        let client = self.connect(CLUSTER_DATABASE).await?;
        let config = &self.inner.config;
        let (_, findings) = check::shard_findings(&client, config, self.server)
            .await
            .map_err(self.failed())?;
        let wrong: Vec<String> = findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Wrong)
            .map(ToString::to_string)
            .collect();
        if !wrong.is_empty() {
            return Err(MoveError::Refused(wrong.join("; ")));
        }
        let sql = "SELECT to_regclass('oskol.meta') IS NOT NULL, system_identifier,
            (SELECT count(*) FROM pg_database WHERE NOT datistemplate AND datname <> $1)
            + (SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') FROM pg_control_system()";
        let row = client.query_one(sql, &[&CLUSTER_DATABASE]).await;
        let row = row.map_err(self.failed())?;
        let (has_schema, server, things): (bool, i64, i64) = (row.get(0), row.get(1), row.get(2));
        if has_schema {
            self.check_identity(&client).await?;
        }
        if self.has_begun_with(server).await? {
            return Ok(());
        }
        if has_schema {
            let name = &config.cluster.name;
            let id = self.server.id;
            return Err(MoveError::Refused(format!(
                "the server is shard {id} of another cluster of the name \"{name}\""
            )));
        }
        match things {
            0 => self.begin_with(server).await,
            _ => Err(MoveError::Refused(
                "the server is not empty: it has databases or tables, and a shard begins without"
                    .into(),
            )),
        }
    }

    /// Whether an attempt of before has found this server empty: what it has is of that. Its own word is not enough, as
    /// another cluster may have the same name.
    async fn has_begun_with(&self, server: i64) -> Result<bool, MoveError> {
        let home = self.inner.connections.get_home(CLUSTER_DATABASE).await?;
        let sql = "SELECT server IS NOT DISTINCT FROM $1 FROM oskol.shards WHERE id = $2";
        let id = i32::from(self.server.id.0);
        let row = home.query_one(sql, &[&Some(server), &id]).await;
        Ok(row.map_err(home.failed())?.get(0))
    }

    async fn begin_with(&self, server: i64) -> Result<(), MoveError> {
        let home = self.inner.connections.get_home(CLUSTER_DATABASE).await?;
        let sql = "UPDATE oskol.shards SET server = $1 WHERE id = $2";
        let id = i32::from(self.server.id.0);
        let noted = home.execute(sql, &[&server, &id]).await;
        noted.map_err(home.failed())?;
        Ok(())
    }

    /// It is this shard of this cluster, as far as it says so itself.
    async fn check_identity(&self, client: &Client) -> Result<(), MoveError> {
        let row = client
            .query_opt("SELECT cluster, shard FROM oskol.meta", &[])
            .await;
        let Some(row) = row.map_err(self.failed())? else {
            return Ok(());
        };
        let (cluster, shard): (String, i32) = (row.get(0), row.get(1));
        let ours = (&self.inner.config.cluster.name, i32::from(self.server.id.0));
        match (&cluster, shard) == ours {
            true => Ok(()),
            false => Err(MoveError::Refused(format!(
                "the server is shard {shard} of cluster \"{cluster}\""
            ))),
        }
    }

    async fn copy_roles(&self) -> Result<(), MoveError> {
        let client = self.connect(CLUSTER_DATABASE).await?;
        Ok(copy_roles(&self.inner.connections, self.server.id, &client).await?)
    }

    /// Roles that were dropped while the shard joined, and did not know it yet. From then on it is asked like the others: a role
    /// that is here is on the home shard first.
    async fn drop_roles(&self) -> Result<(), MoveError> {
        let client = self.connect(CLUSTER_DATABASE).await?;
        let sql = "SELECT array_agg(rolname::text) FROM pg_roles WHERE rolname !~ '^pg_' AND oid >= 16384";
        let row = client.query_one(sql, &[]).await.map_err(self.failed())?;
        let found: Option<Vec<String>> = row.get(0);
        let home = self.inner.connections.get_home(CLUSTER_DATABASE).await?;
        let sql =
            "SELECT n FROM unnest($1::text[]) n WHERE n NOT IN (SELECT rolname FROM pg_roles)";
        let gone = home.query(sql, &[&found.unwrap_or_default()]).await;
        for row in gone.map_err(home.failed())? {
            let drop = format!("DROP ROLE IF EXISTS {}", quote_identifier(row.get(0)));
            client.batch_execute(&drop).await.map_err(self.failed())?;
        }
        Ok(())
    }

    /// ALTER ROLE ... SET and ALTER DATABASE ... SET; none of a database that nobody can connect to, which is not here.
    async fn copy_settings(&self) -> Result<(), MoveError> {
        let mut client = self.connect(CLUSTER_DATABASE).await?;
        let home = self.inner.connections.get_home(CLUSTER_DATABASE).await?;
        let sql = "SELECT d.datname::text, r.rolname::text, s.setconfig FROM pg_db_role_setting s
            LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_authid r ON r.oid = s.setrole";
        let rows = home.query(sql, &[]).await.map_err(home.failed())?;
        let all = client.transaction().await.map_err(self.failed())?;
        let begin = "SET LOCAL allow_system_table_mods TO on; DELETE FROM pg_db_role_setting";
        all.batch_execute(begin).await.map_err(self.failed())?;
        let sql = "INSERT INTO pg_db_role_setting (setdatabase, setrole, setconfig)
            SELECT o.database, o.role, $3::text[] FROM (SELECT
                CASE WHEN $1::text IS NULL THEN 0 ELSE (SELECT oid FROM pg_database WHERE datname = $1::text) END,
                CASE WHEN $2::text IS NULL THEN 0 ELSE (SELECT oid FROM pg_authid WHERE rolname = $2::text) END) o (database, role)
            WHERE o.database IS NOT NULL AND o.role IS NOT NULL";
        for row in rows {
            let (database, role): (Option<String>, Option<String>) = (row.get(0), row.get(1));
            let set: Vec<String> = row.get(2);
            let made = all.execute(sql, &[&database, &role, &set]).await;
            made.map_err(self.failed())?;
        }
        Ok(all.commit().await.map_err(self.failed())?)
    }

    /// On databases and parameters, which no dump of a database has.
    async fn copy_rights(&self) -> Result<(), MoveError> {
        let client = self.connect(CLUSTER_DATABASE).await?;
        Ok(copy_rights(&self.inner.connections, self.server.id, &client).await?)
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
        for table in &transfer.tables {
            let oid = transfer.oid(&transfer.source, table).await?;
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

    /// An empty database as the home shard has it.
    async fn make_database(&self, database: &str) -> Result<(), MoveError> {
        let home = self.inner.connections.get_home(CLUSTER_DATABASE).await?;
        let row = home.query_one(DESCRIBED, &[&database]).await;
        let row = row.map_err(home.failed())?;
        drop(home);
        let described: Described = serde_json::from_str(row.get(0))
            .map_err(|error| MoveError::Refused(format!("database {database}: {error}")))?;
        let make = described.statement().ok_or_else(|| {
            MoveError::Refused(format!(
                "the locale of database {database} is of a kind that this version does not know"
            ))
        })?;
        // Who has lost it may be trying again, beside the next one.
        self.lock
            .batch_execute("")
            .await
            .map_err(|_| MoveError::Lost)?;
        self.roll_back_prepared(database).await?;
        // Nobody is connected to that one.
        let client = self.connect("template1").await?;
        let drop = format!(
            "DROP DATABASE IF EXISTS {} WITH (FORCE)",
            quote_identifier(database)
        );
        client.batch_execute(&drop).await.map_err(self.failed())?;
        client.batch_execute(&make).await.map_err(self.failed())?;
        Ok(())
    }

    /// Of attempts of before, which the catalog knows nothing of. Whoever made one may still be about to decide: it cannot any
    /// more.
    async fn roll_back_prepared(&self, database: &str) -> Result<(), MoveError> {
        let client = self.connect("template1").await?;
        let sql = "SELECT gid FROM pg_prepared_xacts WHERE database = $1 AND gid ~ '^oskol:'";
        let left = client
            .query(sql, &[&database])
            .await
            .map_err(self.failed())?;
        if left.is_empty() {
            return Ok(());
        }
        let client = self.connect(database).await?;
        for row in left {
            let gid: &str = row.get(0);
            let outcome = match gid.parse::<GlobalId>() {
                Ok(id) => self.inner.recovery.settle(database, &id).await?,
                Err(_) => Outcome::Aborted,
            };
            let verb = match outcome {
                Outcome::Committed => "COMMIT",
                Outcome::Aborted => "ROLLBACK",
            };
            let sql = format!("{verb} PREPARED {}", quote_literal(gid));
            client.batch_execute(&sql).await.map_err(self.failed())?;
            if outcome == Outcome::Committed {
                return Err(MoveError::Later(format!(
                    "another router had the shard join database {database} at this moment"
                )));
            }
        }
        Ok(())
    }

    async fn make_schema(&self, database: &str, lead: &End) -> Result<(), MoveError> {
        let config = &self.inner.config;
        let mut client = self.connect(database).await?;
        bootstrap::prepare_server(config, &mut client, self.server.id, database).await?;
        let home = config.cluster.shards.find(lead.shard);
        let home = home.ok_or(ControlError::UnknownShard(lead.shard))?;
        copy_rights(&self.inner.connections, self.server.id, &client).await?;
        copy_schema(config, database, &home, self.server).await?;
        for row in lead
            .client
            .query(UNIQUE_KEYS, &[])
            .await
            .map_err(lead.failed())?
        {
            let (number, relation, index, key): (i32, String, String, String) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            let (relation, index) = (quote_literal(&relation), quote_literal(&index));
            let sql = format!(
                "SELECT oskol.keep_unique_key({relation}::regclass, {index}::regclass, (SELECT attnum FROM pg_attribute
                WHERE attrelid = {relation}::regclass AND attname = {}), {number})",
                quote_literal(&key)
            );
            client.batch_execute(&sql).await.map_err(self.failed())?;
        }
        let routes = lead.client.query(ROUTES, &[]).await;
        for row in routes.map_err(lead.failed())? {
            let (number, relation, column, key): (i32, String, String, String) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            let [relation, column, key] = [relation, column, key].map(|name| quote_literal(&name));
            let sql = format!(
                "SELECT oskol.make_route(v.attrelid, v.attnum, k.attnum, {number}) FROM pg_attribute v, pg_attribute k
                WHERE v.attrelid = {relation}::regclass AND v.attname = {column} AND k.attrelid = v.attrelid AND k.attname = {key}"
            );
            client.batch_execute(&sql).await.map_err(self.failed())?;
        }
        self.keep_foreign_keys(lead, &client).await?;
        let highest = "SELECT highest FROM oskol.key_numbers";
        let highest = lead.client.query_one(highest, &[]).await;
        let highest: i32 = highest.map_err(lead.failed())?.get(0);
        let highest = format!("SELECT oskol.number_key({highest})");
        client
            .batch_execute(&highest)
            .await
            .map_err(self.failed())?;
        let fence = "SELECT oskol.fence_sequences()";
        client.batch_execute(fence).await.map_err(self.failed())?;
        let applied = "SELECT number, digest FROM oskol.applied";
        let row = lead.client.query_one(applied, &[]).await;
        let row = row.map_err(lead.failed())?;
        let (number, digest): (i64, i64) = (row.get(0), row.get(1));
        let applied = "UPDATE oskol.applied SET number = $1, digest = $2";
        let noted = client.execute(applied, &[&number, &digest]).await;
        noted.map_err(self.failed())?;
        Ok(())
    }

    /// Foreign keys over shards have the numbers that they have elsewhere.
    async fn keep_foreign_keys(
        &self,
        lead: &End,
        client: &tokio_postgres::Client,
    ) -> Result<(), MoveError> {
        let keys = lead.client.query(FOREIGN_KEYS, &[]).await;
        for row in keys.map_err(lead.failed())? {
            let (number, relation, name, enforced): (i32, String, String, bool) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            let (relation, name) = (quote_literal(&relation), quote_literal(&name));
            let sql = format!(
                "INSERT INTO oskol.foreign_keys SELECT {number}, k.oid, k.conrelid, k.confrelid, 'home', NULL, 'home', {enforced}
                FROM pg_constraint k WHERE k.conrelid = {relation}::regclass AND k.conname = {name}"
            );
            client.batch_execute(&sql).await.map_err(self.failed())?;
        }
        let places = lead.client.query_one(PLACES, &[]).await;
        let places: String = places.map_err(lead.failed())?.get(0);
        let keep = format!(
            "SELECT oskol.keep_foreign_key(k, {}::json, f.enforced)
            FROM pg_constraint k JOIN oskol.foreign_keys f ON f.key = k.oid ORDER BY f.number",
            quote_literal(&places)
        );
        client.batch_execute(&keep).await.map_err(self.failed())?;
        Ok(())
    }
}

const UNIQUE_KEYS: &str = "
SELECT u.number, format('%I.%I', n.nspname, c.relname), format('%I.%I', m.nspname, i.relname), a.attname::text
FROM oskol.unique_keys u JOIN pg_class c ON c.oid = u.relation JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class i ON i.oid = u.index JOIN pg_namespace m ON m.oid = i.relnamespace
JOIN pg_attribute a ON a.attrelid = u.relation AND a.attnum = u.key ORDER BY u.number";

const ROUTES: &str = "
SELECT r.number, format('%I.%I', n.nspname, c.relname), v.attname::text, k.attname::text
FROM oskol.routes r JOIN pg_class c ON c.oid = r.relation JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute v ON v.attrelid = r.relation AND v.attnum = r.attribute
JOIN pg_attribute k ON k.attrelid = r.relation AND k.attnum = r.key ORDER BY r.number";

const FOREIGN_KEYS: &str = "
SELECT f.number, format('%I.%I', n.nspname, c.relname), k.conname::text, f.enforced
FROM oskol.foreign_keys f JOIN pg_constraint k ON k.oid = f.key JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY f.number";

/// Where tables are, as `oskol.keep_foreign_key` reads it.
const PLACES: &str = "
SELECT coalesce(json_agg(json_build_array(t.schema, t.name, t.placement, t.key)), '[]')::text
FROM oskol.tables t WHERE t.placement <> 'local'";
