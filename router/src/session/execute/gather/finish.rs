//! The finishing statement: on one server, or on the shards with the pulled rows beside their own.

use schema::oids::Direction;
use topology::ShardId;
use wire::backend::{RowDescription, tag};

use super::super::super::fault::Fault;
use super::super::super::oids::rows::RowOids;
use super::super::super::state::Session;
use super::super::super::transaction::State;
use super::super::asking::Asked;
use super::super::mirror::formats;
use super::super::reply::Reply;
use super::super::scatter::out_of_step;
use super::values::Work;
use crate::backend::Message;
use crate::error::RouterError;
use crate::merge::{Limit, Merge, Merger};
use crate::plan::gather::Source;
use crate::plan::mirror::Mirror;

impl Session {
    /// On the scratch connection where tables are; else where the transaction is already, in it: arrays hinder
    /// no PREPARE TRANSACTION.
    pub(super) async fn finish_apart(
        &mut self,
        work: &mut Work<'_>,
        home: bool,
    ) -> Result<(), Fault> {
        let rendered = work.gather.finish.render(&work.handed());
        let formats = work.result_formats();
        let (_, branch) = self.finishing_branch(work, home).await?;
        let mut asked = [self.ask_branch(work, branch, &rendered, &formats)?];
        let mut reply = Reply::to(work.invocation);
        let relayed = self.relay_finish(work, &mut asked, &mut reply).await;
        let complete = self.unless_called_off(&mut asked, relayed).await?;
        self.reply_complete(reply, &complete).await
    }

    /// Where the finishing statement runs, and the index of its branch.
    pub(super) async fn finishing_branch(
        &mut self,
        work: &Work<'_>,
        home: bool,
    ) -> Result<(ShardId, usize), Fault> {
        if let Some(scratch) = &work.scratch {
            let server = &self.transaction.branches[scratch.branch].server;
            return Ok((server.shard, scratch.branch));
        }
        let shard = self.finishing_shard(home);
        let branch = self.join_all(&[shard]).await?[0];
        self.note_effect(branch, work.effect);
        Ok((shard, branch))
    }

    /// One that is in use already: in turn, or in a transaction the first, whose clock is the transaction's.
    fn finishing_shard(&self, home: bool) -> ShardId {
        if home {
            return self.home();
        }
        if self.transaction.state != State::Idle {
            return self.any_shard();
        }
        let branches = self.transaction.branches.iter();
        let shards: Vec<ShardId> = branches.map(|branch| branch.server.shard).collect();
        let shards = if shards.is_empty() {
            self.space.state.map.shards()
        } else {
            &shards
        };
        self.worker.any_shard(shards)
    }

    /// Passes the rows on as they come; gives the whole CommandComplete.
    async fn relay_finish(
        &mut self,
        work: &Work<'_>,
        asked: &mut [Asked],
        reply: &mut Reply,
    ) -> Result<bytes::Bytes, Fault> {
        let shard = self.shard_of(&asked[0]);
        let first = self.message_of(asked, 0).await?;
        let rewrite = self.check_columns_of(work, shard, &first)?;
        self.reply_described(reply, &work.original.rows);
        let space = std::rc::Rc::clone(self.current_space());
        let rewrite = rewrite.as_ref().zip(space.oids(shard));
        loop {
            let message = self.message_of(asked, 0).await?;
            match message.tag {
                tag::DATA_ROW => {
                    self.reply_row(reply, |out| {
                        let at = out.len() + 5;
                        out.extend_from_slice(&message.bytes);
                        if let Some((columns, oids)) = rewrite {
                            columns.rewrite_in_place(oids, &mut out[at..]);
                        }
                        Ok(true)
                    })
                    .await?;
                }
                tag::COMMAND_COMPLETE => {
                    while self.next_message(asked, 0).await?.is_some() {}
                    return Ok(message.bytes);
                }
                _ => return Err(out_of_step().into()),
            }
        }
    }

    /// The columns must be those of the client's own text. Gives what must be rewritten in the rows.
    fn check_columns_of(
        &self,
        work: &Work<'_>,
        shard: ShardId,
        message: &Message,
    ) -> Result<Option<RowOids>, Fault> {
        if message.tag != tag::ROW_DESCRIPTION {
            return match work.original.columns.is_empty() {
                true => Ok(None),
                false => Err(other_columns().into()),
            };
        }
        let description = RowDescription::parse(message.body())?;
        let oids = self.current_space().oids(shard);
        let home = |oid: u32| oids.map_or(oid, |map| map.type_oid(oid, Direction::ToHome));
        let types = description.fields().map(|field| home(field.type_oid));
        if !types.eq(work.original.columns.iter().copied()) {
            return Err(other_columns().into());
        }
        Ok(oids.and_then(|oids| RowOids::of(&description, oids)))
    }

    /// On one shard, whose rows the others get.
    pub(super) async fn finish_mirrored(
        &mut self,
        work: &mut Work<'_>,
        mirror: &Mirror,
    ) -> Result<(), Fault> {
        let first = self.begin_mirror(mirror).await?;
        let rendered = work.gather.finish.render(&work.handed());
        let formats = formats(mirror, work.invocation);
        let mut asked = self
            .ask_rendered(work, &[first], &rendered, &formats, work.effect)
            .await?;
        self.mirror_asked(mirror, &mut asked, work.invocation).await
    }

    /// On the shards of `source` at once, inside the transaction.
    pub(super) async fn finish_on_shards(
        &mut self,
        work: &mut Work<'_>,
        source: &Source,
        merge: &Merge,
    ) -> Result<(), Fault> {
        let (limit, offset) = merge.row_counts();
        let limit =
            Limit::resolve(limit, offset, work.invocation.bind()).map_err(RouterError::from)?;
        let shards = self.source_shards(source, work.invocation.arguments());
        let rendered = work.gather.finish.render(&work.handed());
        let formats = work.result_formats();
        let mut asked = self
            .ask_rendered(work, &shards, &rendered, &formats, work.effect)
            .await?;
        let merge_bytes = self.worker.config.limits.merge_bytes;
        let count = asked.len();
        let merger = |columns| Merger::new(merge, count, columns, limit, merge_bytes);
        let mut reply = Reply::to(work.invocation);
        let merged = self
            .merge_described(
                &mut asked,
                merger,
                merge.hidden(),
                &mut reply,
                Some(&work.original.rows),
            )
            .await;
        let complete = self.unless_called_off(&mut asked, merged).await?;
        self.reply_complete(reply, &complete).await
    }
}

pub(super) fn other_columns() -> RouterError {
    RouterError::new(
        wire::sqlstate::INTERNAL_ERROR,
        "the finished statement has other columns than the client's",
    )
    .detail("Nothing was given to the client.")
    .hint("This is a mistake of the router's: please report the statement.")
}
