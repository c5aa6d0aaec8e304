//! Statements whose rows are pulled from shards first and finished over them.
//!
//! Owns the order of the steps: the home shard describes the client's own text, the pulls are read, the
//! finishing statement is run over what they gave. Takes a [`Gather`] and what the client has bound; writes
//! the reply. Must never know SQL: the texts are the planner's.

mod arrays;
mod clock;
mod element;
mod explained;
mod finish;
mod load;
mod locked;
mod original;
mod position;
mod pull;
mod scratch;
mod values;

use std::rc::Rc;

use super::super::fault::Fault;
use super::super::lease::cancelled;
use super::super::state::Session;
use super::super::transaction::State;
use super::Invocation;
use crate::plan::Effect;
use crate::plan::gather::{Finish, Gather};
pub(in crate::session) use element::Element;
pub(in crate::session) use original::Original;
pub(in crate::session::execute) use position::without_position;
use pull::Pulled;
pub(in crate::session::execute) use pull::text_formats;
use values::Work;

impl Session {
    /// Runs a gather and writes its whole reply but for ReadyForQuery.
    pub(super) async fn gather(
        &mut self,
        gather: &Gather,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if let Finish::Locked { home, locks } = &gather.place {
            let locks = (locks, *home);
            return Box::pin(self.gather_locked(gather, locks, effect, invocation)).await;
        }
        let cancels_before = self.shared.cancels.get();
        let original = self.original_description(invocation).await?;
        if effect.writes {
            self.open_around();
        }
        let mut gather = gather;
        loop {
            let mut work = Work::new(gather, effect, invocation, Rc::clone(&original))?;
            work.cancels_before = cancels_before;
            let outcome = self.pull_and_finish(&mut work).await;
            let outcome = self.leave_scratch(&mut work.scratch, outcome).await;
            match outcome.map_err(without_position)? {
                Outcome::Done => return Ok(()),
                Outcome::TooMany(otherwise) => gather = otherwise,
            }
        }
    }

    async fn pull_and_finish<'a>(&mut self, work: &mut Work<'a>) -> Result<Outcome<'a>, Fault> {
        self.read_clock(work).await?;
        if let Some(otherwise) = self.pull_those(work, false).await? {
            return Ok(Outcome::TooMany(otherwise));
        }
        if work.scratch.is_some() && self.transaction.state != State::Idle {
            // What the transaction has written its own connections see, not the scratch connection.
            self.pull_those(work, true).await?;
        }
        match &work.gather.place {
            Finish::Apart { home } | Finish::Locked { home, .. } => {
                self.finish_apart(work, *home).await?;
            }
            Finish::Shards { source, merge, .. } => {
                self.finish_on_shards(work, source, merge).await?;
            }
            Finish::Mirrored(mirror) => self.finish_mirrored(work, mirror).await?,
        }
        Ok(Outcome::Done)
    }

    /// The pulls whose rows may stay where they are, or all others. Gives the plan to be followed instead,
    /// where one has too many rows for this one.
    async fn pull_those<'a>(
        &mut self,
        work: &mut Work<'a>,
        may_stay: bool,
    ) -> Result<Option<&'a Gather>, Fault> {
        for position in 0..work.gather.pulls.len() {
            if work.may_stay(position) != may_stay {
                continue;
            }
            match self.pull(work, position).await? {
                Pulled::Input(input) => work.inputs[position] = input,
                Pulled::TooMany(otherwise) => return Ok(Some(otherwise)),
            }
            // Between two steps no shard hears of it.
            if self.shared.cancels.get() != work.cancels_before {
                return Err(cancelled().into());
            }
        }
        Ok(None)
    }
}

/// How a gather has ended.
enum Outcome<'a> {
    Done,
    /// This plan is to be followed instead.
    TooMany(&'a Gather),
}
