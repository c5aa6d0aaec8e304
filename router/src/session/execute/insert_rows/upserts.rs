//! The rows of a query one by one, where ON CONFLICT may be about a row of another shard.

use std::collections::HashSet;

use bytes::Bytes;
use topology::BucketId;
use wire::Format;
use wire::backend::DataRow;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::arrays::Arrays;
use super::super::asking::Request;
use super::super::entries::Conflict;
use super::super::reply::Reply;
use super::super::shares::{Relay, unshared};
use super::super::upsert::{Trials, Wanted};
use super::{Work, deal, share};
use crate::plan::insert_rows::{RowUpserts, WantedEntry};

impl Session {
    /// Tries row after row, in the query's order.
    pub(super) async fn upsert_rows(
        &mut self,
        mut work: Work<'_>,
        upserts: &RowUpserts,
    ) -> Result<(), Fault> {
        let invocation = work.invocation;
        let mut trials = Trials {
            arbiters: &upserts.arbiters,
            updates: upserts.updates,
            effect: work.effect,
            invocation,
            relay: std::mem::replace(&mut work.relay, Relay::new(Reply::to(invocation))),
            affected: HashSet::new(),
        };
        while work.next < work.rows.len() {
            let rows = deal::next_rows(&mut work).await?;
            let ids = self.ids_for(&mut work, rows.len()).await?;
            let places = self.places_of(&work, &rows, &ids).await?;
            let wanted = match &upserts.wanted {
                Some(wanted) => self.wanted_entries(&work, wanted, &rows, &ids).await?,
                None => rows.iter().map(|_| None).collect(),
            };
            for (((row, ids), shard), wanted) in rows.iter().zip(&ids).zip(&places).zip(wanted) {
                let values = arrays_of(&work, [(row, ids)])?;
                let mut share = share(&work, *shard, &values)?;
                let known = wanted.map(Wanted::Entry);
                let violated = self.upsert_row(&mut trials, &mut share, known).await?;
                if let Some(violated) = violated {
                    let (row, ids) = (std::slice::from_ref(row), std::slice::from_ref(ids));
                    let looked = self.conflicts_of_row(&work, upserts, row, ids).await;
                    self.upsert_violated(&mut trials, &mut share, violated, looked)
                        .await?;
                }
            }
        }
        let complete = trials.relay.complete()?;
        self.reply_complete(trials.relay.reply, &complete).await
    }

    /// The entries that one row asks for.
    async fn conflicts_of_row(
        &mut self,
        work: &Work<'_>,
        upserts: &RowUpserts,
        row: &[Bytes],
        ids: &[Vec<[u8; 8]>],
    ) -> Result<Vec<Conflict>, Fault> {
        let mut conflicts = Vec::new();
        for wanted in &upserts.lookups {
            let entries = self.wanted_entries(work, wanted, row, ids).await?;
            conflicts.extend(entries.into_iter().flatten());
        }
        Ok(conflicts)
    }

    /// The entries that the rows ask for of the key, as a PostgreSQL computes them. `None`: a row is not under the key.
    async fn wanted_entries(
        &mut self,
        work: &Work<'_>,
        wanted: &WantedEntry,
        rows: &[Bytes],
        ids: &[Vec<[u8; 8]>],
    ) -> Result<Vec<Option<Conflict>>, Fault> {
        let values = arrays_of(work, rows.iter().zip(ids))?;
        let mut columns = Vec::new();
        let (mut types, mut parameters) = (Vec::new(), Vec::new());
        for (number, column) in wanted.columns.iter().enumerate() {
            let cast = work.columns.casts.get(column.position).cloned().flatten();
            let cast = cast.map_or_else(String::new, |cast| format!("::{cast}"));
            columns.push(format!(
                "pg_catalog.unnest(${}){cast}::{} AS {}",
                number + 1,
                column.type_name,
                column.name
            ));
            types.push(work.columns.arrays[column.position]);
            parameters.push((Format::Binary, Some(&values[column.position][..])));
        }
        let text = format!(
            "SELECT w.at, w.bucket, w.entry FROM oskol.wanted_{}((SELECT pg_catalog.json_agg(pg_catalog.row_to_json(r)) \
             FROM (SELECT {}) r)) w",
            wanted.number,
            columns.join(", ")
        );
        let request = Request {
            identity: &unshared(&text, &types),
            named: false,
            parameters: &parameters,
            types: &types,
            result_formats: &[],
        };
        let shard = self.any_shard();
        let branch = self.join_all(&[shard]).await?[0];
        let mut asked = [self.ask(branch, &request)?];
        let heard = self.all_rows(&mut asked).await;
        let heard = self.unless_called_off(&mut asked, heard).await;
        let mut entries: Vec<Option<Conflict>> = rows.iter().map(|_| None).collect();
        for message in heard.map_err(super::super::calls::without_context)? {
            let row = DataRow::parse(message.get(5..).unwrap_or_default())?;
            if let Some((at, entry)) = entry_of(&row, wanted.number)
                && let Some(place) = entries.get_mut(at)
            {
                *place = Some(entry);
            }
        }
        Ok(entries)
    }
}

/// Some rows and their ids, as one array for each column.
fn arrays_of<'a>(
    work: &Work<'_>,
    rows: impl IntoIterator<Item = (&'a Bytes, &'a Vec<[u8; 8]>)>,
) -> Result<Vec<Bytes>, Fault> {
    let mut arrays = Arrays::of(work.columns.elements.iter().copied());
    for (row, ids) in rows {
        arrays.push_with(&DataRow::parse(&row[5..])?, ids);
    }
    Ok(arrays.values())
}

fn entry_of(row: &DataRow<'_>, number: u32) -> Option<(usize, Conflict)> {
    let text = |column| std::str::from_utf8(row.nth(column)??).ok();
    let at: usize = text(0)?.parse().ok()?;
    let conflict = Conflict {
        number,
        bucket: BucketId(text(1)?.parse().ok()?),
        entry: text(2)?.to_owned(),
    };
    Some((at.checked_sub(1)?, conflict))
}
