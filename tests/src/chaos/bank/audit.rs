//! What must hold when all is over, read from the shards themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::{ACCOUNTS, BALANCE, Transfers};
use crate::chaos::ground::{Ended, Ground, SHARDS};

#[derive(Default)]
struct Books {
    /// Balance and e-mail.
    accounts: BTreeMap<i64, (i64, String)>,
    /// What the ledger says of each account.
    moved: BTreeMap<i64, i64>,
    /// Amounts by transfer.
    transfers: BTreeMap<i64, Vec<i64>>,
    /// E-mail and account.
    entries: BTreeSet<(String, i64)>,
    faults: Vec<String>,
}

pub(super) async fn faults(ground: &Ground, transfers: &Transfers) -> Vec<String> {
    let mut books = Books::default();
    if !ground.settled().await {
        books
            .faults
            .push("prepared transactions are left".to_owned());
    }
    for shard in 0..SHARDS {
        books.read(ground, shard).await;
    }
    books.money();
    books.transfers(transfers);
    books.entries();
    books.faults
}

impl Books {
    async fn read(&mut self, ground: &Ground, shard: usize) {
        let client = ground.cluster.shard(shard).await;
        let rows = async |sql: &str| {
            let rows = client.query(sql, &[]).await;
            rows.unwrap_or_else(|error| panic!("shard {shard}: {sql}: {error}"))
        };
        for row in rows("select id, balance, email from accounts").await {
            self.accounts.insert(row.get(0), (row.get(1), row.get(2)));
        }
        for row in rows("select account, transfer, amount from ledger").await {
            *self.moved.entry(row.get(0)).or_default() += row.get::<_, i64>(2);
            self.transfers
                .entry(row.get(1))
                .or_default()
                .push(row.get(2));
        }
        for row in rows("select v1::text, key::text from oskol.unique_1").await {
            let account = row.get::<_, String>(1).parse().unwrap_or(i64::MIN);
            if !self.entries.insert((row.get(0), account)) {
                self.faults
                    .push(format!("an entry is there twice: {row:?}"));
            }
        }
        let locks = "select count(*) from pg_locks where pid is null and locktype <> 'spectoken'";
        if rows(locks).await[0].get::<_, i64>(0) > 0 {
            self.faults.push(format!("locks are left on shard {shard}"));
        }
    }

    fn money(&mut self) {
        let all: i64 = self.accounts.values().map(|(balance, _)| balance).sum();
        if all != ACCOUNTS * BALANCE || self.accounts.len() as i64 != ACCOUNTS {
            self.faults.push(format!(
                "{all} in {} accounts, not {} in {ACCOUNTS}",
                self.accounts.len(),
                ACCOUNTS * BALANCE
            ));
        }
        for (account, (balance, _)) in &self.accounts {
            let moved = self.moved.get(account).copied().unwrap_or_default();
            if *balance != BALANCE + moved {
                self.faults.push(format!(
                    "account {account} has {balance}, the ledger says {}",
                    BALANCE + moved
                ));
            }
        }
    }

    fn transfers(&mut self, known: &Transfers) {
        for (transfer, amounts) in &self.transfers {
            if amounts.len() != 2 || amounts.iter().sum::<i64>() != 0 {
                self.faults
                    .push(format!("transfer {transfer} is half there: {amounts:?}"));
            }
        }
        for (transfer, ended) in known {
            let there = self.transfers.contains_key(transfer);
            match ended {
                Ended::Committed if !there => self.faults.push(format!(
                    "transfer {transfer} was acknowledged and is not there"
                )),
                Ended::Refused(code) if there => self.faults.push(format!(
                    "transfer {transfer} was refused ({code}) and is there"
                )),
                _ => {}
            }
        }
    }

    fn entries(&mut self) {
        let accounts = self.accounts.iter();
        let wanted: BTreeSet<(String, i64)> = accounts
            .map(|(account, (_, email))| (email.clone(), *account))
            .collect();
        for entry in wanted.symmetric_difference(&self.entries) {
            self.faults.push(format!(
                "row without entry, or entry without row: {entry:?}"
            ));
        }
    }
}
