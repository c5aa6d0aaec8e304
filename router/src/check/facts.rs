//! What one shard says of itself.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio_postgres::{Client, Error, Row};
use topology::ShardId;

/// One shard's settings, read in one go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ShardFacts {
    pub shard: u16,
    /// As `server_version_num`: 150004.
    pub version: i32,
    pub max_prepared_transactions: i32,
    pub max_connections: i32,
    /// Of `max_connections`, kept for superusers.
    pub reserved_connections: i32,
    pub wal_level: String,
    /// Encoding, collation and character classification of the database asked.
    pub encoding: String,
    pub collation: String,
    pub character_type: String,
    pub password_encryption: String,
    pub standard_conforming_strings: String,
    pub synchronous_commit: String,
    pub fsync: String,
    pub read_only: String,
    pub in_recovery: bool,
    pub superuser: bool,
    pub system_identifier: String,
    /// The shard's clock minus this machine's, in seconds.
    pub clock_offset: f64,
    /// By role name, what must be alike on every shard, as a digest.
    pub roles: BTreeMap<String, String>,
}

const SETTINGS: &str = "
SELECT current_setting('server_version_num')::int4,
       current_setting('max_prepared_transactions')::int4,
       current_setting('max_connections')::int4,
       current_setting('superuser_reserved_connections')::int4,
       current_setting('wal_level'),
       pg_encoding_to_char(encoding)::text, datcollate::text, datctype::text,
       current_setting('password_encryption'),
       current_setting('standard_conforming_strings'),
       current_setting('synchronous_commit'),
       current_setting('fsync'),
       current_setting('default_transaction_read_only'),
       pg_is_in_recovery(),
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
       (SELECT system_identifier::text FROM pg_control_system()),
       extract(epoch FROM clock_timestamp())::float8
  FROM pg_database WHERE datname = current_database()";

/// Roles made by users; those of PostgreSQL itself differ between versions.
const ROLES: &str = "
SELECT rolname::text,
       md5(concat_ws('/', rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolbypassrls, rolpassword))
  FROM pg_authid WHERE rolname !~ '^pg_' ORDER BY 1";

impl ShardFacts {
    /// # Errors
    /// The shard cannot be asked, or the role may not ask.
    pub async fn read(client: &Client, shard: ShardId) -> Result<Self, Error> {
        let before = now();
        let row = client.query_one(SETTINGS, &[]).await?;
        // Half way between question and answer is when the server looked at its clock.
        let local = (before + now()) / 2.0;
        let mut facts = Self {
            shard: shard.0,
            ..Self::from_row(&row)?
        };
        facts.clock_offset -= local;
        for role in client.query(ROLES, &[]).await? {
            facts.roles.insert(role.try_get(0)?, role.try_get(1)?);
        }
        Ok(facts)
    }

    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            shard: 0,
            version: row.try_get(0)?,
            max_prepared_transactions: row.try_get(1)?,
            max_connections: row.try_get(2)?,
            reserved_connections: row.try_get(3)?,
            wal_level: row.try_get(4)?,
            encoding: row.try_get(5)?,
            collation: row.try_get(6)?,
            character_type: row.try_get(7)?,
            password_encryption: row.try_get(8)?,
            standard_conforming_strings: row.try_get(9)?,
            synchronous_commit: row.try_get(10)?,
            fsync: row.try_get(11)?,
            read_only: row.try_get(12)?,
            in_recovery: row.try_get(13)?,
            superuser: row.try_get(14)?,
            system_identifier: row.try_get(15)?,
            clock_offset: row.try_get(16)?,
            roles: BTreeMap::new(),
        })
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
