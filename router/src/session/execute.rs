//! Statements that are more than "send it on to one shard": a dispatcher over the plan.

mod arguments;
mod arrays;
mod asking;
mod at_once;
mod broadcast;
mod by_entry;
mod by_key;
mod by_listed;
mod by_routing_index;
mod calls;
mod cluster_change;
mod copy_out;
mod copy_query;
mod cursor;
mod ddl;
mod described;
mod divided_copy;
mod entries;
mod explain;
mod filling;
mod gather;
mod in_turn;
mod insert_rows;
mod kept;
mod mirror;
mod parts;
mod placing;
mod private_catalog;
mod references;
mod reply;
mod routing_index;
mod scatter;
mod sequence_values;
mod session_command;
mod shares;
mod split_insert;
mod split_unnest;
mod sql_prepared;
mod temporary;
mod transaction_control;
mod two_phase;
mod upsert;

use std::rc::Rc;

pub(super) use at_once::Rows;
pub(super) use described::tells_its_mistakes;
pub(super) use divided_copy::DividedCopy;
pub(super) use gather::{Element, Original};
pub(super) use parts::PartRows;
pub(super) use reply::Remainder;
pub(super) use two_phase::commit_unknown;

use super::fault::Fault;
use super::state::Session;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::{Action, ClusterCommand, Copy, Fallback, Plan, Split};
pub(super) use by_key::client_parameters;

/// How the client has sent the statement.
pub enum Invocation<'a> {
    /// Rows are described before they come.
    Simple { text: &'a str },
    /// Rows are not described here: the client has asked, or has not.
    Extended {
        identity: &'a Rc<StatementIdentity>,
        bind: &'a wire::frontend::Bind<'a>,
        /// Rows that the client takes now; `None`: all.
        max_rows: Option<usize>,
    },
}

impl Invocation<'_> {
    pub fn text(&self) -> &str {
        match self {
            Self::Simple { text } => text,
            Self::Extended { identity, .. } => &identity.text,
        }
    }

    /// The client's Bind message.
    pub fn bind(&self) -> Option<&wire::frontend::Bind<'_>> {
        match self {
            Self::Simple { .. } => None,
            Self::Extended { bind, .. } => Some(bind),
        }
    }

    pub fn arguments(&self) -> crate::route::Arguments<'_> {
        match self {
            Self::Simple { .. } => crate::route::Arguments::Whole,
            Self::Extended { identity, bind, .. } => crate::route::Arguments::Bound {
                bind,
                types: &identity.types,
            },
        }
    }
}

impl Session {
    /// Runs a statement and writes its whole reply, but for ReadyForQuery, into `out`.
    pub(super) async fn execute(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
        self.read_at_one_moment(plan)?;
        match &plan.action {
            Action::Refuse(error) => Err(error.clone().into()),
            Action::Session(command) => {
                Box::pin(self.session_command(command, plan, invocation)).await
            }
            Action::ByKey(by_key)
                if by_key.rewrite.is_some() || matches!(by_key.fallback, Fallback::Refuse(_)) =>
            {
                Box::pin(self.run_by_key(by_key, plan, invocation)).await
            }
            Action::ByKey(by_key) => Box::pin(self.by_unknown_key(by_key, plan, invocation)).await,
            Action::Split(
                split @ (Split::Keys { scatter, .. } | Split::KeyArray { scatter, .. }),
            ) => Box::pin(self.split_keys(split, scatter, plan, invocation)).await,
            Action::Scatter(scatter) => {
                let effect = plan.effect;
                if let Some(route) = &scatter.routes.entry
                    && Box::pin(self.by_entry(route, scatter, effect, invocation)).await?
                {
                    return Ok(());
                }
                if let Some(list) = &scatter.routes.listed
                    && Box::pin(self.by_listed(list, scatter, effect, invocation)).await?
                {
                    return Ok(());
                }
                let shards = match &scatter.routes.routed {
                    Some(routed) => Box::pin(self.routed_shards(routed, invocation)).await?,
                    None => self.space.state.map.shards().to_vec(),
                };
                Box::pin(self.scatter(scatter, &shards, effect, invocation)).await
            }
            Action::Gather(gather) => Box::pin(self.gather(gather, plan.effect, invocation)).await,
            Action::InsertRows(insert) => {
                Box::pin(self.insert_rows(insert, plan.effect, invocation)).await
            }
            Action::InParts(in_parts) => Box::pin(self.in_parts(in_parts, invocation)).await,
            Action::Broadcast(broadcast) => {
                Box::pin(self.broadcast(broadcast, plan.effect, invocation)).await
            }
            Action::Split(Split::Insert(insert)) => {
                Box::pin(self.run_split_insert(insert, plan, invocation)).await
            }
            Action::Split(Split::Unnest(unnest)) => {
                Box::pin(self.run_split_unnest(unnest, plan, invocation)).await
            }
            Action::Upsert(upsert) => Box::pin(self.upsert(upsert, plan.effect, invocation)).await,
            Action::Ddl(ddl) => Box::pin(self.ddl_command(plan, ddl, invocation, in_string)).await,
            Action::Temporary(_) => Box::pin(self.temporary_command(plan, invocation)).await,
            Action::Explain(explain) => Box::pin(self.explain(explain, plan, invocation)).await,
            Action::Copy(Copy::FromDivided(copy) | Copy::FromBroadcast(copy)) => {
                Box::pin(self.start_divided_copy(copy, plan, invocation, in_string)).await
            }
            Action::Copy(Copy::ToWritten(copy)) => Box::pin(self.copy_query(copy)).await,
            Action::Copy(Copy::ToConcatenated(copy)) => {
                Box::pin(self.copy_out(copy, plan, invocation)).await
            }
            Action::Cluster(ClusterCommand::Route(_)) => {
                Box::pin(self.route_table(plan, invocation, in_string)).await
            }
            Action::Cluster(command) => {
                match Box::pin(self.sequence_command(command, invocation)).await {
                    Some(outcome) => outcome,
                    None => Box::pin(self.place_table(plan, invocation, in_string)).await,
                }
            }
            Action::WithEntries(plan) => {
                Box::pin(self.with_entries(plan, invocation, in_string)).await
            }
            _ => Err(RouterError::unsupported("not-built", "not built yet").into()),
        }
    }
}
