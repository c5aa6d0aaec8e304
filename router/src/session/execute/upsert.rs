//! INSERT ... ON CONFLICT over a key that is kept by entries. Row by row: the row is tried on its own shard, where
//! PostgreSQL finds a conflict with rows beside it, and then entered, which finds one with a row of any other
//! shard. In that case the trial is taken back, the other row is locked, and the very same statement runs beside
//! it: there PostgreSQL finds the conflict and does what the client has written.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use schema::KeyType;
use topology::{BucketId, ShardId};
use wire::backend::write;

use super::super::fault::Fault;
use super::super::settings::first_value;
use super::super::state::Session;
use super::super::transaction::{LogEntry, State};
use super::Invocation;
use super::at_once::Rows;
use super::entries::{Conflict, Entered, one_form};
use super::reply::Reply;
use super::shares::{Relay, Share, Tried};
use crate::error::RouterError;
use crate::plan::by_entry::EntryRoute;
use crate::plan::upsert::Upsert;
use crate::plan::{Effect, Isolation};
use crate::route::entry::{self, EntryOf};
use crate::settings::quote_literal;

/// Around the trial of a row.
const SAVEPOINT: &str = "oskol_row";
/// How often a row is tried while others insert and delete its value.
const TRIALS: usize = 100;

/// The statement under way.
struct Work<'a> {
    upsert: &'a Upsert,
    effect: Effect,
    invocation: &'a Invocation<'a>,
    relay: Relay,
    /// Values of rows that the statement has inserted or updated.
    affected: HashSet<String>,
}

/// A row in conflict with the new one.
struct Other {
    number: u32,
    /// JSON array of the values, the shard key perhaps behind them.
    entry: String,
    shard: ShardId,
}

/// What came of a trial.
enum Outcome {
    /// Inserted or updated, or neither where the statement says so.
    Done(Tried, Vec<String>),
    Conflict(Conflict),
}

impl Session {
    pub(super) async fn upsert(
        &mut self,
        upsert: &Upsert,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        self.open_around();
        let rows = self.rows_alone(&upsert.insert, invocation).await?;
        let mut relay = Relay::new(Reply::to(invocation));
        relay.tag = no_rows();
        let mut work = Work {
            upsert,
            effect,
            invocation,
            relay,
            affected: HashSet::new(),
        };
        for (row, route) in rows.into_iter().zip(&upsert.routes) {
            self.upsert_row(&mut work, row, route.as_ref()).await?;
        }
        let complete = work.relay.complete()?;
        self.reply_complete(work.relay.reply, &complete).await
    }

    async fn upsert_row(
        &mut self,
        work: &mut Work<'_>,
        mut row: Share<'_>,
        route: Option<&EntryRoute>,
    ) -> Result<(), Fault> {
        let own = row.shard;
        let arguments = work.invocation.arguments();
        let known =
            route.and_then(|route| Some((route, entry::entry(route, arguments, self.encoding())?)));
        let wanted = known.as_ref().map(|(route, entry)| texts(route, entry));
        if work.upsert.updates && wanted.as_ref().is_some_and(|w| work.affected.contains(w)) {
            return Err(second_time().into());
        }
        for _ in 0..TRIALS {
            let mut other = None;
            if work.upsert.updates
                && let Some((route, entry)) = &known
            {
                other = self.other_by_value(route, entry).await?;
            }
            if other.as_ref().is_none_or(|other| other.shard == own) {
                row.shard = own;
                match self.try_row(work, &row).await? {
                    Outcome::Done(tried, got) => {
                        return self.row_is_done(work, tried, wanted, got).await;
                    }
                    Outcome::Conflict(_) if !work.upsert.updates && self.sees_all() => {
                        return Ok(());
                    }
                    Outcome::Conflict(conflict) => {
                        other = self.other_by_entry(conflict).await?;
                        self.check_seen(other.is_some())?;
                    }
                }
                if !work.upsert.updates {
                    return Ok(());
                }
            }
            let Some(other) = other.filter(|other| other.shard != own) else {
                continue;
            };
            if !self.hold(&other).await? {
                self.check_seen(false)?;
                continue;
            }
            row.shard = other.shard;
            let tried = self.try_share(&row, work.effect, work.invocation).await?;
            self.enter_changes().await?;
            return self.row_is_done(work, tried, wanted, Vec::new()).await;
        }
        Err(changes_too_often().into())
    }

    async fn row_is_done(
        &mut self,
        work: &mut Work<'_>,
        tried: Tried,
        wanted: Option<String>,
        got: Vec<String>,
    ) -> Result<(), Fault> {
        if work.upsert.updates && tried.rows()? > 0 {
            work.affected.extend(wanted);
            work.affected.extend(got);
        }
        self.relay_tried(tried, &mut work.relay).await
    }

