//! An empty database on the server that joins, whatever an attempt of before has left there.

use super::super::create_database::{DESCRIBED, Described};
use super::super::error::MoveError;
use super::Joining;
use crate::control::CLUSTER_DATABASE;
use crate::control::gid::GlobalId;
use crate::control::outcome::{self, Outcome};
use crate::settings::quote_identifier;

impl Joining<'_> {
    /// An empty database as the home shard has it.
    pub(super) async fn make_database(&self, database: &str) -> Result<(), MoveError> {
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
                Ok(id) => outcome::settle(&self.inner.connections, database, &id).await?,
                Err(_) => Outcome::Aborted,
            };
            let sql = outcome.statement(gid);
            client.batch_execute(&sql).await.map_err(self.failed())?;
            if outcome == Outcome::Committed {
                return Err(MoveError::Later(format!(
                    "another router had the shard join database {database} at this moment"
                )));
            }
        }
        Ok(())
    }
}
