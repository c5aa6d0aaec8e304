//! The accounts that are written: the same on one PostgreSQL and on the cluster, where each shard's are known.

use anyhow::{Context, ensure};

use crate::endpoint::Endpoint;
use crate::oskol::Oskol;
use crate::postgres::Postgres;

const ACCOUNTS: i64 = 40_000;

pub struct Accounts {
    /// Ids by shard.
    by_shard: Vec<Vec<i64>>,
}

/// Makes the table on both sides.
pub async fn fill(plain: &Postgres, oskol: &Oskol) -> anyhow::Result<Accounts> {
    let create = "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50)";
    let insert = format!("INSERT INTO accounts SELECT i, 0 FROM generate_series(1, {ACCOUNTS}) i");
    plain
        .endpoint
        .execute(&[create, &insert, "VACUUM ANALYZE accounts"])
        .await?;
    let divide = "SELECT oskol.shard_table('accounts', 'id')";
    oskol
        .endpoint
        .execute(&[create, divide, &insert, "VACUUM ANALYZE accounts"])
        .await?;
    let mut by_shard = Vec::new();
    for shard in &oskol.shards {
        let client = shard.endpoint.connect().await?;
        let rows = client
            .query("SELECT id FROM accounts ORDER BY id", &[])
            .await?;
        by_shard.push(rows.iter().map(|row| row.get(0)).collect());
    }
    Ok(Accounts { by_shard })
}

impl Accounts {
    /// The accounts of one client, no other's: a list per shard.
    pub fn of_client(&self, client: usize, clients: usize) -> Vec<Vec<i64>> {
        let own = |ids: &Vec<i64>| ids.iter().copied().skip(client).step_by(clients).collect();
        self.by_shard.iter().map(own).collect()
    }

    /// Every load of two shards moves amounts, so the sum of what it moved is 0; loads of one shard add 1 and
    /// take it away again.
    ///
    /// # Errors
    /// Money was made or lost.
    pub async fn ensure_kept(&self, cluster: &Endpoint) -> anyhow::Result<()> {
        let sum = cluster
            .value("SELECT sum(balance) FROM accounts")
            .await?
            .context("no sum")?;
        ensure!(sum == "0", "the balances sum up to {sum} instead of 0");
        Ok(())
    }
}
