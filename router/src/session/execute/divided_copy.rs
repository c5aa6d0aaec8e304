//! COPY FROM STDIN over several shards: the client's data is cut into rows as it comes, and each row goes to
//! the shard of its key (to all shards for a reference table), with ids where the data lacks them. All in one
//! global transaction. What has not been sent yet is bounded: the client is not read meanwhile.

mod divider;
mod start;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use futures_util::future::try_join_all;
use topology::ShardId;
use wire::backend::{CommandComplete, tag};
use wire::frontend::{tag as t, write};

use super::super::cleanup::RECOVERY_LIMIT;
use super::super::copy::CopyIn;
use super::super::fault::Fault;
use super::super::state::Session;
use crate::backend::{Message, QueryError, Server, ServerError};
use crate::error::RouterError;
use crate::plan::{Action, Copy, CopyFrom, Plan};
use crate::route::copy::{Appender, CopyError, CopySplitter};
use divider::{Divider, most_rows};

/// Bytes gathered for a shard before they are sent.
const SEND_ABOVE: usize = 64 * 1024;

/// A COPY FROM STDIN that the router divides.
#[derive(Debug)]
pub struct DividedCopy {
    /// Its action is this COPY.
    plan: Rc<Plan>,
    splitter: CopySplitter,
    /// Shards that take part, ascending, with their branches.
    shards: Vec<(ShardId, usize)>,
    /// Ids taken ahead, for each of the appended columns.
    ids: Vec<VecDeque<i64>>,
    /// The last id used of each.
    last_ids: Vec<Option<i64>>,
    /// For each shard: rows cut out of the message at hand.
    outs: Vec<Vec<u8>>,
    /// The client waits for ReadyForQuery without a Sync of its own.
    simple: bool,
}

/// The COPY of a plan, and whether all its rows go to all shards.
fn copy_of(plan: &Plan) -> Result<(&CopyFrom, bool), Fault> {
    match &plan.action {
        Action::Copy(Copy::FromDivided(copy)) => Ok((copy, false)),
        Action::Copy(Copy::FromBroadcast(copy)) => Ok((copy, true)),
        _ => Err(out_of_turn().into()),
    }
}

impl Session {
    /// The next whole message of one branch; a client that goes away ends the wait.
    async fn copy_message_of(&mut self, index: usize) -> Result<Message, Fault> {
        loop {
            let server = &mut self.transaction.branches[index].server;
            if let Some(header) = server.peek()?
                && server.inbuf.len() >= header.length
            {
                return Ok(server.message(&self.worker.parameters).await?);
            }
            self.wait_for_server(index).await?;
        }
    }

    /// One message of the client's while the COPY runs.
    pub(in crate::session) async fn copy_divided(
        &mut self,
        mut copy: Box<DividedCopy>,
        tag: u8,
        message: &[u8],
    ) -> Result<(), Fault> {
        let outcome = match tag {
            t::COPY_DATA => self.divide(&mut copy, &message[5..]).await,
            t::COPY_DONE => self.finish_divided(&mut copy).await,
            _ => self.fail_divided(&copy, &message[5..]).await,
        };
        match outcome {
            Ok(()) if tag == t::COPY_DATA => {
                self.copy = Some(CopyIn::Divided(copy));
                Ok(())
            }
            Ok(()) if copy.simple => match self.commit_implicit().await {
                Ok(()) => self.answer_ready().await,
                Err(fault) => self.answer_fault_and_ready(fault).await,
            },
            Ok(()) => Ok(()),
            Err(fault @ Fault::ClientGone(_)) => Err(fault),
            Err(fault) if copy.simple => self.answer_fault_and_ready(fault).await,
            Err(fault) => self.extended_fault(fault, false).await,
        }
    }

    async fn divide(&mut self, copy: &mut DividedCopy, data: &[u8]) -> Result<(), Fault> {
        let outcome = self.divide_data(copy, data).await;
        if outcome.is_err() {
            self.abort_copy(&copy.shards).await;
        }
        outcome
    }

    async fn divide_data(&mut self, copy: &mut DividedCopy, data: &[u8]) -> Result<(), Fault> {
        self.take_ids_for(copy, data).await?;
        self.with_divider(copy, |splitter, divider| {
            splitter.push(data, |record| divider.record(&record))
        })?;
        self.send_copy(&copy.shards, SEND_ABOVE).await
    }

