//! A foreign key that rows were there before: each of them is looked at once, while triggers look at new ones.

use schema::KeptKey;
use topology::{BucketId, ShardId};

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::notes::Note;
use crate::plan::Validation;

/// Keys that are looked at at a time.
const BATCH: usize = 5_000;

/// After so many the log tells how far it is.
const TOLD: usize = 20 * BATCH;

impl Session {
    /// Looks at the rows of foreign keys that were added, or that the client wants validated. `before`: numbers of
    /// those that were there before the statement. Gives what every shard was told of them.
    ///
    /// # Errors
    /// A row refers to none.
    pub(in crate::session::execute) async fn validate(
        &mut self,
        validation: &Validation,
        before: &[u32],
    ) -> Result<Vec<String>, Fault> {
        let keys = self.current_space().snapshot().kept_keys.values();
        let wanted: Vec<KeptKey> = keys
            .filter(|key| key.child == validation.table)
            .filter(|key| {
                let is_new = validation.added && !before.contains(&key.number);
                validation.named.contains(&key.name)
                    || is_new && !validation.left.contains(&key.name)
            })
            .cloned()
            .collect();
        let mut said = Vec::new();
        for key in wanted {
            self.validate_key(&key).await?;
            let valid = format!("SELECT oskol.key_is_valid({})", key.number);
            self.join_every_shard().await?;
            let all = self.begun_branches();
            self.run_at_once(&all, &valid).await.into_result()?;
            said.push(valid);
        }
        Ok(said)
    }

    async fn validate_key(&mut self, key: &KeptKey) -> Result<(), Fault> {
        for shard in self.space.state.map.shards().to_vec() {
            let index = self.join(shard).await?;
            let open = format!(
                "DECLARE oskol_keys NO SCROLL CURSOR FOR SELECT k.keys, oskol.parent_bucket_{0}(k.keys::json) \
                 FROM oskol.child_keys_{0}() AS k (keys)",
                key.number
            );
            self.run_quietly(index, &open).await?;
            let mut looked_at = 0;
            while self.validate_batch(key, shard).await? == BATCH {
                looked_at += BATCH;
                if looked_at % TOLD == 0 {
                    tracing::info!(%shard, looked_at, key = key.name, "a foreign key is being validated");
                }
            }
            self.run_quietly(index, "CLOSE oskol_keys").await?;
        }
        Ok(())
    }

    /// Gives the number of keys looked at.
    async fn validate_batch(&mut self, key: &KeptKey, shard: ShardId) -> Result<usize, Fault> {
        let index = self.join(shard).await?;
        let fetch = format!("FETCH {BATCH} FROM oskol_keys");
        let rows = self.run_quietly(index, &fetch).await?;
        let notes: Vec<Note> = rows
            .iter()
            .filter_map(|row| {
                let bucket = row.get(1)?.as_ref().and_then(|bucket| bucket.parse().ok());
                Some(Note {
                    bucket: bucket.map(BucketId),
                    old: row.first()?.clone()?,
                    new: String::new(),
                })
            })
            .collect();
        let missing = self.missing_parents(key, &notes).await?;
        match missing.first().and_then(|at| notes.get(*at)) {
            Some(note) => Err(self.violated("raise_missing", key.number, &note.old).await),
            None => Ok(notes.len()),
        }
    }
}
