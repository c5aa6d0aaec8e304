//! The entries of a routing index are read on the shards of its values, and name the shards that the statement runs on.
//!
//! Unlike the entry of a unique key they are no hint: no other shard is asked. They are written in the transaction of their row
//! and read in that of the statement, so the answer is what all shards would give: in READ COMMITTED each shard's part is
//! of its own moment, above that all are of one. Buckets do not move meanwhile, as a statement under way holds a move up
//! (`session/hold.rs`).

use topology::ShardId;

use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::by_listed::MOST_VALUES;
use crate::plan::by_entry::EntryList;
use crate::route::entry;

/// So many rows are on all shards, or nearly: their entries are not read to the end.
const MOST_ROWS: usize = 1_000;

impl Session {
    /// The shards that have rows with one of the values; one, where there are none. All, where the entries do not say it.
    pub(super) async fn routed_shards(
        &mut self,
        routed: &EntryList,
        invocation: &Invocation<'_>,
    ) -> Result<Vec<ShardId>, Fault> {
        let all = self.space.state.map.shards().to_vec();
        let entries = entry::listed(routed, invocation.arguments(), self.encoding());
        let Some(entries) = entries.filter(|entries| entries.len() <= MOST_VALUES) else {
            return Ok(all);
        };
        let Some(first) = entries.first() else {
            return Ok(all);
        };
        let own = self.space.state.map.shard(first.bucket);
        let look_up = format!(
            "SELECT * FROM oskol.routed_{}($1, {MOST_ROWS})",
            routed.number
        );
        let buckets = self
            .read_entries(&look_up, routed.key_type, entries)
            .await?;
        let Some(buckets) = buckets.into_iter().collect::<Option<Vec<_>>>() else {
            return Ok(all);
        };
        let map = &self.space.state.map;
        let mut shards: Vec<ShardId> = buckets.into_iter().map(|one| map.shard(one)).collect();
        shards.sort_unstable();
        shards.dedup();
        if shards.is_empty() {
            shards.push(own);
        }
        Ok(shards)
    }
}
