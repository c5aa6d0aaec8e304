//! The router's own statements on several servers at once. One failure ends the others' work: what
//! still runs is cancelled, and every server is in step again when this returns.

use std::rc::Rc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use topology::ShardId;

use super::super::fault::Fault;
use super::super::state::Session;
use crate::backend::QueryError;
use crate::plan::Isolation;

/// Rows as text.
pub(in crate::session) type Rows = Vec<Vec<Option<String>>>;

/// What came of statements on several branches.
#[derive(Default)]
pub(in crate::session) struct AtOnce {
    /// Branches where all went well, with their rows, in no order.
    pub done: Vec<(usize, Rows)>,
    /// The first failure; those that only followed from it are not told.
    pub failure: Option<Fault>,
}

impl AtOnce {
    /// The rows, or the failure.
    pub fn into_result(self) -> Result<Vec<(usize, Rows)>, Fault> {
        match self.failure {
            Some(fault) => Err(fault),
            None => Ok(self.done),
        }
    }
}

/// Enough of a server to cancel what it runs.
struct Running {
    index: usize,
    shard: ShardId,
    process_id: u32,
    secret: Vec<u8>,
}

impl Session {
    /// Makes every shard a branch of the open transaction, the home shard first.
    pub(in crate::session) async fn join_every_shard(&mut self) -> Result<(), Fault> {
        let home = self.home();
        self.join(home).await?;
        for shard in self.space.state.map.shards().to_vec() {
            self.join(shard).await?;
        }
        Ok(())
    }

    /// The branch of `shard`, with its BEGIN already answered.
    pub(in crate::session) async fn join(&mut self, shard: ShardId) -> Result<usize, Fault> {
        // What is written beside the client's own rows keeps to the shards' rules by itself.
        let index = match self.transaction.isolation {
            Isolation::Serializable => self.joined_without_snapshot(shard).await?,
            _ => self.joined(shard).await?,
        };
        self.finish_begin(index).await?;
        Ok(index)
    }

    /// Branches of the shards other than home.
    pub(in crate::session) fn others(&self) -> Vec<usize> {
        let home = self.home();
        let branches = self.transaction.branches.iter().enumerate();
        branches
            .filter(|(_, branch)| branch.server.shard != home)
            .map(|(index, _)| index)
            .collect()
    }

    /// Runs `sql` on each of `indexes`, all at once.
    pub(in crate::session) async fn run_at_once(&mut self, indexes: &[usize], sql: &str) -> AtOnce {
        let worker = Rc::clone(&self.worker);
        let mut running = Vec::new();
        let mut replies = FuturesUnordered::new();
        for (index, branch) in self.transaction.branches.iter_mut().enumerate() {
            if indexes.contains(&index) {
                let server = &mut branch.server;
                running.push(Running {
                    index,
                    shard: server.shard,
                    process_id: server.process_id,
                    secret: server.secret.clone(),
                });
                let parameters = &worker.parameters;
                replies.push(async move { (index, server.query(sql, parameters).await) });
            }
        }
        let mut came = AtOnce::default();
        while let Some((index, reply)) = replies.next().await {
            running.retain(|server| server.index != index);
            match reply {
                Ok(rows) => came.done.push((index, rows)),
                Err(error) if came.failure.is_none() => {
                    came.failure = Some(error.into());
                    let cancels = running.iter().map(|server| {
                        let pools = &worker.pools;
                        pools.cancel(server.shard, server.process_id, &server.secret)
                    });
                    futures_util::future::join_all(cancels).await;
                }
                Err(_) => {}
            }
        }
        came
    }

    /// Runs a statement on one branch; its NOTICEs go to the client, and its other messages but
    /// CommandComplete, which comes back.
    pub(in crate::session) async fn run_for_client(
        &mut self,
        index: usize,
        sql: &str,
    ) -> Result<bytes::Bytes, Fault> {
        use wire::backend::tag;
        let server = &mut self.transaction.branches[index].server;
        wire::frontend::write::query(&mut server.outbuf, sql.as_bytes());
        let mut complete = bytes::Bytes::new();
        let mut refusal = None;
        loop {
            let message = server.message(&self.worker.parameters).await?;
            match message.tag {
                tag::COMMAND_COMPLETE => complete = message.bytes,
                tag::ERROR_RESPONSE => refusal = Some(message.bytes),
                tag::READY_FOR_QUERY => break,
                tag::PARAMETER_STATUS => {}
                _ => self.out.extend_from_slice(&message.bytes),
            }
        }
        self.tell_parameters(index);
        match refusal {
            Some(bytes) => Err(QueryError::Refused(bytes).into()),
            None => Ok(complete),
        }
    }
}