    /// Runs `work` on the splitter, and puts the rows it gives into the branches' buffers.
    fn with_divider(
        &mut self,
        copy: &mut DividedCopy,
        work: impl FnOnce(&mut CopySplitter, &mut Divider<'_>) -> Result<(), CopyError>,
    ) -> Result<(), Fault> {
        let plan = Rc::clone(&copy.plan);
        let (from, everywhere) = copy_of(&plan)?;
        let mut divider = Divider {
            from,
            appender: Appender::new(from),
            everywhere,
            encoding: self.encoding(),
            map: &self.space.state.map,
            shards: &copy.shards,
            outs: &mut copy.outs,
            ids: &mut copy.ids,
            last_ids: &mut copy.last_ids,
            row_ids: Vec::with_capacity(from.append_ids.len()),
            scratch: Vec::new(),
        };
        work(&mut copy.splitter, &mut divider).map_err(RouterError::from)?;
        for (&(_, index), out) in copy.shards.iter().zip(&mut copy.outs) {
            if !out.is_empty() {
                let server = &mut self.transaction.branches[index].server;
                write::copy_data(&mut server.outbuf, out);
                out.clear();
            }
        }
        Ok(())
    }

    /// As many ids as the rows that are whole with `data` can need.
    async fn take_ids_for(&mut self, copy: &mut DividedCopy, data: &[u8]) -> Result<(), Fault> {
        let plan = Rc::clone(&copy.plan);
        let (from, _) = copy_of(&plan)?;
        if from.append_ids.is_empty() {
            return Ok(());
        }
        let rows = most_rows(from, data);
        for (added, ids) in from.append_ids.iter().zip(&mut copy.ids) {
            let worker = Rc::clone(&self.worker);
            let missing = rows.saturating_sub(ids.len());
            worker
                .next_ids(&self.database, &added.sequence, missing, ids)
                .await?;
        }
        Ok(())
    }

    /// COPY's ids are `currval`'s too.
    fn remember_copied_ids(&mut self, copy: &DividedCopy) -> Result<(), Fault> {
        let plan = Rc::clone(&copy.plan);
        let (from, _) = copy_of(&plan)?;
        for (added, last) in from.append_ids.iter().zip(&copy.last_ids) {
            if let Some(id) = last {
                self.remember_id(&added.sequence, *id);
            }
        }
        Ok(())
    }

    /// Sends what has gathered on branches above `limit` bytes, all at once. An error of a shard that has come
    /// meanwhile ends the COPY.
    async fn send_copy(&mut self, shards: &[(ShardId, usize)], limit: usize) -> Result<(), Fault> {
        let branches = self.transaction.branches.iter_mut().enumerate();
        let full = branches.filter(|(index, branch)| {
            branch.server.outbuf.len() > limit && shards.iter().any(|(_, at)| at == index)
        });
        let sent = full.map(|(_, branch)| send_and_listen(&mut branch.server));
        try_join_all(sent).await?;
        for &(_, index) in shards {
            if self.has_refused(index)? {
                return Err(self.refusal(index).await);
            }
        }
        Ok(())
    }

    /// Whether an ErrorResponse waits in the read buffer. Notices before it are passed on.
    fn has_refused(&mut self, index: usize) -> Result<bool, Fault> {
        loop {
            let server = &mut self.transaction.branches[index].server;
            let Some(header) = server.peek()? else {
                return Ok(false);
            };
            if header.tag == tag::ERROR_RESPONSE {
                return Ok(true);
            }
            if server.inbuf.len() < header.length {
                return Ok(false);
            }
            let message = server.inbuf.split_to(header.length);
            server.note(header.tag, &message[5..], &self.worker.parameters);
            if header.tag == tag::NOTICE_RESPONSE {
                self.out.extend_from_slice(&message);
            }
        }
    }

    /// Reads a shard's error up to its ReadyForQuery.
    async fn refusal(&mut self, index: usize) -> Fault {
        match self.end_of_copy(index).await {
            Ok(_) => out_of_turn().into(),
            Err(fault) => fault,
        }
    }

    /// CopyDone: the last rows, then every shard's own end.
    async fn finish_divided(&mut self, copy: &mut DividedCopy) -> Result<(), Fault> {
        let outcome = self.finish_data(copy).await;
        if outcome.is_err() {
            self.abort_copy(&copy.shards).await;
            return outcome;
        }
        for &(_, index) in &copy.shards {
            write::copy_done(&mut self.transaction.branches[index].server.outbuf);
        }
        let rows = self.end_everywhere(copy).await?;
        self.remember_copied_ids(copy)?;
        if copy.plan.effect.changes_entries {
            Box::pin(self.settle()).await?;
        }
        self.answer_complete(&format!("COPY {rows}"));
        Ok(())
    }

    async fn finish_data(&mut self, copy: &mut DividedCopy) -> Result<(), Fault> {
        // What is left is one row at most.
        self.take_ids_for(copy, b"\n").await?;
        self.with_divider(copy, |splitter, divider| {
            splitter.finish(|record| divider.record(&record))
        })
    }

    /// Reads all shards to their end; the first error is the client's. Gives the rows of all, or of one where
    /// all have the same.
    async fn end_everywhere(&mut self, copy: &DividedCopy) -> Result<u64, Fault> {
        let (_, everywhere) = copy_of(&copy.plan)?;
        self.send_rest(&copy.shards).await?;
        let mut rows = 0;
        let mut first = Ok(());
        for &(_, index) in &copy.shards {
            match self.end_of_copy(index).await {
                Ok(count) if everywhere => rows = count,
                Ok(count) => rows += count,
                Err(fault @ Fault::ClientGone(_)) => return Err(fault),
                Err(fault) => first = first.and(Err(fault)),
            }
        }
        first.map(|()| rows)
    }

    /// Sends all that has gathered, on all branches at once.
    async fn send_rest(&mut self, shards: &[(ShardId, usize)]) -> Result<(), Fault> {
        let branches = self.transaction.branches.iter_mut().enumerate();
        let ours = branches.filter(|(index, _)| shards.iter().any(|(_, at)| at == index));
        try_join_all(ours.map(|(_, branch)| branch.server.send())).await?;
        Ok(())
    }

    /// Reads one branch up to ReadyForQuery.
    async fn end_of_copy(&mut self, index: usize) -> Result<u64, Fault> {
        let mut rows = 0;
        let mut refusal: Option<Bytes> = None;
        loop {
            let message = self.copy_message_of(index).await?;
            match message.tag {
                tag::ERROR_RESPONSE => refusal = refusal.or(Some(message.bytes)),
                tag::NOTICE_RESPONSE => self.out.extend_from_slice(&message.bytes),
                tag::COMMAND_COMPLETE => {
                    rows = CommandComplete::parse(message.body())?.rows().unwrap_or(0);
                }
                tag::READY_FOR_QUERY => {
                    self.transaction.branches[index].unsynced = false;
                    return refusal.map_or(Ok(rows), |bytes| Err(Fault::Shard(bytes)));
                }
                _ => {}
            }
        }
    }

    /// CopyFail, or a message that has no place in a COPY: each shard says so, the client hears one.
    async fn fail_divided(&mut self, copy: &DividedCopy, body: &[u8]) -> Result<(), Fault> {
        let reason = body.strip_suffix(b"\0").unwrap_or(body);
        for &(_, index) in &copy.shards {
            let server = &mut self.transaction.branches[index].server;
            write::copy_fail(&mut server.outbuf, reason);
        }
        self.end_everywhere(copy).await.map(|_| ())
    }

    /// The COPY will not be finished: branches still in it leave it; what they say is for nobody.
    async fn abort_copy(&mut self, shards: &[(ShardId, usize)]) {
        for &(_, index) in shards {
            let branch = &mut self.transaction.branches[index];
            if !branch.unsynced || branch.server.broken {
                continue;
            }
            let server = &mut branch.server;
            write::copy_fail(&mut server.outbuf, b"another shard has failed");
            let left = server.rows_until_ready(&self.worker.parameters);
            let left = tokio::time::timeout(RECOVERY_LIMIT, left).await;
            branch.unsynced = false;
            let in_step = matches!(left, Ok(Ok(_) | Err(QueryError::Refused(_))));
            branch.server.broken |= !in_step;
        }
    }
}

/// Sends all, and takes in what the shard has said meanwhile, without waiting for it.
async fn send_and_listen(server: &mut Server) -> Result<(), ServerError> {
    server.send().await?;
    let heard = poll_fn(|cx| match server.poll_exchange(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome),
        Poll::Pending => Poll::Ready(Ok(())),
    });
    let heard = heard.await;
    heard.map_err(|error| {
        server.broken = true;
        ServerError::Lost(server.shard, error)
    })
}

fn out_of_turn() -> RouterError {
    RouterError::new("08P01", "a shard has answered out of turn during COPY")
}
