//! Roles of the home shard and what belongs to no single database of it, made on another one. Must never know why.

use std::sync::Arc;

use topology::ShardId;

use super::members::{MEMBERS, Members};
use crate::control::CLUSTER_DATABASE;
use crate::control::connections::Connections;
use crate::control::error::ControlError;

/// Roles with their rights and verifiers, and who is a member of what, as the home shard has them. `client`: of `shard`.
pub(in crate::control) async fn copy_roles(
    connections: &Arc<Connections>,
    shard: ShardId,
    client: &tokio_postgres::Client,
) -> Result<(), ControlError> {
    let home = connections.get_home(CLUSTER_DATABASE).await?;
    let roles = home.query(ROLES, &[]).await.map_err(home.failed())?;
    run_all(client, shard, &roles).await?;
    let members = read_members(&home, home.shard()).await?;
    let found = read_members(client, shard).await?;
    for statement in members.statements(&found) {
        let made = client.batch_execute(&statement).await;
        made.map_err(ControlError::statement(shard))?;
    }
    Ok(())
}

async fn read_members(
    client: &tokio_postgres::Client,
    shard: ShardId,
) -> Result<Members, ControlError> {
    let row = client.query_one(MEMBERS, &[]).await;
    let row = row.map_err(ControlError::statement(shard))?;
    Members::read(row.get(0)).map_err(|error| {
        ControlError::Refused(format!("members of roles on shard {shard}: {error}"))
    })
}

/// Who may do what with databases and parameters, as the home shard has it. `client`: of `shard`, which has the roles.
pub(in crate::control) async fn copy_rights(
    connections: &Arc<Connections>,
    shard: ShardId,
    client: &tokio_postgres::Client,
) -> Result<(), ControlError> {
    let home = connections.get_home(CLUSTER_DATABASE).await?;
    let rights = home.query(RIGHTS, &[]).await.map_err(home.failed())?;
    let database = "SELECT datname::text FROM pg_database";
    let databases = client.query(database, &[]).await;
    let databases = databases.map_err(ControlError::statement(shard))?;
    let databases: Vec<&str> = databases.iter().map(|row| row.get(0)).collect();
    let is_there = |row: &&tokio_postgres::Row| {
        let database: Option<&str> = row.get(1);
        database.is_none_or(|database| databases.contains(&database))
    };
    let statements: Vec<&str> = rights
        .iter()
        .filter(is_there)
        .map(|row| row.get(0))
        .collect();
    let old = client.query(ALL_RIGHTS, &[]).await;
    let old = old.map_err(ControlError::statement(shard))?;
    let mut all = vec!["BEGIN"];
    all.extend(old.iter().map(|row| row.get::<_, &str>(0)));
    all.extend(statements);
    all.push("COMMIT");
    let made = client.batch_execute(&all.join("; ")).await;
    made.map_err(ControlError::statement(shard))
}

/// Statements are in the first column.
async fn run_all(
    client: &tokio_postgres::Client,
    shard: ShardId,
    rows: &[tokio_postgres::Row],
) -> Result<(), ControlError> {
    for row in rows {
        let made = client.batch_execute(row.get(0)).await;
        made.map_err(ControlError::statement(shard))?;
    }
    Ok(())
}

/// Statements that make each role as it is here. Those of PostgreSQL itself are there.
const ROLES: &str = "
SELECT format('DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = %L) THEN CREATE ROLE %I; END IF; END $do$; '
    'ALTER ROLE %I WITH %s %s %s %s %s %s %s CONNECTION LIMIT %s PASSWORD %L VALID UNTIL %L',
    rolname, rolname, rolname,
    CASE WHEN rolsuper THEN 'SUPERUSER' ELSE 'NOSUPERUSER' END,
    CASE WHEN rolinherit THEN 'INHERIT' ELSE 'NOINHERIT' END,
    CASE WHEN rolcreaterole THEN 'CREATEROLE' ELSE 'NOCREATEROLE' END,
    CASE WHEN rolcreatedb THEN 'CREATEDB' ELSE 'NOCREATEDB' END,
    CASE WHEN rolcanlogin THEN 'LOGIN' ELSE 'NOLOGIN' END,
    CASE WHEN rolreplication THEN 'REPLICATION' ELSE 'NOREPLICATION' END,
    CASE WHEN rolbypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
    rolconnlimit, rolpassword, coalesce(rolvaliduntil::text, 'infinity'))
FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY rolname";

/// Statements that grant what is granted on databases (the second column; NULL: it is about none) and parameters.
const RIGHTS: &str = "
SELECT format('GRANT %s ON %s TO %s%s', a.privilege_type, o.object,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END), o.database
FROM (SELECT 'DATABASE ' || quote_ident(datname), datname::text, coalesce(datacl, acldefault('d', datdba))
        FROM pg_database WHERE NOT datistemplate
    UNION ALL SELECT 'PARAMETER ' || parname, NULL, paracl FROM pg_parameter_acl) o (object, database, acl),
    aclexplode(o.acl) a";

/// Statements that take all of that away.
const ALL_RIGHTS: &str = "
SELECT DISTINCT format('REVOKE ALL ON %s FROM %s CASCADE', o.object,
    CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
FROM (SELECT 'DATABASE ' || quote_ident(datname), coalesce(datacl, acldefault('d', datdba))
        FROM pg_database WHERE NOT datistemplate
    UNION ALL SELECT 'PARAMETER ' || parname, paracl FROM pg_parameter_acl) o (object, acl), aclexplode(o.acl) a";
