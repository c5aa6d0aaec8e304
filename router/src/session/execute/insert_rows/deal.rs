//! The next rows of the query, dealt to the shards that they belong to.

use std::rc::Rc;

use bytes::Bytes;
use wire::backend::DataRow;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::arrays::Arrays;
use super::{Batch, Work};

/// Rows in a batch, at most: all shards work on a batch at once, and nothing is made ahead of the next.
const BATCH_ROWS: usize = 40_000;
/// Bytes in a batch, one row more at most.
const BATCH_BYTES: usize = 4 << 20;

impl Session {
    pub(super) async fn deal(&mut self, work: &mut Work<'_>) -> Result<Batch, Fault> {
        let rows = next_rows(work).await?;
        let ids = self.ids_for(work, rows.len()).await?;
        let places = self.places_of(work, &rows, &ids).await?;
        let mut batch = Batch::default();
        for ((row, ids), shard) in rows.iter().zip(&ids).zip(&places) {
            let elements = &work.columns.elements;
            let arrays = batch.by_shard.entry(*shard);
            let arrays = arrays.or_insert_with(|| Arrays::of(elements.iter().copied()));
            arrays.push_with(&DataRow::parse(&row[5..])?, ids);
        }
        batch.places = places;
        Ok(batch)
    }

    /// For each row its ids, in binary.
    pub(super) async fn ids_for(
        &mut self,
        work: &mut Work<'_>,
        rows: usize,
    ) -> Result<Vec<Vec<[u8; 8]>>, Fault> {
        let mut by_row = vec![Vec::with_capacity(work.ids.len()); rows];
        let columns = work
            .insert
            .ids_for(work.columns.elements.len() - work.ids.len());
        for (column, taken) in columns.iter().zip(&mut work.ids) {
            let missing = rows.saturating_sub(taken.len());
            let worker = Rc::clone(&self.worker);
            worker
                .next_ids(&self.database, &column.sequence, missing, taken)
                .await?;
            for (ids, id) in by_row.iter_mut().zip(taken.drain(..rows)) {
                ids.push(id.to_be_bytes());
                self.remember_id(&column.sequence, id);
            }
        }
        Ok(by_row)
    }
}

/// As many as make a batch, or all that are left: whole DataRow messages.
pub(super) async fn next_rows(work: &mut Work<'_>) -> Result<Vec<Bytes>, Fault> {
    let mut rows = Vec::new();
    let mut bytes = 0;
    let at_once = work.insert.at_once;
    while at_once || (rows.len() < BATCH_ROWS && bytes < BATCH_BYTES) {
        let Some(row) = work.rows.row(work.next).await? else {
            break;
        };
        work.next += 1;
        bytes += row.len();
        rows.push(row);
    }
    work.rows.forget_before(work.next);
    Ok(rows)
}
