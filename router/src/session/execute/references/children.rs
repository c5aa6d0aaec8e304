//! Parents that are gone, or have another key: their children are looked for, or changed, where they are.

use std::collections::BTreeSet;

use schema::{ChildAt, KeptKey, KeyAction};
use topology::ShardId;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::calls::Call;
use super::notes::{Group, Kind, Note};
use super::parents::ByShard;
use super::{json_list, positions};
use crate::error::RouterError;
use crate::plan::Effect;

impl Session {
    /// CASCADE, SET NULL or SET DEFAULT. True: there were children.
    pub(super) async fn act(&mut self, key: &KeptKey, group: &Group) -> Result<bool, Fault> {
        let everywhere = key.child_at == ChildAt::Every;
        let places = self.children_at(key, &group.notes, everywhere);
        let lists: Vec<(ShardId, String, String)> = places
            .into_iter()
            .map(|(shard, list)| {
                let olds = json_list(list.iter().map(|at| group.notes[*at].old.as_str()));
                let news = json_list(list.iter().map(|at| group.notes[*at].new.as_str()));
                (shard, olds, news)
            })
            .collect();
        let kind = match group.kind {
            Kind::Updated => "u",
            Kind::Deleted | Kind::Child => "d",
        };
        let calls: Vec<Call<'_>> = lists
            .iter()
            .map(|(shard, olds, news)| Call {
                shard: *shard,
                arguments: vec![kind, olds, news],
            })
            .collect();
        let sql = format!(
            "SELECT oskol.act_{}($1, $2, $3::json, $4::json)",
            key.number
        );
        for (shard, _, _) in &lists {
            let index = self.join(*shard).await?;
            self.must_tell_collects(index);
        }
        let rows = self.call(&sql, &calls).await?;
        for (shard, olds, _) in &lists {
            if self.has_newer(key, *shard, olds).await? {
                let text = "could not serialize access due to concurrent update";
                return Err(RouterError::new("40001", text).into());
            }
        }
        let mut acted = false;
        for (rows, call) in rows.iter().zip(&calls) {
            if positions(rows).any(|count| count > 0) {
                acted = true;
                self.note_write(call.shard);
            }
        }
        Ok(acted)
    }

    /// NO ACTION and RESTRICT.
    ///
    /// # Errors
    /// There are children.
    pub(super) async fn check_children(
        &mut self,
        key: &KeptKey,
        action: KeyAction,
        group: &Group,
    ) -> Result<(), Fault> {
        let referenced = self.referenced(key, &group.notes).await?;
        if referenced.is_empty() {
            return Ok(());
        }
        let referenced: Vec<Note> = referenced
            .into_iter()
            .map(|at| group.notes[at].clone())
            .collect();
        // Another row may have the key by now, which RESTRICT does not care for.
        let gone = match action {
            KeyAction::NoAction => self.missing_anywhere(key, &referenced).await?,
            _ => vec![0],
        };
        match gone.first().and_then(|at| referenced.get(*at)) {
            Some(note) => Err(self
                .violated("raise_referenced", key.number, &note.old)
                .await),
            None => Ok(()),
        }
    }

    /// Positions of keys that children refer to.
    async fn referenced(
        &mut self,
        key: &KeptKey,
        notes: &[Note],
    ) -> Result<BTreeSet<usize>, Fault> {
        let places = self.children_at(key, notes, false);
        let lists: Vec<(ShardId, Vec<usize>, String)> = places
            .into_iter()
            .map(|(shard, list)| {
                let keys = json_list(list.iter().map(|at| notes[*at].old.as_str()));
                (shard, list, keys)
            })
            .collect();
        let calls: Vec<Call<'_>> = lists
            .iter()
            .map(|(shard, _, keys)| Call {
                shard: *shard,
                arguments: vec![keys.as_str()],
            })
            .collect();
        let sql = format!("SELECT * FROM oskol.children_{}($1, $2::json)", key.number);
        let rows = self.call(&sql, &calls).await?;
        let told = rows.iter().zip(&lists).flat_map(|(rows, (_, list, _))| {
            positions(rows).filter_map(|at| list.get(at).copied())
        });
        let mut told: BTreeSet<usize> = told.collect();
        if told.is_empty() {
            for (shard, list, keys) in &lists {
                if self.has_newer(key, *shard, keys).await? {
                    told.extend(list.first());
                }
            }
        }
        Ok(told)
    }

    /// Where the children of each parent are, or one copy of them.
    fn children_at(&self, key: &KeptKey, notes: &[Note], everywhere: bool) -> ByShard {
        let all = || (0..notes.len()).collect::<Vec<usize>>();
        match key.child_at {
            ChildAt::Bucket => {
                let buckets = notes.iter().map(|note| note.bucket);
                self.by_bucket(buckets.enumerate())
            }
            ChildAt::Every if !everywhere => [(self.home(), all())].into(),
            ChildAt::Home => [(self.home(), all())].into(),
            ChildAt::All | ChildAt::Every => {
                let shards = self.space.state.map.shards().iter();
                shards.map(|shard| (*shard, all())).collect()
            }
        }
    }

    fn note_write(&mut self, shard: ShardId) {
        if let Some(index) = self.transaction.find(shard) {
            let effect = Effect {
                writes: true,
                ..Effect::default()
            };
            self.note_effect(index, effect);
        }
    }
}
