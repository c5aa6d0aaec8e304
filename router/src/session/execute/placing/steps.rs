//! The steps from one placement to another. Takes where the rows are and where they shall be; moves
//! them inside the open transaction, which every shard has joined.

use schema::Placement;
use topology::ShardId;

use super::super::super::fault::Fault;
use super::super::super::settings::first_value;
use super::super::super::state::Session;
use super::statements::{Key, Table};
use super::{Placing, Wanted};
use crate::error::RouterError;

/// One step on the way to the new placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Move {
    /// Make sure that only the home shard holds rows.
    RefuseOthers,
    EmptyOthers,
    CopyToAll,
    Spread(Key),
    /// All have all rows: each keeps those of its buckets.
    KeepOwn(Key),
    Gather,
}

impl Session {
    /// What is to be done, in order.
    pub(super) fn moves(&self, placing: &Placing<'_>) -> Vec<Move> {
        let relation = &placing.relation;
        match (&relation.placement, &placing.wanted) {
            (Placement::Local, Wanted::Local) | (Placement::Reference, Wanted::Reference) => vec![],
            (Placement::Local, Wanted::Reference) => vec![Move::RefuseOthers, Move::CopyToAll],
            (Placement::Local, Wanted::Sharded(key)) => {
                vec![Move::RefuseOthers, Move::Spread(key.clone())]
            }
            (Placement::Reference, Wanted::Local) => vec![Move::EmptyOthers],
            (Placement::Reference, Wanted::Sharded(key)) => vec![Move::KeepOwn(key.clone())],
            (Placement::Sharded { .. }, Wanted::Local) => vec![Move::Gather],
            (Placement::Sharded { .. }, Wanted::Reference) => vec![Move::Gather, Move::CopyToAll],
            (Placement::Sharded { key: old, .. }, Wanted::Sharded(key)) => {
                let same = relation
                    .columns
                    .get(*old)
                    .is_some_and(|old| old.name == key.column);
                if same {
                    vec![]
                } else {
                    vec![Move::Gather, Move::Spread(key.clone())]
                }
            }
        }
    }

    pub(super) async fn run_move(
        &mut self,
        step: &Move,
        table: &Table,
        home: usize,
    ) -> Result<(), Fault> {
        match step {
            Move::RefuseOthers => self.refuse_rows_on_others(table).await,
            Move::EmptyOthers => self.empty_others(table).await,
            Move::CopyToAll => {
                let others = self.others();
                self.stream_rows(home, &table.copy_out(), &others, &table.copy_in(), None)
                    .await?;
                Ok(())
            }
            Move::Spread(key) => self.spread(table, key, home).await,
            Move::KeepOwn(key) => {
                for index in 0..self.transaction.branches.len() {
                    let shard = self.transaction.branches[index].server.shard;
                    let sql = table.delete_foreign(key, &self.own_buckets(shard));
                    self.run_quietly(index, &sql).await?;
                }
                Ok(())
            }
            Move::Gather => {
                for other in self.others() {
                    let (out, into) = (table.copy_out(), table.copy_in());
                    self.stream_rows(other, &out, &[home], &into, None).await?;
                }
                self.empty_others(table).await
            }
        }
    }

    /// A local table's rows are at home; what somebody has written elsewhere, past the router, must
    /// not turn up all at once.
    async fn refuse_rows_on_others(&mut self, table: &Table) -> Result<(), Fault> {
        let others = self.others();
        let found = self
            .run_at_once(&others, &table.any_row())
            .await
            .into_result()?;
        let Some((index, _)) = found.iter().find(|(_, rows)| !rows.is_empty()) else {
            return Ok(());
        };
        let shard = self.transaction.branches[*index].server.shard;
        Err(RouterError::new(
            "55000",
            format!("shard {shard} holds rows of this table already"),
        )
        .detail("The table is local, so all its rows should be on the home shard.")
        .hint("Look at them on that shard directly, and delete them there.")
        .into())
    }

    async fn empty_others(&mut self, table: &Table) -> Result<(), Fault> {
        let others = self.others();
        self.run_at_once(&others, &table.delete_all())
            .await
            .into_result()?;
        Ok(())
    }

    /// From home to the shards of their keys.
    async fn spread(&mut self, table: &Table, key: &Key, home: usize) -> Result<(), Fault> {
        let own = self.own_buckets(self.transaction.branches[home].server.shard);
        let others = self.others();
        let lanes = self.lanes();
        let out = table.copy_out_foreign(key, &own);
        let moved = self
            .stream_rows(home, &out, &others, &table.copy_in(), Some(&lanes))
            .await?;
        let deleted = self
            .run_quietly(home, &table.delete_foreign(key, &own))
            .await?;
        let deleted = first_value(&deleted);
        if deleted.as_deref() == Some(moved.to_string().as_str()) {
            return Ok(());
        }
        let told = format!("{moved} rows were copied and {deleted:?} deleted");
        Err(RouterError::new("XX000", "not all rows have moved")
            .detail(told)
            .into())
    }

    /// One bit a bucket, as PostgreSQL's `get_bit` counts them in a bytea.
    fn own_buckets(&self, shard: ShardId) -> Vec<u8> {
        let owners = self.space.state.map.shards_by_bucket();
        let byte = |owners: &[ShardId]| {
            let bits = owners.iter().enumerate();
            bits.fold(0, |byte, (bit, owner)| {
                byte | (u8::from(*owner == shard) << bit)
            })
        };
        owners.chunks(8).map(byte).collect()
    }

    /// The branch of each bucket's shard.
    fn lanes(&self) -> Vec<usize> {
        let owners = self.space.state.map.shards_by_bucket().iter();
        // Every shard has joined.
        owners
            .map(|shard| self.transaction.find(*shard).unwrap_or(0))
            .collect()
    }
}