    /// The statement on the row's own shard, taken back where it is in conflict with a row of another one.
    async fn try_row(&mut self, work: &mut Work<'_>, row: &Share<'_>) -> Result<Outcome, Fault> {
        self.at_row("SAVEPOINT").await?;
        let savepoint = LogEntry::Savepoint(SAVEPOINT.to_owned());
        self.transaction.log.push(savepoint);
        let outcome = self.tried_row(work, row).await;
        self.transaction.release(SAVEPOINT);
        let outcome = outcome?;
        match &outcome {
            Outcome::Done(..) => self.at_row("RELEASE").await?,
            Outcome::Conflict(_) => {
                self.at_row("ROLLBACK TO").await?;
                self.at_row("RELEASE").await?;
                self.transaction.state = State::Open;
            }
        }
        Ok(outcome)
    }

    async fn tried_row(&mut self, work: &mut Work<'_>, row: &Share<'_>) -> Result<Outcome, Fault> {
        let tried = self.try_share(row, work.effect, work.invocation).await?;
        match self.enter_tried(&work.upsert.arbiters).await? {
            Entered::All(got) => Ok(Outcome::Done(tried, got)),
            Entered::Conflict(conflict) => {
                // A row that is not inserted is described all the same.
                self.describe_tried(&tried, &mut work.relay)?;
                Ok(Outcome::Conflict(conflict))
            }
        }
    }

    /// On every branch of the transaction.
    async fn at_row(&mut self, command: &str) -> Result<(), Fault> {
        let branches = self.transaction.branches.iter().enumerate();
        let joined: Vec<usize> = branches
            .filter(|(_, branch)| branch.begun && !branch.apart)
            .map(|(index, _)| index)
            .collect();
        if joined.is_empty() {
            return Ok(());
        }
        let sql = format!("{command} {SAVEPOINT}");
        self.run_at_once(&joined, &sql).await.into_result()?;
        Ok(())
    }

    async fn other_by_value(
        &mut self,
        route: &EntryRoute,
        entry: &EntryOf,
    ) -> Result<Option<Other>, Fault> {
        let bucket = self.read_entry(route, entry).await?;
        let texts = entry
            .values
            .iter()
            .map(|value| String::from_utf8_lossy(value));
        let json = serde_json::json!(texts.collect::<Vec<_>>()).to_string();
        Ok(bucket.map(|bucket| Other {
            number: route.number,
            entry: json,
            shard: self.space.state.map.shard(bucket),
        }))
    }

    /// Whoever has the value that was asked for.
    async fn other_by_entry(&mut self, conflict: Conflict) -> Result<Option<Other>, Fault> {
        let map = std::sync::Arc::clone(&self.space.state.map);
        let Conflict {
            number,
            bucket,
            entry,
        } = conflict;
        let holder = format!("SELECT oskol.holder_{number}({})", quote_literal(&entry));
        let rows = self.ask_quietly(map.shard(bucket), &holder).await?;
        let bucket = first_value(&rows).and_then(|bucket| bucket.parse().ok());
        Ok(bucket.map(|bucket| Other {
            number,
            entry,
            shard: map.shard(BucketId(bucket)),
        }))
    }

    async fn ask_quietly(&mut self, shard: ShardId, sql: &str) -> Result<Rows, Fault> {
        let index = self.join(shard).await?;
        self.run_quietly(index, sql).await
    }

    /// Locks the row in conflict, if it is still there: then the statement beside it meets it.
    async fn hold(&mut self, other: &Other) -> Result<bool, Fault> {
        let json = quote_literal(&other.entry);
        let sql = format!("SELECT oskol.hold_{}({json})", other.number);
        let held = self.ask_quietly(other.shard, &sql).await?;
        Ok(first_value(&held).as_deref() == Some("t"))
    }

    fn sees_all(&self) -> bool {
        self.transaction.isolation == Isolation::ReadCommitted
    }

    /// With a snapshot of its own the transaction may not act on rows that it cannot see.
    fn check_seen(&self, seen: bool) -> Result<(), Fault> {
        if seen || self.sees_all() {
            return Ok(());
        }
        let text = "could not serialize access due to concurrent update";
        Err(RouterError::new("40001", text).into())
    }
}

/// The values as PostgreSQL writes them.
fn texts(route: &EntryRoute, entry: &EntryOf) -> String {
    let columns = route.columns.iter().zip(&entry.values);
    one_form(columns.map(|((_, key_type), value)| {
        let text = String::from_utf8_lossy(value).into_owned();
        match key_type {
            KeyType::Uuid if text.len() == 32 => [
                &text[..8],
                &text[8..12],
                &text[12..16],
                &text[16..20],
                &text[20..],
            ]
            .join("-"),
            _ => text,
        }
    }))
}

fn no_rows() -> Bytes {
    let mut out = BytesMut::new();
    write::command_complete(&mut out, b"INSERT 0 0");
    out.freeze()
}

/// PostgreSQL's own words (`ExecOnConflictUpdate`).
fn second_time() -> RouterError {
    RouterError::new(
        "21000",
        "ON CONFLICT DO UPDATE command cannot affect row a second time",
    )
    .hint("Ensure that no rows proposed for insertion within the same command have duplicate constrained values.")
}

fn changes_too_often() -> RouterError {
    RouterError::new(
        "40001",
        "a row in conflict came and went while it was waited for",
    )
    .hint("Run the transaction again.")
}
