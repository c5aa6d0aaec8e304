//! Foreign keys whose rows are on different shards: what the shards have noted of them (`schema/sql/references.sql`)
//! is looked into on the other shards, in the same transaction, at the moment at which PostgreSQL would do it.
//!
//! Owns the order: one key after another as their constraints were made, which is the order in which PostgreSQL's
//! triggers fire; what an action changes is looked into after that, as their queue has it.

mod children;
mod newer;
mod notes;
mod parents;
mod validation;

use std::collections::VecDeque;

use super::super::fault::Fault;
use super::super::state::Session;
use super::super::transaction::LogEntry;
use crate::settings::quote_literal;
use notes::{Group, Kind};

const ALL_IMMEDIATE: &str = "SET CONSTRAINTS ALL IMMEDIATE";

impl Session {
    /// Enters and looks into all that the transaction has noted and that is due.
    ///
    /// # Errors
    /// A constraint is violated: PostgreSQL's own error, in the words of the user's constraint.
    pub(super) async fn settle(&mut self) -> Result<(), Fault> {
        let (has_entries, has_keys, deferrable) = self.kept_constraints();
        let defers_entries = self.current_space().snapshot().defers_entries;
        self.transaction.owes |= deferrable || defers_entries;
        if defers_entries {
            self.net_changes().await?;
        }
        if has_entries {
            self.enter_changes().await?;
        }
        if !has_keys {
            return Ok(());
        }
        let mut pending = VecDeque::new();
        loop {
            let (groups, mut whole) = self.take_key_changes().await?;
            pending.extend(groups);
            while let Some(group) = pending.pop_front() {
                if self.settle_group(&group).await? {
                    if has_entries {
                        self.enter_changes().await?;
                    }
                    // Behind what is there, as PostgreSQL queues the triggers of what an action changes.
                    let (groups, rest) = self.take_key_changes().await?;
                    pending.extend(groups);
                    whole &= rest;
                }
            }
            if whole {
                return Ok(());
            }
        }
    }

    /// Before COMMIT: what was deferred is due.
    ///
    /// # Errors
    /// As [`Self::settle`].
    pub(super) async fn settle_deferred(&mut self) -> Result<(), Fault> {
        let joined = self.begun_branches();
        self.run_at_once(&joined, ALL_IMMEDIATE)
            .await
            .into_result()?;
        // On shards that join only now, too.
        let entry = LogEntry::Statement(ALL_IMMEDIATE.to_owned());
        self.transaction.log.push(entry);
        self.settle().await
    }

    pub(super) fn begun_branches(&self) -> Vec<usize> {
        let branches = self.transaction.branches.iter().enumerate();
        branches
            .filter(|(_, branch)| branch.begun && !branch.apart)
            .map(|(index, _)| index)
            .collect()
    }

    /// Whether there are entries, foreign keys over shards, and deferrable ones among those.
    fn kept_constraints(&self) -> (bool, bool, bool) {
        let snapshot = self.current_space().snapshot();
        let keys = &snapshot.kept_keys;
        let deferrable = keys.values().any(|key| key.deferrable);
        (snapshot.has_entries, !keys.is_empty(), deferrable)
    }

    /// True: rows were changed.
    async fn settle_group(&mut self, group: &Group) -> Result<bool, Fault> {
        let keys = &self.current_space().snapshot().kept_keys;
        // DDL in the same transaction may have dropped it.
        let Some(key) = keys.get(&group.number).cloned() else {
            return Ok(false);
        };
        let action = match group.kind {
            Kind::Child => {
                self.check_parents(&key, group).await?;
                return Ok(false);
            }
            Kind::Deleted => key.on_delete,
            Kind::Updated => key.on_update,
        };
        let acted = action.changes_children() && self.act(&key, group).await?;
        if !action.changes_children() || action == schema::KeyAction::SetDefault {
            self.check_children(&key, action, group).await?;
        }
        Ok(acted)
    }

    /// PostgreSQL's error of a violated foreign key, which the shard puts into words and raises.
    async fn violated(&mut self, function: &str, number: u32, values: &str) -> Fault {
        let home = self.home();
        let values = quote_literal(values);
        let sql = format!("SELECT oskol.{function}({number}, {values})");
        let raised = match self.join(home).await {
            Ok(index) => self.run_quietly(index, &sql).await,
            Err(fault) => Err(fault),
        };
        match raised {
            Err(fault) => super::calls::without_context(fault),
            Ok(_) => crate::error::RouterError::new("23503", "a foreign key is violated").into(),
        }
    }
}

/// Values as one JSON array.
fn json_list<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let values: Vec<&str> = values.collect();
    format!("[{}]", values.join(","))
}

/// Positions that a shard's function has told, first column.
fn positions(rows: &super::Rows) -> impl Iterator<Item = usize> + '_ {
    rows.iter()
        .filter_map(|row| row.first()?.as_deref()?.parse().ok())
}
