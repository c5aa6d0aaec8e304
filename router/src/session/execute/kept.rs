//! Queries that the router runs for itself: their rows are kept, none goes to the client.

use std::rc::Rc;

use super::super::fault::Fault;
use super::super::planning::OneShard;
use super::super::state::Session;
use super::Invocation;
use super::reply::Remainder;
use crate::merge::Merge;
use crate::plan::{Action, Effect, EntryRoutes, Plan, Scatter};

impl Session {
    /// Runs a query wherever its plan has it run. `query` must take no rows now: `max_rows` is zero. `None`: the
    /// statement is no query.
    pub(super) async fn run_kept(
        &mut self,
        plan: &Rc<Plan>,
        query: &Invocation<'_>,
    ) -> Result<Option<Box<Remainder>>, Fault> {
        self.remainder = None;
        if let OneShard::Shard(shard) = self.one_shard(plan, query.arguments()) {
            let scatter = whole_of_one_shard(plan.effect);
            self.scatter(&scatter, &[shard], plan.effect, query).await?;
            return Ok(self.remainder.take());
        }
        match &plan.action {
            Action::Scatter(_) | Action::Split(_) | Action::ByKey(_) | Action::Gather(_) => {
                Box::pin(self.execute(plan, query, false)).await?;
                Ok(self.remainder.take())
            }
            Action::Refuse(error) => Err(error.clone().into()),
            _ => Ok(None),
        }
    }
}

/// The statement as it is on one shard.
pub(super) fn whole_of_one_shard(effect: Effect) -> Scatter {
    let merge = match effect.writes && !effect.returns_rows {
        true => Merge::CountOnly,
        false => Merge::Concatenate {
            limit: None,
            offset: None,
        },
    };
    Scatter {
        text: None,
        merge,
        why: String::new(),
        routes: EntryRoutes::default(),
    }
}
