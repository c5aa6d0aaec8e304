//! Unique keys that hold over all shards: after a statement, the entries it makes and takes away are read from the
//! shards that have noted them and written on the shards that the values belong to, in the same transaction. Knows
//! the functions of `schema/sql/unique.sql`, and nothing of how a statement was run.

mod violation;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use bytes::BytesMut;
use topology::{BucketId, ShardId};

use super::super::fault::Fault;
use super::super::planning::OneShard;
use super::super::state::Session;
use super::Invocation;
use super::at_once::Rows;
use crate::plan::{Effect, Plan};
use crate::settings::quote_literal;

/// Changes that are read from one shard at a time: the bound of what is held in memory.
const BATCH: usize = 10_000;

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
    fn literal(self) -> &'static str {
        match self {
            Self::Both => "NULL",
            Self::Gone => "false",
            Self::Come => "true",
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
        self.enter_changes().await?;
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
    fn noting_branches(&self) -> Vec<usize> {
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
        let which = which.literal();
        let sql = format!("SELECT * FROM oskol.take_changes({which}, {after}, {BATCH})");
        let rows: Rows = self.run_quietly(index, &sql).await?;
        Ok(rows.iter().filter_map(|row| Change::of(row)).collect())
    }

    /// One shard after another, ascending: two statements never wait for one another in a circle.
    async fn enter(&mut self, changes: Vec<Change>) -> Result<(), Fault> {
        for (shard, keys) in self.by_shard(changes) {
            let index = self.join(shard).await?;
            let writes = Effect {
                writes: true,
                ..Effect::default()
            };
            self.note_effect(index, writes);
            let entered = self.run_quietly(index, &statement(&keys)).await;
            if let Err(fault) = entered {
                return Err(self.in_users_words(fault));
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

/// What makes and takes away the entries of one shard.
fn statement(keys: &OnShard) -> String {
    let mut sql = String::new();
    for (number, lists) in keys {
        let [gone, come] = [&lists.gone, &lists.come].map(|list| format!("[{}]", list.join(",")));
        let (gone, come) = (quote_literal(&gone), quote_literal(&come));
        // Writing to a string does not fail.
        let _ = write!(sql, "SELECT oskol.enter_{number}({gone}, {come});");
    }
    sql
}
