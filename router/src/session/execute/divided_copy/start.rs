//! The start of a COPY FROM STDIN that the router divides: every shard is asked, then the client.

use std::collections::VecDeque;
use std::rc::Rc;

use topology::ShardId;
use wire::Format;
use wire::backend::{self, tag};
use wire::frontend::write;

use super::super::super::collecting::queue_collect;
use super::super::super::copy::CopyIn;
use super::super::super::fault::Fault;
use super::super::super::lease::queue_begin;
use super::super::super::slots::Slots;
use super::super::super::state::Session;
use super::super::Invocation;
use super::{DividedCopy, out_of_turn};
use crate::error::RouterError;
use crate::plan::{Action, Copy, CopyFormat, CopyFrom, Plan};
use crate::route::copy::CopySplitter;

impl Session {
    /// Starts the COPY on every shard and asks the client for its data.
    pub(in crate::session) async fn start_divided_copy(
        &mut self,
        copy: &CopyFrom,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
        let simple = matches!(invocation, Invocation::Simple { .. });
        if simple && in_string {
            return Err(copy_in_string().into());
        }
        self.open_around();
        let all = match copy.home {
            true => vec![self.home()],
            false => self.space.state.map.shards().to_vec(),
        };
        let branches = self.join_all(&all).await?;
        if plan.effect.changes_entries {
            self.begin_collecting();
        }
        let mut shards = Vec::with_capacity(all.len());
        for (shard, index) in all.into_iter().zip(branches) {
            self.note_effect(index, plan.effect);
            shards.push((shard, index));
        }
        let started = self.start_on(&shards, &copy.text).await;
        self.end_collecting();
        started?;
        let limit = self.worker.config.listen.max_message_bytes;
        let splitter = match &plan.action {
            Action::Copy(Copy::FromBroadcast(_)) => CopySplitter::undivided(copy, limit),
            _ => CopySplitter::new(copy, limit),
        };
        let outs = vec![Vec::new(); shards.len()];
        let divided = DividedCopy {
            plan: Rc::clone(plan),
            splitter,
            shards,
            ids: vec![VecDeque::new(); copy.append_ids.len()],
            last_ids: vec![None; copy.append_ids.len()],
            outs,
            simple,
        };
        self.copy = Some(CopyIn::Divided(Box::new(divided)));
        let format = match copy.options.format {
            CopyFormat::Binary => Format::Binary,
            CopyFormat::Text | CopyFormat::Csv => Format::Text,
        };
        let columns = copy.columns.iter().map(|_| format);
        backend::write::copy_in_response(&mut self.out, format, columns);
        self.flush().await
    }

    /// Sends the statement to all shards, then waits until each wants data.
    async fn start_on(&mut self, shards: &[(ShardId, usize)], text: &str) -> Result<(), Fault> {
        for &(_, index) in shards {
            let branch = &mut self.transaction.branches[index];
            let mut slots = Slots::new();
            if !branch.begun {
                queue_begin(branch, &mut slots);
            }
            if branch.must_be_told {
                let token = self.space.state.token_of(branch.server.shard);
                queue_collect(branch, &token, self.transaction.collects, &mut slots);
            }
            // Until its ReadyForQuery: whoever leaves meanwhile leaves it out of step.
            branch.unsynced = true;
            branch.server.prepared.unnamed = None;
            write::query(&mut branch.server.outbuf, text.as_bytes());
        }
        let mut first = Ok(());
        let mut started = Vec::new();
        for &(shard, index) in shards {
            match self.wait_for_copy(index).await {
                Ok(()) => started.push((shard, index)),
                Err(fault @ Fault::ClientGone(_)) => return Err(fault),
                Err(fault) => first = first.and(Err(fault)),
            }
        }
        if first.is_err() {
            self.abort_copy(&started).await;
        }
        first
    }

    /// Reads up to CopyInResponse.
    async fn wait_for_copy(&mut self, index: usize) -> Result<(), Fault> {
        let mut refusal = None;
        loop {
            let message = self.copy_message_of(index).await?;
            match message.tag {
                tag::COPY_IN_RESPONSE => return Ok(()),
                tag::ERROR_RESPONSE => refusal = refusal.or(Some(message.bytes)),
                tag::NOTICE_RESPONSE => self.out.extend_from_slice(&message.bytes),
                tag::READY_FOR_QUERY => {
                    self.transaction.branches[index].unsynced = false;
                    return Err(refusal.map_or_else(|| out_of_turn().into(), Fault::Shard));
                }
                // Replies to a BEGIN that went ahead.
                _ => {}
            }
        }
    }
}

fn copy_in_string() -> RouterError {
    RouterError::unsupported(
        "copy-in-string",
        "COPY FROM STDIN in a string of several statements is not supported",
    )
    .detail("The rows of this COPY go to several shards.")
    .hint("Send COPY as a statement of its own.")
}
