//! Writes to reference tables: the same statement on all shards in one global transaction.
//!
//! The lowest shard goes first and alone: whoever has its row locks there has, of these rows, no
//! rival on the other shards, so two such writers cannot wait for one another crosswise.

use topology::ShardId;
use wire::backend::{CommandComplete, tag};

use super::super::fault::Fault;
use super::super::state::Session;
use super::super::transaction::State;
use super::Invocation;
use super::asking::{Asked, Notices};
use super::by_key::Filled;
use super::calls::Call;
use super::reply::Reply;
use crate::error::RouterError;
use crate::plan::holds::Holds;
use crate::plan::{Action, Broadcast, Copies, Effect, Isolation, unsupported, volatile};

const HOLD: &str = "SELECT oskol.hold_writers($1, $2)";

/// What came of a statement that must do the same everywhere.
#[derive(Debug, Default)]
pub(super) struct SameEverywhere {
    /// The first shard heard, and the rows it counted.
    first: Option<(ShardId, Option<u64>)>,
    /// The home shard's whole CommandComplete message.
    complete: Vec<u8>,
}

/// Longest text of a parameter that is a point in time by a word, unless it is an array or the like.
const LONGEST_CLOCK: usize = 64;

fn names_clock(invocation: &Invocation<'_>) -> bool {
    let Some(bind) = invocation.bind() else {
        return false;
    };
    let texts = bind
        .parameters()
        .filter_map(|(_, value)| std::str::from_utf8(value?).ok());
    let mut plausible = texts.filter(|text| {
        text.len() <= LONGEST_CLOCK || text.trim_start().starts_with(['{', '[', '('])
    });
    plausible.any(volatile::names_clock)
}

impl Session {
    /// Runs the invocation's statement on all shards; the client sees the home shard's reply.
    pub(super) async fn broadcast(
        &mut self,
        broadcast: &Broadcast,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if matches!(broadcast.copies, Copies::Alike(_)) && names_clock(invocation) {
            return Box::pin(self.broadcast_mirrored(invocation)).await;
        }
        let filled = match &broadcast.rewrite {
            Some(rewrite) => self.fill_rewrite(rewrite, invocation).await?,
            None => Filled::with(self.statement_for_shards(invocation, None)),
        };
        let holds = match &broadcast.copies {
            Copies::Alike(holds) => holds,
            Copies::Mirrored(mirror) => {
                return Box::pin(self.mirror(mirror, &filled, effect, invocation)).await;
            }
        };
        self.hold_writers(holds).await?;
        self.open_around();
        let shards = self.space.state.map.shards().to_vec();
        let mut reply = Reply::to(invocation);
        let mut same = SameEverywhere::default();
        self.join_all(&shards).await?;
        let (first, others) = shards.split_at(1.min(shards.len()));
        for group in [first, others] {
            let mut asked = self
                .ask_statement(group, &filled.identity, &filled.ids, effect, invocation)
                .await?;
            let home = self.home();
            for one in &mut asked {
                let is_home = self.shard_of(one) == home;
                one.notices = if is_home { Notices::All } else { Notices::No };
            }
            let heard = self.hear_same(&mut asked, &mut reply, &mut same).await;
            self.unless_called_off(&mut asked, heard).await?;
        }
        self.reply_complete(reply, &same.complete).await
    }

    /// A parameter may mean the clock, of which each shard has its own: one shard makes the rows.
    async fn broadcast_mirrored(&mut self, invocation: &Invocation<'_>) -> Result<(), Fault> {
        let statements = crate::parse::parse(invocation.text())?;
        let Some(statement) = statements.first() else {
            return Err(unsupported::reference_write_volatile("a parameter").into());
        };
        let plan = self.plan_with(statement, true);
        match &plan.action {
            Action::Refuse(error) => Err(error.clone().into()),
            Action::Broadcast(broadcast) if matches!(broadcast.copies, Copies::Mirrored(_)) => {
                self.broadcast(broadcast, plan.effect, invocation).await
            }
            _ => Err(unsupported::reference_write_volatile("a parameter").into()),
        }
    }

    /// Waits until nobody else writes to these tables on any shard, and keeps it so to the end of the transaction.
    ///
    /// The lowest shard goes first, as with the rows: who has the tables there has no rival on the others.
    pub(super) async fn hold_writers(&mut self, holds: &Holds) -> Result<(), Fault> {
        let stands_alone = self.transaction.state == State::Idle || self.transaction.implicit;
        let passes = |writes: bool| writes && holds.only_adds && stands_alone;
        let tables: Vec<(&String, bool)> = holds
            .tables
            .iter()
            .map(|(table, writes)| (table, *writes))
            .filter(|(_, writes)| !passes(*writes))
            .collect();
        if tables.is_empty() {
            return Ok(());
        }
        self.open_around();
        // Snapshots of one moment see the same rows everywhere.
        if self.transaction.isolation != Isolation::ReadCommitted {
            return Ok(());
        }
        let list = serde_json::json!(tables).to_string();
        let shards = self.space.state.map.shards().to_vec();
        let (first, others) = shards.split_at(1.min(shards.len()));
        for group in [first, others] {
            let calls = group.iter().map(|shard| Call {
                shard: *shard,
                arguments: vec![&list],
            });
            self.call(HOLD, &calls.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Reads shards that have been asked the same to their end: rows of the home shard go to the
    /// client, and the counts must agree.
    pub(super) async fn hear_same(
        &mut self,
        asked: &mut [Asked],
        reply: &mut Reply,
        same: &mut SameEverywhere,
    ) -> Result<(), Fault> {
        let home = self.home();
        for position in 0..asked.len() {
            let shard = self.shard_of(&asked[position]);
            while let Some(message) = self.next_message(asked, position).await? {
                match message.tag {
                    tag::COMMAND_COMPLETE => same.count(shard, &message.bytes, shard == home)?,
                    _ if shard != home => {}
                    tag::ROW_DESCRIPTION => {
                        self.reply_description(reply, shard, &message.bytes, 0)?;
                    }
                    tag::DATA_ROW => {
                        let whole = &message.bytes;
                        self.reply_row(reply, |out| {
                            out.extend_from_slice(whole);
                            Ok(true)
                        })
                        .await?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl SameEverywhere {
    fn count(&mut self, shard: ShardId, message: &[u8], is_home: bool) -> Result<(), Fault> {
        let rows = CommandComplete::parse(&message[5..])?.rows();
        if is_home {
            self.complete = message.to_vec();
        }
        match self.first {
            None => self.first = Some((shard, rows)),
            Some((_, known)) if known == rows => {}
            Some((other, known)) => return Err(differing((other, known), (shard, rows)).into()),
        }
        Ok(())
    }
}

/// SQLSTATE 55000: the copies of a reference table are not the same.
pub(super) fn differing(one: (ShardId, Option<u64>), other: (ShardId, Option<u64>)) -> RouterError {
    let of = |(shard, rows): (ShardId, Option<u64>)| {
        format!("{} on shard {shard}", rows.unwrap_or_default())
    };
    RouterError {
        id: "reference-copies-differ",
        ..RouterError::new(
            wire::sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
            "the copies of a reference table differ between shards",
        )
    }
    .detail(format!(
        "The statement changed {} rows and {}.",
        of(one),
        of(other)
    ))
    .hint("Nothing was changed. Compare the table's rows on these shards and make them the same.")
}
