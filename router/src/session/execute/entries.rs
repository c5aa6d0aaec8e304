//! Unique keys that hold over all shards: after a statement, the entries it makes and takes away are read from the
//! shards that have noted them and written on the shards that the values belong to, in the same transaction. Knows
//! the functions of `schema/sql/unique.sql`, and nothing of how a statement was run.

mod tried;
mod violation;

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use bytes::BytesMut;
use topology::{BucketId, ShardId};

use super::super::fault::Fault;
use super::super::planning::OneShard;
use super::super::state::Session;
use super::Invocation;
use super::calls::Call;
use crate::plan::{Effect, Plan};
pub(super) use tried::{Conflict, Entered, one_form, one_form_of};

/// Changes that are read from one shard at a time: the bound of what is held in memory.
const BATCH: usize = 10_000;

/// After so many of one statement the log tells how far it is.
const TOLD: usize = 10 * BATCH;

const TAKE: &str = "SELECT * FROM oskol.take_changes($1, $2, $3, $4)";

const NET: &str = "SELECT oskol.net_changes($1)";

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
        self.begin_collecting();
        let outcome = self.run_and_settle(plan, invocation, in_string).await;
        self.end_collecting();
        outcome
    }

    async fn run_and_settle(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
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
            return self.enter(net(first)).await;
        }
        let (come, gone): (Vec<_>, Vec<_>) = first.into_iter().partition(|change| change.adds);
        self.enter(gone).await?;
        self.enter_rest(&unread, Which::Gone).await?;
        self.enter(come).await?;
        self.enter_rest(&unread, Which::Come).await
    }

    /// Has the branches forget what was made and taken away again.
    pub(super) async fn net_changes(&mut self) -> Result<(), Fault> {
        let shards = self.noting_branches().into_iter();
        let shards = shards.map(|index| self.transaction.branches[index].server.shard);
        let calls: Vec<Call<'_>> = shards
            .map(|shard| Call {
                shard,
                arguments: Vec::new(),
            })
            .collect();
        self.call(NET, &calls).await?;
        Ok(())
    }

    /// Enters the rows of a table whose unique keys begin to be kept.
    ///
    /// # Errors
    /// A value is there twice, as PostgreSQL says it of a unique index that cannot be created.
    pub(super) async fn enter_all_rows(&mut self) -> Result<(), Fault> {
        self.enter_changes().await.map_err(of_new_index)
    }

    /// Makes the entries of rows that were there before a key was kept. Each has its value's bucket and is a JSON array.
    ///
    /// # Errors
    /// As [`Self::enter_all_rows`].
    pub(super) async fn fill_entries(
        &mut self,
        number: u32,
        entries: Vec<(BucketId, String)>,
    ) -> Result<(), Fault> {
        let mut shards: BTreeMap<ShardId, Vec<String>> = BTreeMap::new();
        for (bucket, entry) in entries {
            let shard = self.space.state.map.shard(bucket);
            shards.entry(shard).or_default().push(entry);
        }
        let sql = format!("SELECT oskol.fill_{number}($1, $2::json)");
        for (shard, entries) in shards {
            let index = self.join(shard).await?;
            self.transaction.branches[index].wrote = true;
            let list = format!("[{}]", entries.join(","));
            let arguments = vec![list.as_str()];
            let filled = self.call(&sql, &[Call { shard, arguments }]).await;
            filled.map_err(|fault| of_new_index(self.in_users_words(fault)))?;
        }
        Ok(())
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
            let (mut after, mut entered) = (0, 0);
            loop {
                let changes = self.take_changes(index, which, after).await?;
                let Some(last) = changes.last() else { break };
                after = last.sequence;
                entered += changes.len();
                self.enter(changes).await?;
                if entered % TOLD == 0 {
                    let shard = self.transaction.branches[index].server.shard;
                    tracing::info!(%shard, entered, ?which, "entries of many rows are written");
                }
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
            self.transaction.branches[index].wrote = true;
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

pub(super) fn writes() -> Effect {
    Effect {
        writes: true,
        ..Effect::default()
    }
}

fn of_new_index(fault: Fault) -> Fault {
    match fault {
        Fault::Shard(message) => Fault::Shard(violation::of_new_index(message)),
        other => other,
    }
}

/// Without what was made and taken away again, by a function's statements one after another.
fn net(changes: Vec<Change>) -> Vec<Change> {
    if changes.iter().all(|change| change.adds) {
        return changes;
    }
    let mut sums: HashMap<(u32, String), i32> = HashMap::new();
    for change in &changes {
        let sum = sums.entry((change.number, change.entry.clone()));
        *sum.or_default() += if change.adds { 1 } else { -1 };
    }
    // An entry is there once or not at all, so what is left of it is one step.
    let mut changes = changes;
    changes.retain(|change| {
        let sum = sums.get_mut(&(change.number, change.entry.clone()));
        sum.is_none_or(|sum| {
            let stays = if change.adds { *sum > 0 } else { *sum < 0 };
            if stays {
                *sum -= if change.adds { 1 } else { -1 };
            }
            stays
        })
    });
    changes
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
