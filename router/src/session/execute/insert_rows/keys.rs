//! The shard of each row of a batch. What assignment to the key column would change, PostgreSQL converts first.

use bytes::Bytes;
use topology::{Key, ShardId, ShardMap};
use wire::Format;
use wire::backend::{DataRow, tag};

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::arrays::Arrays;
use super::super::asking::{Asked, Request};
use super::super::shares::unshared;
use super::super::split_insert::settle;
use super::Work;
use crate::error::RouterError;
use crate::plan::insert::{key_default, null_key};
use crate::plan::insert_rows::{Destination, InsertRows, RowKey};
use crate::route::Target;
use crate::route::stored::{self, Column};

/// Where the key is.
pub(super) struct KeyAt<'a> {
    pub key: &'a RowKey,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Column of the query.
    Column(usize),
    /// Of the id columns.
    Id(usize),
    /// Left to a default that is NULL.
    Absent,
}

impl<'a> KeyAt<'a> {
    /// For a query of `width` columns. `None`: the rows have no key.
    pub fn of(insert: &'a InsertRows, width: usize) -> Result<Option<Self>, RouterError> {
        let Destination::ByKey(key) = &insert.destination else {
            return Ok(None);
        };
        let ids = insert.ids_for(width);
        let id = ids.iter().position(|id| id.column == key.column);
        let place = match (key.position.filter(|position| *position < width), id) {
            (Some(position), _) => Place::Column(position),
            (None, Some(id)) => Place::Id(id),
            (None, None) if key.has_default => return Err(key_default(&key.name)),
            (None, None) => Place::Absent,
        };
        Ok(Some(Self { key, place }))
    }

    fn column(&self) -> Column {
        Column {
            key_type: self.key.key_type,
            has_length: self.key.has_length,
        }
    }
}

/// MERGE finds a row's match by an equality, and its shard by assignment: these must be about the same value.
pub(super) fn check_matched(insert: &InsertRows, types: &[u32]) -> Result<(), RouterError> {
    use crate::plan::scope::{INT2, INT4, INT8, TEXT, UUID, VARCHAR};
    const NUMERIC: u32 = 1700;
    const BPCHAR: u32 = 1042;
    let Destination::ByKey(key) = &insert.destination else {
        return Ok(());
    };
    let found = key.position.and_then(|position| types.get(position));
    match found {
        Some(&(INT2 | INT4 | INT8 | NUMERIC | TEXT | VARCHAR | BPCHAR | UUID)) => Ok(()),
        _ => Err(crate::plan::unsupported::merge_over_shards()),
    }
}

impl Session {
    /// The shards of `rows` (whole DataRow messages) with these ids.
    pub(super) async fn places_of(
        &mut self,
        work: &Work<'_>,
        rows: &[Bytes],
        ids: &[Vec<[u8; 8]>],
    ) -> Result<Vec<ShardId>, Fault> {
        let Some(at) = &work.key else {
            return Ok(vec![self.home(); rows.len()]);
        };
        let targets = match at.place {
            Place::Column(column) => self.targets(work, at, column, rows).await?,
            Place::Id(number) => self.targets_of_ids(number, ids),
            Place::Absent => vec![Target::Nowhere; rows.len()],
        };
        if !at.key.not_null && targets.contains(&Target::Nowhere) {
            return Err(null_key(&at.key.name).into());
        }
        settle(&targets, || self.any_shard())
    }

    fn targets_of_ids(&self, number: usize, ids: &[Vec<[u8; 8]>]) -> Vec<Target> {
        let map = &self.space.state.map;
        let shard = |ids: &Vec<[u8; 8]>| {
            let id = ids.get(number).copied().unwrap_or_default();
            let key = Key::Int(i64::from_be_bytes(id));
            Target::Shard(map.shard(ShardMap::bucket(key)))
        };
        ids.iter().map(shard).collect()
    }

    async fn targets(
        &mut self,
        work: &Work<'_>,
        at: &KeyAt<'_>,
        column: usize,
        rows: &[Bytes],
    ) -> Result<Vec<Target>, Fault> {
        let type_oid = work.columns.elements[column];
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            values.push(DataRow::parse(&row[5..])?.nth(column).flatten());
        }
        let targets = self.targets_as(&values, type_oid, at.column());
        if !targets.contains(&Target::Unknown) {
            return Ok(targets);
        }
        let rows = self.converted(work, at.key, column, rows).await?;
        let mut values = Vec::with_capacity(rows.len());
        for row in &rows {
            values.push(DataRow::parse(&row[5..])?.nth(0).flatten());
        }
        let converted = Column {
            has_length: false,
            ..at.column()
        };
        Ok(self.targets_as(&values, at.key.key_type.oid(), converted))
    }

    fn targets_as(&self, values: &[Option<&[u8]>], type_oid: u32, column: Column) -> Vec<Target> {
        let map = &self.space.state.map;
        let encoding = self.encoding();
        values
            .iter()
            .map(|value| stored::target(*value, type_oid, column, encoding, map))
            .collect()
    }

    /// The key column as what is stored. (A text that is too long is cut here; PostgreSQL refuses its row.)
    async fn converted(
        &mut self,
        work: &Work<'_>,
        key: &RowKey,
        column: usize,
        rows: &[Bytes],
    ) -> Result<Vec<Bytes>, Fault> {
        let mut arrays = Arrays::of([work.columns.elements[column]]);
        for row in rows {
            arrays.push(&DataRow::parse(&row[5..])?, column);
        }
        let values = arrays.values();
        let types = [work.columns.arrays[column]];
        let text = format!("SELECT pg_catalog.unnest($1)::{}", key.type_name);
        let request = Request {
            identity: &unshared(&text, &types),
            named: false,
            parameters: &[(Format::Binary, Some(&values[0][..]))],
            types: &types,
            result_formats: &[Format::Binary],
        };
        let shard = self.any_shard();
        let branch = self.join_all(&[shard]).await?[0];
        let mut asked = [self.ask(branch, &request)?];
        let heard = self.all_rows(&mut asked).await;
        self.unless_called_off(&mut asked, heard).await
    }

    pub(in crate::session::execute) async fn all_rows(
        &mut self,
        asked: &mut [Asked],
    ) -> Result<Vec<Bytes>, Fault> {
        let mut rows = Vec::new();
        while let Some(message) = self.next_message(asked, 0).await? {
            if message.tag == tag::DATA_ROW {
                rows.push(message.bytes);
            }
        }
        Ok(rows)
    }
}
