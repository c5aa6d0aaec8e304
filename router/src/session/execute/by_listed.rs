//! A list of values of a unique key, `email IN (...)`: their entries are read first, and the statement runs on the shards of
//! their rows.
//!
//! As with one value (`by_entry.rs`) the entries are hints. Where the statement finds as many rows there as there are values,
//! no other shard has one. Where it finds fewer, the other shards are asked, too.

use std::collections::BTreeMap;

use schema::KeyType;
use topology::{BucketId, ShardId};
use wire::backend::{CommandComplete, DataRow, tag};

use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::asking::Request;
use super::by_entry::widest;
use super::reply::Reply;
use crate::merge::Merge;
use crate::plan::by_entry::EntryList;
use crate::plan::{Effect, Scatter};
use crate::route::entry::{self, EntryOf};

/// Longer lists have rows on all shards.
pub(super) const MOST_VALUES: usize = 1_000;

/// Where the rows of a list are.
pub(super) struct ListedRows {
    /// Ascending; not all that there are.
    pub shards: Vec<ShardId>,
    /// How many values are listed.
    pub values: u64,
}

impl Session {
    /// Runs the statement where the entries say that its rows are. False: they do not say it, or the rows are not there;
    /// the client has been told nothing, and nothing has been changed.
    pub(super) async fn by_listed(
        &mut self,
        list: &EntryList,
        scatter: &Scatter,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<bool, Fault> {
        if list.deferrable && self.transaction.owes {
            return Ok(false);
        }
        let Some(listed) = self.rows_by_list(list, invocation).await? else {
            return Ok(false);
        };
        match &scatter.merge {
            Merge::Concatenate {
                limit: None,
                offset: None,
            }
            | Merge::CountOnly => {
                self.in_two_steps(&listed, scatter, effect, invocation)
                    .await?;
                Ok(true)
            }
            Merge::Sort { .. } if !effect.writes => {
                self.held_until_whole(&listed, scatter, effect, invocation)
                    .await
            }
            _ => Ok(false),
        }
    }

    /// One shard's rows come after another's, so the rest may follow.
    async fn in_two_steps(
        &mut self,
        listed: &ListedRows,
        scatter: &Scatter,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let mut reply = Reply::to(invocation);
        let (shards, first) = (&listed.shards, &mut reply);
        let ran = self.run_scatter_into(first, scatter, shards, effect, invocation);
        let complete = ran.await?;
        let found = CommandComplete::parse(&complete[5..])?.rows().unwrap_or(0);
        if found >= listed.values {
            return self.reply_complete(reply, &complete).await;
        }
        let mut rest = self.space.state.map.shards().to_vec();
        rest.retain(|shard| !shards.contains(shard));
        reply.described();
        let ran = self.run_scatter_into(&mut reply, scatter, &rest, effect, invocation);
        let complete = ran.await?;
        let complete = CommandComplete::parse(&complete[5..])?;
        let mut out = bytes::BytesMut::new();
        complete.write_with_rows(&mut out, found + complete.rows().unwrap_or(0));
        self.reply_complete(reply, &out).await
    }

    /// The rows are sorted over all shards: the client gets none before it is known that all are there.
    async fn held_until_whole(
        &mut self,
        listed: &ListedRows,
        scatter: &Scatter,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<bool, Fault> {
        let mut reply = Reply::to(invocation);
        let held = reply.hold();
        let before = self.out.len();
        let (shards, into) = (&listed.shards, &mut reply);
        let ran = self.run_scatter_into(into, scatter, shards, effect, invocation);
        let complete = ran.await?;
        if CommandComplete::parse(&complete[5..])?.rows() != Some(listed.values) {
            self.out.truncate(before);
            return Ok(false);
        }
        self.let_go(&mut reply, held).await?;
        self.reply_complete(reply, &complete).await?;
        Ok(true)
    }

    /// `None`: a value has no entry, or rows may be on every shard.
    pub(super) async fn rows_by_list(
        &mut self,
        list: &EntryList,
        invocation: &Invocation<'_>,
    ) -> Result<Option<ListedRows>, Fault> {
        let entries = entry::listed(list, invocation.arguments(), self.encoding());
        let Some(entries) = entries.filter(|all| !all.is_empty() && all.len() <= MOST_VALUES)
        else {
            return Ok(None);
        };
        let values = entries.len() as u64;
        let look_up = format!(
            "SELECT r.bucket FROM pg_catalog.unnest($1) v, oskol.route_{}(v) r (bucket) WHERE r.bucket IS NOT NULL",
            list.number
        );
        let buckets = self.read_entries(&look_up, list.key_type, entries).await?;
        if buckets.len() as u64 != values {
            return Ok(None);
        }
        let buckets = buckets.into_iter().flatten();
        let map = &self.space.state.map;
        let mut shards: Vec<ShardId> = buckets.map(|one| map.shard(one)).collect();
        shards.sort_unstable();
        shards.dedup();
        let is_less = shards.len() < map.shards().len();
        Ok(is_less.then_some(ListedRows { shards, values }))
    }

    /// The buckets that `look_up` gives for the entries' values, an array of the key's widest type as `$1`, on the shards of
    /// the entries.
    pub(super) async fn read_entries(
        &mut self,
        look_up: &str,
        key_type: KeyType,
        entries: Vec<EntryOf>,
    ) -> Result<Vec<Option<BucketId>>, Fault> {
        let mut by_shard: BTreeMap<ShardId, Vec<EntryOf>> = BTreeMap::new();
        for entry in entries {
            let shard = self.space.state.map.shard(entry.bucket);
            by_shard.entry(shard).or_default().push(entry);
        }
        let types = [array_of(widest(key_type))];
        let identity = self.identity(look_up, &types);
        let mut asked = smallvec::SmallVec::<[super::asking::Asked; 8]>::new();
        for (shard, entries) in &by_shard {
            let array = array_text(entries);
            let request = Request {
                identity: &identity,
                named: true,
                parameters: &[(wire::Format::Text, Some(array.as_slice()))],
                types: &types,
                result_formats: &[],
            };
            let one = self
                .ask_request(&[*shard], &request, Effect::default())
                .await;
            let one = self.unless_called_off(&mut asked, one).await?;
            asked.extend(one);
        }
        let mut buckets = Vec::new();
        for position in 0..asked.len() {
            let read = self.buckets_of(&mut asked, position, &mut buckets).await;
            self.unless_called_off(&mut asked, read).await?;
        }
        Ok(buckets)
    }

    async fn buckets_of(
        &mut self,
        asked: &mut [super::asking::Asked],
        position: usize,
        into: &mut Vec<Option<BucketId>>,
    ) -> Result<(), Fault> {
        while let Some(message) = self.next_message(asked, position).await? {
            if message.tag == tag::DATA_ROW {
                let row = DataRow::parse(message.body())?;
                let text = row.nth(0).flatten().map(String::from_utf8_lossy);
                into.push(text.and_then(|text| text.parse().ok()).map(BucketId));
            }
        }
        Ok(())
    }
}

/// PostgreSQL's text form of an array.
fn array_text(entries: &[EntryOf]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (number, value) in entries.iter().flat_map(|entry| &entry.values).enumerate() {
        if number > 0 {
            out.push(b',');
        }
        out.push(b'"');
        for byte in value {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.push(b'"');
    }
    out.push(b'}');
    out
}

/// The oid of the array type.
fn array_of(element: u32) -> u32 {
    super::arrays::built_in(element).unwrap_or(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_one_element_of_an_array() {
        let entry = |text: &str| EntryOf {
            bucket: BucketId(0),
            values: vec![text.as_bytes().to_vec()],
        };
        let array = array_text(&[entry("a,b"), entry("{\"\\"), entry("")]);
        assert_eq!(array, br#"{"a,b","{\"\\",""}"#);
    }
}
