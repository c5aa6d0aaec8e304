//! From text to plan, through the caches; from plan to shard.

use std::rc::Rc;

use schema::KeyType;
use topology::ShardId;

use super::fault::Fault;
use super::plans::PlanSpace;
use super::state::Session;
use super::transaction::Source;
use crate::error::RouterError;
use crate::parse::{self, Statement};
use crate::plan::{Action, KeyExpr, Plan, PlanContext, Split};
use crate::route::{self, Arguments, Encoding, Target};

/// Where a plan that needs one shard goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OneShard {
    Shard(ShardId),
    /// The key is not known, or the plan needs several shards.
    No,
}

impl Session {
    /// Makes the plan space that of the newest catalog. One atomic load when nothing has changed.
    pub(super) fn refresh_space(&mut self) {
        if self.transaction.private.is_none() && self.space.state.version != self.database.version()
        {
            self.space = self.worker.space(&self.database, &self.space.search_path);
        }
    }

    pub(super) fn current_space(&self) -> &Rc<PlanSpace> {
        self.transaction.private.as_ref().unwrap_or(&self.space)
    }

    /// Session state that plans may depend on beyond the space; then they are not shared.
    pub(super) fn plans_are_own(&self) -> bool {
        !self.temporaries.is_empty()
    }

    /// The plan of one statement by its whole text.
    pub(super) fn plan_text(&self, text: &str) -> Result<Rc<Plan>, Fault> {
        if !self.plans_are_own()
            && let Some(plan) = self.current_space().by_text(text)
        {
            self.worker.metrics.plan_cache_hits.increment();
            return Ok(plan);
        }
        let mut statements = parse::parse(text)?;
        match statements.len() {
            0 => Ok(Rc::new(empty_plan())),
            1 => {
                let statement = statements.remove(0);
                let plan = self.plan_statement(&statement);
                if !self.plans_are_own() {
                    self.current_space().keep_text(text, &plan);
                }
                Ok(plan)
            }
            _ => Err(RouterError::new(
                "42601",
                "cannot insert multiple commands into a prepared statement",
            )
            .into()),
        }
    }

    /// Plans a parsed statement.
    pub(super) fn plan_statement(&self, statement: &Statement) -> Rc<Plan> {
        self.plan_with(statement, false)
    }

    /// `clock_in_parameters`: of [`PlanContext`].
    pub(super) fn plan_with(&self, statement: &Statement, clock_in_parameters: bool) -> Rc<Plan> {
        self.worker.metrics.plan_cache_misses.increment();
        let space = self.current_space();
        let temporary = |name: &str| self.temporaries.contains(name);
        Rc::new(crate::plan::plan(
            statement,
            &PlanContext {
                snapshot: space.snapshot(),
                search_path: &space.existing_path,
                temporary: &temporary,
                rules: &self.worker.config.tables,
                database: self.database.name(),
                clock_in_parameters,
            },
        ))
    }

    /// The shard of a plan whose statement can be sent on as it is.
    pub(super) fn one_shard(&self, plan: &Plan, arguments: Arguments<'_>) -> OneShard {
        let map = &self.space.state.map;
        match &plan.action {
            Action::Home => OneShard::Shard(map.home()),
            Action::AnyShard => OneShard::Shard(self.any_shard()),
            Action::ByKey(by_key) if by_key.rewrite.is_none() => {
                let encoding = self.encoding();
                match route::target(&by_key.key, by_key.key_type, arguments, &[], encoding, map) {
                    Target::Shard(shard) => OneShard::Shard(shard),
                    Target::Nowhere => OneShard::Shard(self.any_shard()),
                    Target::Unknown => OneShard::No,
                }
            }
            // The shards are to check what is written: see `scatter::guard`.
            Action::Split(split) if plan.effect.writes && split.has_text_for_shards() => {
                OneShard::No
            }
            Action::Split(split) => match self.split_shards(split, arguments).as_deref() {
                Some([]) => OneShard::Shard(self.any_shard()),
                Some([only]) => OneShard::Shard(*only),
                _ => OneShard::No,
            },
            _ => OneShard::No,
        }
    }

    /// The shards of several keys, ascending. `None`: a key is not known, or rows are divided.
    pub(super) fn split_shards(
        &self,
        split: &Split,
        arguments: Arguments<'_>,
    ) -> Option<Vec<ShardId>> {
        let map = &self.space.state.map;
        let encoding = self.encoding();
        match split {
            Split::Insert(_) | Split::Unnest(_) => None,
            Split::Keys { keys, key_type, .. } => self.shards_of_keys(keys, *key_type, arguments),
            Split::KeyArray {
                array, key_type, ..
            } => route::array_targets(array, *key_type, arguments, encoding, map),
        }
    }

    /// Ascending. `None`: a key is not known.
    pub(super) fn shards_of_keys(
        &self,
        keys: &[KeyExpr],
        key_type: KeyType,
        arguments: Arguments<'_>,
    ) -> Option<Vec<ShardId>> {
        let (map, encoding) = (&self.space.state.map, self.encoding());
        let mut shards = Vec::with_capacity(keys.len());
        for key in keys {
            match route::target(key, key_type, arguments, &[], encoding, map) {
                Target::Shard(shard) => shards.push(shard),
                Target::Nowhere => {}
                Target::Unknown => return None,
            }
        }
        shards.sort_unstable();
        shards.dedup();
        Some(shards)
    }

    pub(super) fn encoding(&self) -> Encoding {
        if self.utf8 {
            Encoding::Utf8
        } else {
            Encoding::Other
        }
    }

    /// A shard already in the transaction, else the next in turn.
    pub(super) fn any_shard(&self) -> ShardId {
        match self.transaction.branches.first() {
            Some(branch) => branch.server.shard,
            None if self.transaction.source.get() == Source::Standby => {
                self.any_shard_to_read(self.space.state.map.shards())
            }
            None => self.worker.any_shard(self.space.state.map.shards()),
        }
    }

    pub(super) fn home(&self) -> ShardId {
        self.space.state.map.home()
    }
}

/// Of a string without a statement.
fn empty_plan() -> Plan {
    Plan::new(
        Action::AnyShard,
        crate::plan::Effect::default(),
        "no statement",
    )
}
