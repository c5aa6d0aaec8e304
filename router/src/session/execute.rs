//! Statements that are more than "send it on to one shard": a dispatcher over the plan.

mod arguments;
mod by_key;
mod described;
mod filling;
mod session_command;
mod sql_prepared;
mod transaction_control;
mod two_phase;

use std::rc::Rc;

use super::fault::Fault;
use super::state::Session;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::{Action, Fallback, Plan};
pub(super) use by_key::client_parameters;

/// How the client has sent the statement.
pub enum Invocation<'a> {
    /// Rows are described before they come.
    Simple { text: &'a str },
    /// Rows are not described here: the client has asked, or has not.
    Extended {
        identity: &'a Rc<StatementIdentity>,
        bind: &'a wire::frontend::Bind<'a>,
        /// 0 or less: all.
        max_rows: i32,
    },
}

impl Invocation<'_> {
    pub fn text(&self) -> &str {
        match self {
            Self::Simple { text } => text,
            Self::Extended { identity, .. } => &identity.text,
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
        let _ = in_string;
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
            _ => Err(RouterError::unsupported("not-built", "not built yet").into()),
        }
    }
}

/// Rows that were read ahead for a portal that is fetched in parts.
#[derive(Debug)]
pub struct Remainder {
    /// Whole DataRow messages.
    pub rows: std::collections::VecDeque<bytes::Bytes>,
    /// Whole CommandComplete message.
    pub complete: bytes::Bytes,
}

/// A COPY FROM STDIN that the router divides by key.
#[derive(Debug)]
pub struct DividedCopy {}

impl Session {
    pub(super) async fn copy_divided(
        &mut self,
        _copy: Box<DividedCopy>,
        _tag: u8,
        _message: &[u8],
    ) -> Result<(), Fault> {
        Err(RouterError::unsupported("not-built", "not built yet").into())
    }

    /// The next rows of a portal that was fetched in part.
    pub(super) fn more_rows(&mut self, mut rest: Remainder, max_rows: i32) -> Option<Remainder> {
        let wanted = usize::try_from(max_rows)
            .ok()
            .filter(|n| *n > 0)
            .unwrap_or(usize::MAX);
        for row in rest.rows.drain(..wanted.min(rest.rows.len())) {
            self.out.extend_from_slice(&row);
        }
        if rest.rows.is_empty() && max_rows <= 0 {
            self.out.extend_from_slice(&rest.complete);
            return None;
        }
        wire::backend::write::portal_suspended(&mut self.out);
        Some(rest)
    }
}

impl Session {
    pub(super) async fn reload_private_catalog(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
