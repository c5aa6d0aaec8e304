//! Unique keys that hold over all shards: after a statement, the entries it makes and takes away are read from the
//! shards that have noted them and written on the shards that the values belong to, in the same transaction. Knows
//! the functions of `schema/sql/unique.sql`, and nothing of how a statement was run.

mod tried;
mod violation;

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::BytesMut;
use topology::{BucketId, ShardId};

use super::super::fault::Fault;
use super::super::planning::OneShard;
use super::super::state::Session;
use super::Invocation;
use super::calls::Call;
use crate::plan::{Effect, Plan};
pub(super) use tried::{Conflict, Entered, one_form};

/// Changes that are read from one shard at a time: the bound of what is held in memory.
const BATCH: usize = 10_000;

const TAKE: &str = "SELECT * FROM oskol.take_changes($1, $2, $3, $4)";

/// What is written on one shard: by the key's number, so that every transaction takes locks in the same order.
type OnShard = BTreeMap<u32, Lists>;

/// Entries as JSON arrays of text, the shard key last.
#[derive(Default)]
struct Lists {
    gone: Vec<String>,
    come: Vec<String>,
}

/// One row of `oskol.take_changes`.
struct Change {
    sequence: i64,
    number: u32,
    adds: bool,
    bucket: BucketId,
    entry: String,
}

/// Which changes are read.
#[derive(Debug, Clone, Copy)]
enum Which {
    Both,
    Gone,
    Come,
}

impl Which {
    fn word(self) -> &'static str {
        match self {
            Self::Both => "",
            Self::Gone => "gone",
            Self::Come => "come",
        }
    }
}

impl Session {
    /// Runs a statement as planned, then enters what it has changed. The client is told of its end only
    /// after that: what cannot be entered is the statement's own failure.
    pub(super) async fn with_entries(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
        self.open_around();
        self.held_complete = Some(BytesMut::new());
        let outcome = self.run_planned(plan, invocation, in_string).await;
        let held = self.held_complete.take().unwrap_or_default();
        outcome?;
        let complete = if held.is_empty() {
            self.take_complete()
        } else {
            held
        };
        Box::pin(self.settle()).await?;
        self.out.extend_from_slice(&complete);
        Ok(())
    }

    async fn run_planned(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
        match self.one_shard(plan, invocation.arguments()) {
            OneShard::Shard(shard) => {
                let text = invocation.text();
                self.run_on_one(shard, text, plan.effect, invocation).await
            }
            OneShard::No => self.execute(plan, invocation, in_string).await,
        }
    }

    /// Enters what the branches of the transaction have noted and not entered yet: what goes first, so that a
    /// value may pass from one row to another.
    ///
    /// # Errors
    /// A value is taken: PostgreSQL's unique violation, in the words of the user's own key.
    pub(super) async fn enter_changes(&mut self) -> Result<(), Fault> {
        let (first, unread) = self.take_first().await?;
        if unread.is_empty() {
            return self.enter(first).await;
        }
        let (come, gone): (Vec<_>, Vec<_>) = first.into_iter().partition(|change| change.adds);
        self.enter(gone).await?;
        self.enter_rest(&unread, Which::Gone).await?;
        self.enter(come).await?;
        self.enter_rest(&unread, Which::Come).await
    }

    /// Enters the rows of a table whose unique keys begin to be kept.
    ///
    /// # Errors
    /// A value is there twice, as PostgreSQL says it of a unique index that cannot be created.
    pub(super) async fn enter_all_rows(&mut self) -> Result<(), Fault> {
        self.enter_changes().await.map_err(|fault| match fault {
            Fault::Shard(message) => Fault::Shard(violation::of_new_index(message)),
            other => other,
        })
    }

