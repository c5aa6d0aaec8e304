//! The definitions of a database on the server that joins, and what the shards keep beside them: keys and references over
//! shards, routing indexes, how far the schema's history has come. All have the numbers that they have elsewhere.

use tokio_postgres::Client;

use super::super::dump::copy_schema;
use super::super::end::End;
use super::super::error::MoveError;
use super::Joining;
use crate::control::bootstrap;
use crate::control::error::ControlError;
use crate::control::roles::copy::copy_rights;
use crate::settings::quote_literal;

impl Joining<'_> {
    pub(super) async fn make_schema(&self, database: &str, lead: &End) -> Result<(), MoveError> {
        let config = &self.inner.config;
        let mut client = self.connect(database).await?;
        bootstrap::prepare_server(config, &mut client, self.server.id, database).await?;
        let home = config.cluster.shards.find(lead.shard);
        let home = home.ok_or(ControlError::UnknownShard(lead.shard))?;
        copy_rights(&self.inner.connections, self.server.id, &client).await?;
        copy_schema(config, database, &home, self.server).await?;
        self.keep_unique_keys(lead, &client).await?;
        self.make_routes(lead, &client).await?;
        self.keep_foreign_keys(lead, &client).await?;
        self.number_keys(lead, &client).await?;
        let fence = "SELECT oskol.fence_sequences()";
        client.batch_execute(fence).await.map_err(self.failed())?;
        self.note_applied(lead, &client).await
    }

    async fn keep_unique_keys(&self, lead: &End, client: &Client) -> Result<(), MoveError> {
        let keys = lead.client.query(UNIQUE_KEYS, &[]).await;
        for row in keys.map_err(lead.failed())? {
            let (number, relation, index, key): (i32, String, String, String) =
                (row.get(0), row.get(1), row.get(2), row.get(3));
            let [relation, index, key] = [relation, index, key].map(|name| quote_literal(&name));
            let sql = format!(
                "SELECT oskol.keep_unique_key({relation}::regclass, {index}::regclass, (SELECT attnum FROM pg_attribute
                WHERE attrelid = {relation}::regclass AND attname = {key}), {number})"
            );
            client.batch_execute(&sql).await.map_err(self.failed())?;
        }
        Ok(())
    }

    async fn make_routes(&self, lead: &End, client: &Client) -> Result<(), MoveError> {
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
        Ok(())
    }

    async fn keep_foreign_keys(&self, lead: &End, client: &Client) -> Result<(), MoveError> {
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

    /// The next key over shards gets the same number here as elsewhere.
    async fn number_keys(&self, lead: &End, client: &Client) -> Result<(), MoveError> {
        let sql = "SELECT highest FROM oskol.key_numbers";
        let row = lead.client.query_one(sql, &[]).await;
        let highest: i32 = row.map_err(lead.failed())?.get(0);
        let sql = format!("SELECT oskol.number_key({highest})");
        Ok(client.batch_execute(&sql).await.map_err(self.failed())?)
    }

    /// How far the schema's history has come.
    async fn note_applied(&self, lead: &End, client: &Client) -> Result<(), MoveError> {
        let sql = "SELECT number, digest FROM oskol.applied";
        let row = lead.client.query_one(sql, &[]).await;
        let row = row.map_err(lead.failed())?;
        let (number, digest): (i64, i64) = (row.get(0), row.get(1));
        let sql = "UPDATE oskol.applied SET number = $1, digest = $2";
        let noted = client.execute(sql, &[&number, &digest]).await;
        noted.map_err(self.failed())?;
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
