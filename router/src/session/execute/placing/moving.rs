//! Streams rows from one branch to others: COPY TO STDOUT of one, COPY FROM STDIN of the others, a
//! bounded number of bytes in between.

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use crate::backend::QueryError;
use crate::error::RouterError;

use wire::backend::tag;
use wire::frontend::write;

/// Bytes gathered for a shard before they are sent; sending waits until the shard takes them.
const SEND_ABOVE: usize = 64 * 1024;

/// The reason given to shards whose COPY is called off; PostgreSQL puts it into its own error.
const CALLED_OFF: &str = "called off by the router";

impl Session {
    /// Runs `copy_out` on branch `from` and `copy_in` on each of `to`, and gives the number of rows.
    /// With `lanes` each row starts with its bucket and a tab, which are taken off, and goes to the
    /// branch that `lanes` has for the bucket; without, every row goes to all.
    pub(super) async fn stream_rows(
        &mut self,
        from: usize,
        copy_out: &str,
        to: &[usize],
        copy_in: &str,
        lanes: Option<&[usize]>,
    ) -> Result<u64, Fault> {
        let mut open = Vec::new();
        let mut outcome = Ok(0);
        for index in to {
            match self.open_copy(*index, copy_in).await {
                Ok(()) => open.push(*index),
                Err(fault) => {
                    outcome = Err(fault);
                    break;
                }
            }
        }
        if outcome.is_ok() {
            outcome = self.pump(from, copy_out, &open, lanes).await;
        }
        self.end_copies(&open, outcome).await
    }

    /// Until the shard waits for data.
    async fn open_copy(&mut self, index: usize, copy_in: &str) -> Result<(), Fault> {
        let server = &mut self.transaction.branches[index].server;
        write::query(&mut server.outbuf, copy_in.as_bytes());
        let mut refusal = None;
        loop {
            let message = server.message(&self.worker.parameters).await?;
            match message.tag {
                tag::COPY_IN_RESPONSE => return Ok(()),
                tag::ERROR_RESPONSE => refusal = Some(message.bytes),
                tag::READY_FOR_QUERY => {
                    let refusal = refusal.map(|bytes| QueryError::Refused(bytes).into());
                    return Err(refusal.unwrap_or_else(|| no_copy().into()));
                }
                _ => {}
            }
        }
    }

    /// Passes rows on. The source is in step again when this returns.
    async fn pump(
        &mut self,
        from: usize,
        copy_out: &str,
        to: &[usize],
        lanes: Option<&[usize]>,
    ) -> Result<u64, Fault> {
        let source = &mut self.transaction.branches[from].server;
        write::query(&mut source.outbuf, copy_out.as_bytes());
        let mut rows = 0;
        let mut outcome = Ok(());
        loop {
            let source = &mut self.transaction.branches[from].server;
            let message = source.message(&self.worker.parameters).await?;
            match message.tag {
                // PostgreSQL sends each row in a message of its own.
                tag::COPY_DATA if outcome.is_ok() => {
                    rows += 1;
                    outcome = self.pass_row(message.body(), to, lanes).await;
                    if outcome.is_err() {
                        self.cancel_branch(from).await;
                    }
                }
                tag::ERROR_RESPONSE if outcome.is_ok() => {
                    outcome = Err(QueryError::Refused(message.bytes).into());
                }
                tag::READY_FOR_QUERY => return outcome.map(|()| rows),
                _ => {}
            }
        }
    }

    async fn pass_row(
        &mut self,
        row: &[u8],
        to: &[usize],
        lanes: Option<&[usize]>,
    ) -> Result<(), Fault> {
        match lanes {
            Some(lanes) => {
                let (lane, row) = lane(row, lanes).ok_or_else(no_bucket)?;
                self.add_row(lane, row).await
            }
            None => {
                for index in to {
                    self.add_row(*index, row).await?;
                }
                Ok(())
            }
        }
    }

    async fn add_row(&mut self, index: usize, row: &[u8]) -> Result<(), Fault> {
        let server = &mut self.transaction.branches[index].server;
        write::copy_data(&mut server.outbuf, row);
        if server.outbuf.len() < SEND_ABOVE {
            return Ok(());
        }
        server.send().await?;
        match server.peek()? {
            // It takes no more rows; which error it was is read at the end.
            Some(header) if header.tag == tag::ERROR_RESPONSE => Err(Fault::AlreadyTold),
            _ => Ok(()),
        }
    }

    async fn cancel_branch(&mut self, index: usize) {
        let server = &self.transaction.branches[index].server;
        let pools = &self.worker.pools;
        pools
            .cancel(server.shard, server.process_id, &server.secret)
            .await;
    }

    /// Ends COPY on all `open` branches and brings them into step. A shard's own error is the cause
    /// of whatever else went wrong.
    async fn end_copies(
        &mut self,
        open: &[usize],
        mut outcome: Result<u64, Fault>,
    ) -> Result<u64, Fault> {
        for index in open {
            let server = &mut self.transaction.branches[*index].server;
            match outcome {
                Ok(_) => write::copy_done(&mut server.outbuf),
                Err(_) => write::copy_fail(&mut server.outbuf, CALLED_OFF.as_bytes()),
            }
            // A connection that is lost is found out below.
            let _ = server.send().await;
        }
        for index in open {
            let server = &mut self.transaction.branches[*index].server;
            let failed = server.rows_until_ready(&self.worker.parameters).await.err();
            let unknown = matches!(outcome, Ok(_) | Err(Fault::AlreadyTold));
            if let Some(error) = failed.filter(|error| unknown && !is_our_own(error)) {
                outcome = Err(error.into());
            }
        }
        match outcome {
            Err(Fault::AlreadyTold) => Err(no_copy().into()),
            outcome => outcome,
        }
    }
}

/// The error that CopyFail itself makes (SQLSTATE 57014).
fn is_our_own(error: &QueryError) -> bool {
    let QueryError::Refused(bytes) = error else {
        return false;
    };
    wire::backend::ErrorResponse::parse(&bytes[5..])
        .is_ok_and(|error| error.message().ends_with(CALLED_OFF))
}

/// Takes the bucket off a row of COPY's text format.
fn lane<'a>(row: &'a [u8], lanes: &[usize]) -> Option<(usize, &'a [u8])> {
    let tab = row.iter().position(|byte| *byte == b'\t')?;
    let bucket: usize = std::str::from_utf8(&row[..tab]).ok()?.parse().ok()?;
    Some((*lanes.get(bucket)?, &row[tab + 1..]))
}

fn no_bucket() -> Fault {
    RouterError::new("XX000", "a row came without its bucket").into()
}

fn no_copy() -> RouterError {
    RouterError::new(
        "XX000",
        "a shard did not take the rows that were copied to it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_goes_to_the_branch_of_its_bucket_without_it() {
        let lanes = [7, 8, 9];
        assert_eq!(
            lane(b"2\t40\\t\tx\n", &lanes),
            Some((9, &b"40\\t\tx\n"[..]))
        );
        assert_eq!(lane(b"3\tx\n", &lanes), None);
        assert_eq!(lane(b"x\n", &lanes), None);
    }
}
