//! One shard's end of a transfer: the statements about a table, run directly, or as its owner where its rows run code.

use std::collections::BTreeMap;

use tokio_postgres::{Client, CopyOutStream};
use topology::ShardId;

use super::as_owner::{AsOwner, Gives, Owner};
use super::error::MoveError;
use super::tables::MovedTable;
use crate::control::error::ControlError;

/// Of the connections that copy: values are printed as any server reads them, what takes long is not ended, and a
/// deadlock is ours to lose.
const SETTINGS: &str = "SET datestyle TO 'ISO, YMD'; SET intervalstyle TO 'postgres'; SET extra_float_digits TO 3;
    SET bytea_output TO 'hex'; SET lc_monetary TO 'C'; SET timezone TO 'UTC'; SET row_security TO off;
    SET standard_conforming_strings TO on; SET statement_timeout TO 0; SET lock_timeout TO '3s';
    SET idle_in_transaction_session_timeout TO '15min'; SET deadlock_timeout TO '100ms'";

/// Of a transaction that writes rows which come or go: triggers of the user's are silent, foreign keys hold as they did before, and
/// what notes changes knows that these are none (`oskol.is_replica`).
pub(super) const MOVING: &str =
    "SET LOCAL session_replication_role TO replica; SET LOCAL oskol.moving TO 'on'";

/// By bucket: rows, and their sum.
pub(super) type Digests = BTreeMap<i32, (i64, Option<String>)>;

pub(super) struct End {
    pub(super) shard: ShardId,
    pub(super) client: Client,
    /// What the transaction under way has set besides.
    pub(super) set: &'static str,
    /// Names of tables that are written without further ado: code of others that runs here must not make them call any.
    pub(super) direct: Vec<String>,
}

impl End {
    pub(super) async fn new(shard: ShardId, client: Client) -> Result<Self, MoveError> {
        let end = Self {
            shard,
            client,
            set: "",
            direct: Vec::new(),
        };
        end.run(SETTINGS).await?;
        Ok(end)
    }

    pub(super) async fn run(&self, sql: &str) -> Result<(), MoveError> {
        Ok(self
            .client
            .batch_execute(sql)
            .await
            .map_err(self.failed())?)
    }

    /// Begins a transaction; `set`: more settings of it.
    pub(super) async fn begin(&mut self, begin: &str, set: &'static str) -> Result<(), MoveError> {
        self.set = set;
        self.run(&format!("{begin}; {set}")).await
    }

    pub(super) fn failed(&self) -> impl Fn(tokio_postgres::Error) -> ControlError + use<> {
        ControlError::statement(self.shard)
    }

    fn settings(&self) -> String {
        format!("{SETTINGS}; {}", self.set)
    }

    /// Of the transaction under way.
    async fn number(&self) -> Result<String, MoveError> {
        let row = self
            .client
            .query_one("SELECT pg_current_xact_id()::text", &[])
            .await;
        Ok(row.map_err(self.failed())?.get(0))
    }

    /// Runs what `make` gives for the table, which returns no rows.
    pub(super) async fn write(
        &self,
        table: &MovedTable,
        make: impl Fn(&MovedTable) -> String,
    ) -> Result<(), MoveError> {
        let Some(owner) = &table.owner else {
            return self.run(&make(table)).await;
        };
        let number = self.number().await?;
        let as_owner = AsOwner::new(table, owner, &number);
        let (open, call) = (
            as_owner.open(Gives::Nothing),
            as_owner.call(&make(&as_owner.seen())),
        );
        let close = as_owner.close(&self.settings(), &self.direct);
        let sql = format!("{open}; SELECT {call}; {close}");
        self.run(&sql).await.map_err(table.as_owner(owner))
    }

    /// As [`Self::write`], of all these tables; those that run nobody's code in one round trip.
    pub(super) async fn write_all(
        &self,
        tables: &[MovedTable],
        make: impl Fn(&MovedTable) -> String,
    ) -> Result<(), MoveError> {
        let (owned, direct): (Vec<_>, Vec<_>) =
            tables.iter().partition(|table| table.owner.is_some());
        let direct: Vec<String> = direct.into_iter().map(&make).collect();
        self.run(&direct.join("; ")).await?;
        for table in owned {
            self.write(table, &make).await?;
        }
        Ok(())
    }

