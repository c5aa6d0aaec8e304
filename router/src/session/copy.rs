//! COPY data from the client: passed through to one shard, or handed to the divider.

use wire::frontend::tag as t;

use super::fault::Fault;
use super::slots::Slot;
use super::state::Session;

/// Bytes gathered for a shard before they are sent.
const SEND_ABOVE: usize = 64 * 1024;

/// A COPY FROM STDIN under way.
#[derive(Debug)]
pub enum CopyIn {
    /// All data goes to this branch as it is.
    Through(usize),
    /// The router divides it.
    Divided(Box<super::execute::DividedCopy>),
}

impl Session {
    /// A shard has asked for data.
    pub(super) fn begin_copy(&mut self, index: usize) {
        self.copy = Some(CopyIn::Through(index));
    }

    pub(super) async fn copy_message(&mut self, tag: u8, message: &[u8]) -> Result<(), Fault> {
        if self.copy.is_none() && self.extended.active().is_some() && !self.slots.is_empty() {
            // Data right behind the Execute of a COPY: find out whether it is wanted.
            if let Err(fault) = self.flush_message().await {
                return self.extended_fault(fault, false).await;
            }
        }
        match self.copy.take() {
            // PostgreSQL ignores what is still on its way after a COPY has failed.
            None => Ok(()),
            Some(CopyIn::Through(index)) => self.copy_through(index, tag, message).await,
            Some(CopyIn::Divided(copy)) => self.copy_divided(copy, tag, message).await,
        }
    }

    async fn copy_through(&mut self, index: usize, tag: u8, message: &[u8]) -> Result<(), Fault> {
        let server = &mut self.transaction.branches[index].server;
        server.outbuf.extend_from_slice(message);
        if tag == t::COPY_DATA {
            self.copy = Some(CopyIn::Through(index));
            if server.outbuf.len() > SEND_ABOVE {
                server.send().await?;
            }
            return Ok(());
        }
        self.pass_gate_alone().await;
        match self.slots.front() {
            Some(Slot::Query { hide_ready, .. }) => {
                let hidden = *hide_ready;
                self.failed = false;
                if let Err(fault) = self.relay(index).await {
                    return self.answer_fault_and_ready(fault).await;
                }
                self.after_ready(index).await;
                if hidden {
                    self.answer_ready().await
                } else {
                    Ok(())
                }
            }
            // In the extended protocol the client's Sync follows.
            _ => Ok(()),
        }
    }

    /// Messages that do not fit the moment: ignored where PostgreSQL ignores them.
    pub(super) async fn unusual_message(&mut self, tag: u8, message: &[u8]) -> Result<(), Fault> {
        if matches!(tag, t::SYNC | t::FLUSH) && self.copy.is_some() {
            return Ok(());
        }
        if self.extended.skipping {
            return Ok(());
        }
        if let Some(copy) = self.copy.take() {
            return Err(self.interrupted_copy(copy, tag));
        }
        if tag == t::FUNCTION_CALL {
            let refused = crate::error::RouterError::unsupported(
                "function-call",
                "the fast-path function call is not supported",
            )
            .detail("The message does not say which shard it is for.")
            .hint("Call the function with SELECT.");
            return self.answer_fault_and_ready(refused.into()).await;
        }
        let _ = message;
        Err(Fault::Fatal(crate::error::RouterError::new(
            "08P01",
            format!("invalid frontend message type {tag}"),
        )))
    }

    /// A message that is no COPY data ends the COPY with an error and the session with it, as in
    /// PostgreSQL.
    fn interrupted_copy(&mut self, copy: CopyIn, tag: u8) -> Fault {
        use crate::error::RouterError;
        let text = format!("unexpected message type 0x{tag:02X} during COPY from stdin");
        let error = RouterError::new("08P01", text);
        super::answer::error_response(&mut self.out, wire::backend::Severity::Error, &error);
        // What the shards have of it must be cancelled.
        self.copy = Some(copy);
        Fault::Fatal(RouterError::new(
            "08P01",
            "terminating connection because protocol synchronization was lost",
        ))
    }
}
