//! What belongs to the server as a whole: roles, settings of roles and databases, rights on databases.

use super::super::error::MoveError;
use super::Joining;
use crate::control::CLUSTER_DATABASE;
use crate::control::roles::copy::{copy_rights, copy_roles};
use crate::settings::quote_identifier;

impl Joining<'_> {
    pub(super) async fn copy_roles(&self) -> Result<(), MoveError> {
        let client = self.connect(CLUSTER_DATABASE).await?;
        Ok(copy_roles(&self.inner.connections, self.server.id, &client).await?)
    }

    /// Roles that were dropped while the shard joined, and did not know it yet. From then on it is asked like the others: a role
    /// that is here is on the home shard first.
    pub(super) async fn drop_roles(&self) -> Result<(), MoveError> {
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
    pub(super) async fn copy_settings(&self) -> Result<(), MoveError> {
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
    pub(super) async fn copy_rights(&self) -> Result<(), MoveError> {
        let client = self.connect(CLUSTER_DATABASE).await?;
        Ok(copy_rights(&self.inner.connections, self.server.id, &client).await?)
    }
}
