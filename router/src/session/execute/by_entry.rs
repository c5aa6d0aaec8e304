//! Two hops in place of a scatter: the entry of a unique key is read on the shard of its value, and names the shard
//! that the statement runs on.
//!
//! Between the hops the row may move, or its value pass to another row; in REPEATABLE READ the two shards may have
//! snapshots of different moments. So the first hop is a hint. When the statement has found the row there, the answer
//! is whole: at any moment one row at most has the value. When it has not, it runs on all shards, as it would have
//! without the hint. Entries are written at the end of each statement, in its transaction, so what the transaction itself
//! has changed is found, too.

use bytes::Bytes;
use schema::KeyType;
use topology::{BucketId, ShardId};
use wire::backend::{CommandComplete, DataRow, tag};

use super::super::fault::Fault;
use super::super::relay::WRITE_ABOVE;
use super::super::state::Session;
use super::Invocation;
use super::asking::Request;
use crate::plan::by_entry::EntryRoute;
use crate::plan::{Effect, Scatter};
use crate::route::entry::{self, EntryOf};

impl Session {
    /// Runs the statement where the entry says that the row is. False: the row is not there, and the client has been
    /// told nothing.
    pub(super) async fn by_entry(
        &mut self,
        route: &EntryRoute,
        scatter: &Scatter,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<bool, Fault> {
        if route.deferrable && self.transaction.owes {
            return Ok(false);
        }
        let Some(shard) = self.shard_by_entry(route, invocation).await? else {
            return Ok(false);
        };
        // With no row nothing is flushed in between, and what was written can be taken back.
        if self.out.len() > WRITE_ABOVE / 2 {
            self.flush().await?;
        }
        let before = self.out.len();
        let (reply, complete) = self
            .run_scatter(scatter, &[shard], effect, invocation)
            .await?;
        if CommandComplete::parse(&complete[5..])?.rows() == Some(0) {
            self.out.truncate(before);
            return Ok(false);
        }
        self.reply_complete(reply, &complete).await?;
        Ok(true)
    }

    /// The shard that the entry names, if there is one.
    pub(super) async fn shard_by_entry(
        &mut self,
        route: &EntryRoute,
        invocation: &Invocation<'_>,
    ) -> Result<Option<ShardId>, Fault> {
        let Some(entry) = entry::entry(route, invocation.arguments(), self.encoding()) else {
            return Ok(None);
        };
        let bucket = self.read_entry(route, &entry).await?;
        Ok(bucket.map(|bucket| self.space.state.map.shard(bucket)))
    }

    /// The bucket of the row that has the values.
    pub(super) async fn read_entry(
        &mut self,
        route: &EntryRoute,
        entry: &EntryOf,
    ) -> Result<Option<BucketId>, Fault> {
        let shard = self.space.state.map.shard(entry.bucket);
        let types = route.columns.iter().map(|column| widest(column.key_type));
        let types: Vec<u32> = types.collect();
        let identity = self.identity(&look_up(route), &types);
        let values = entry.values.iter();
        let parameters: Vec<_> = values
            .map(|value| (wire::Format::Text, Some(value.as_slice())))
            .collect();
        let request = Request {
            identity: &identity,
            named: true,
            parameters: &parameters,
            types: &types,
            result_formats: &[],
        };
        let mut asked = self
            .ask_request(&[shard], &request, Effect::default())
            .await?;
        let read = self.read_bucket(&mut asked).await;
        self.unless_called_off(&mut asked, read).await
    }

    async fn read_bucket(
        &mut self,
        asked: &mut [super::asking::Asked],
    ) -> Result<Option<BucketId>, Fault> {
        let mut bucket = None;
        while let Some(message) = self.next_message(asked, 0).await? {
            if message.tag == tag::DATA_ROW {
                bucket = bucket_of(&message.bytes.slice(5..));
            }
        }
        Ok(bucket)
    }
}

fn bucket_of(row: &Bytes) -> Option<BucketId> {
    let row = DataRow::parse(row).ok()?;
    let text = std::str::from_utf8(row.nth(0)??).ok()?;
    text.parse().ok().map(BucketId)
}

/// The type that values of this kind are compared in: what does not fit the column equals no entry.
pub(super) fn widest(key_type: KeyType) -> u32 {
    match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => KeyType::Int8.oid(),
        KeyType::Text | KeyType::Varchar => KeyType::Text.oid(),
        KeyType::Uuid => KeyType::Uuid.oid(),
    }
}

fn look_up(route: &EntryRoute) -> String {
    let parameters: Vec<String> = (1..=route.columns.len()).map(|n| format!("${n}")).collect();
    let parameters = parameters.join(", ");
    format!("SELECT oskol.route_{}({parameters})", route.number)
}