    /// The digests that `make` asks for.
    pub(super) async fn digests(
        &self,
        table: &MovedTable,
        make: impl Fn(&MovedTable) -> String,
    ) -> Result<Digests, MoveError> {
        let Some(owner) = &table.owner else {
            return Ok(read_digests(&self.client, self.shard, &make(table)).await?);
        };
        let number = self.number().await?;
        let as_owner = AsOwner::new(table, owner, &number);
        let read = async {
            self.run(&as_owner.open(Gives::Digests)).await?;
            let call = as_owner.call(&make(&as_owner.seen()));
            let sql = format!("SELECT bucket, rows, sum FROM {call}");
            let digests = read_digests(&self.client, self.shard, &sql).await?;
            self.run(&as_owner.close(&self.settings(), &self.direct))
                .await?;
            Ok(digests)
        };
        read.await.map_err(table.as_owner(owner))
    }

    /// The rows that `make` selects, as COPY gives them. [`Rows::end`] must follow.
    pub(super) async fn rows<'a>(
        &'a self,
        table: &'a MovedTable,
        make: impl Fn(&MovedTable) -> String,
    ) -> Result<(CopyOutStream, Rows<'a>), MoveError> {
        let (sql, close) = match &table.owner {
            None => (format!("COPY ({}) TO STDOUT", make(table)), None),
            Some(owner) => {
                let number = self.number().await?;
                let as_owner = AsOwner::new(table, owner, &number);
                let open = self.run(&as_owner.open(Gives::Rows)).await;
                open.map_err(table.as_owner(owner))?;
                let call = as_owner.call(&make(&as_owner.seen()));
                let close = as_owner.close(&self.settings(), &self.direct);
                (
                    format!("COPY (SELECT t.* FROM {call} t) TO STDOUT"),
                    Some((owner, close)),
                )
            }
        };
        let stream = self.client.copy_out(&sql).await.map_err(self.failed())?;
        Ok((
            stream,
            Rows {
                end: self,
                table,
                close,
            },
        ))
    }

    /// Where rows of the table come in.
    pub(super) async fn entrance<'a>(
        &'a self,
        table: &'a MovedTable,
    ) -> Result<Entrance<'a>, MoveError> {
        let Some(owner) = &table.owner else {
            return Ok(Entrance {
                end: self,
                table,
                copy: table.copy_into(&table.name),
                take: None,
            });
        };
        let number = self.number().await?;
        let as_owner = AsOwner::new(table, owner, &number);
        self.run(&as_owner.make_stage()).await?;
        let take = format!(
            "{}; SELECT {}; {}; {}",
            as_owner.open(Gives::Nothing),
            as_owner.call(&as_owner.take_from_stage()),
            as_owner.close(&self.settings(), &self.direct),
            as_owner.drop_stage()
        );
        Ok(Entrance {
            end: self,
            table,
            copy: as_owner.copy_to_stage(),
            take: Some((owner, take)),
        })
    }
}

/// `sql`: a digest of a table.
pub(super) async fn read_digests(
    client: &Client,
    shard: ShardId,
    sql: &str,
) -> Result<Digests, ControlError> {
    let rows = client.query(sql, &[]).await;
    let rows = rows.map_err(ControlError::statement(shard))?;
    let digest = |row: &tokio_postgres::Row| (row.get(0), (row.get(1), row.get(2)));
    Ok(rows.iter().map(digest).collect())
}

/// What is left to do when all rows are read.
pub(super) struct Rows<'a> {
    end: &'a End,
    table: &'a MovedTable,
    close: Option<(&'a Owner, String)>,
}

impl Rows<'_> {
    pub(super) fn failed(&self) -> impl Fn(tokio_postgres::Error) -> MoveError {
        move |error| {
            let error = MoveError::from(self.end.failed()(error));
            match &self.close {
                Some((owner, _)) => self.table.as_owner(owner)(error),
                None => error,
            }
        }
    }

    pub(super) async fn end(&self) -> Result<(), MoveError> {
        match &self.close {
            Some((owner, close)) => {
                let closed = self.end.run(close).await;
                closed.map_err(self.table.as_owner(owner))
            }
            None => Ok(()),
        }
    }
}

/// Rows are copied in, and then taken from the stage where there is one.
pub(super) struct Entrance<'a> {
    end: &'a End,
    table: &'a MovedTable,
    pub(super) copy: String,
    take: Option<(&'a Owner, String)>,
}

impl Entrance<'_> {
    pub(super) async fn take(&self) -> Result<(), MoveError> {
        match &self.take {
            Some((owner, take)) => {
                let taken = self.end.run(take).await;
                taken.map_err(self.table.as_owner(owner))
            }
            None => Ok(()),
        }
    }
}