    /// The first changes of each branch, and the branches that have more.
    async fn take_first(&mut self) -> Result<(Vec<Change>, Vec<usize>), Fault> {
        let (mut first, mut unread) = (Vec::new(), Vec::new());
        for index in self.noting_branches() {
            let changes = self.take_changes(index, Which::Both, 0).await?;
            if changes.len() == BATCH {
                unread.push(index);
            }
            first.extend(changes);
        }
        Ok((first, unread))
    }

    async fn enter_rest(&mut self, branches: &[usize], which: Which) -> Result<(), Fault> {
        for &index in branches {
            let mut after = 0;
            loop {
                let changes = self.take_changes(index, which, after).await?;
                let Some(last) = changes.last() else { break };
                after = last.sequence;
                self.enter(changes).await?;
            }
        }
        Ok(())
    }

    /// Branches that may have noted something, in the order of their shards.
    pub(super) fn noting_branches(&self) -> Vec<usize> {
        let branches = self.transaction.branches.iter().enumerate();
        let mut noting: Vec<(ShardId, usize)> = branches
            .filter(|(_, branch)| branch.wrote && !branch.apart)
            .map(|(index, branch)| (branch.server.shard, index))
            .collect();
        noting.sort_unstable();
        noting.into_iter().map(|(_, index)| index).collect()
    }

    async fn take_changes(
        &mut self,
        index: usize,
        which: Which,
        after: i64,
    ) -> Result<Vec<Change>, Fault> {
        let (after, batch) = (after.to_string(), BATCH.to_string());
        let call = Call {
            shard: self.transaction.branches[index].server.shard,
            arguments: vec![which.word(), &after, &batch],
        };
        let rows = self.call(TAKE, &[call]).await?;
        let rows = rows.iter().flatten();
        Ok(rows.filter_map(|row| Change::of(row)).collect())
    }

    async fn enter(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        let entered = self.enter_as_told(changes).await;
        entered.map_err(|fault| self.in_users_words(fault))
    }

    /// One shard after another, ascending: two statements never wait for one another in a circle. A violation is
    /// told as one of the entries' own index.
    async fn enter_as_told(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        for (shard, keys) in self.by_shard(changes) {
            let index = self.join(shard).await?;
            let writes = Effect {
                writes: true,
                ..Effect::default()
            };
            self.note_effect(index, writes);
            for (number, lists) in &keys {
                let [gone, come] =
                    [&lists.gone, &lists.come].map(|list| format!("[{}]", list.join(",")));
                let sql = format!("SELECT oskol.enter_{number}($1, $2::json, $3::json)");
                let arguments = vec![gone.as_str(), come.as_str()];
                self.call(&sql, &[Call { shard, arguments }]).await?;
            }
        }
        Ok(())
    }

    fn by_shard(&self, changes: Vec<Change>) -> BTreeMap<ShardId, OnShard> {
        let map = &self.space.state.map;
        let mut shards: BTreeMap<ShardId, OnShard> = BTreeMap::new();
        for change in changes {
            let keys = shards.entry(map.shard(change.bucket)).or_default();
            let lists = keys.entry(change.number).or_default();
            let list = if change.adds {
                &mut lists.come
            } else {
                &mut lists.gone
            };
            list.push(change.entry);
        }
        shards
    }

    fn in_users_words(&self, fault: Fault) -> Fault {
        let Fault::Shard(message) = &fault else {
            return fault;
        };
        let snapshot = self.current_space().snapshot();
        violation::in_users_words(message, snapshot).map_or(fault, Fault::Shard)
    }
}

impl Change {
    /// `None` is impossible: the function's own types are these.
    fn of(row: &[Option<String>]) -> Option<Self> {
        let [sequence, number, adds, bucket, entry] = row else {
            return None;
        };
        Some(Self {
            sequence: sequence.as_ref()?.parse().ok()?,
            number: number.as_ref()?.parse().ok()?,
            adds: adds.as_deref()? == "t",
            bucket: BucketId(bucket.as_ref()?.parse().ok()?),
            entry: entry.clone()?,
        })
    }
}
