//! INSERT ... ON CONFLICT over a key that is kept by entries. Row by row: the row is tried on its own shard, where
//! PostgreSQL finds a conflict with rows beside it, and then entered, which finds one with a row of any other
//! shard. In that case the trial is taken back, the other row is locked, and the very same statement runs beside
//! it: there PostgreSQL finds the conflict and does what the client has written. The rows stand in VALUES, or are those of
//! a query that has been run before (`insert_rows/upserts.rs`).

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use schema::KeyType;
use topology::{BucketId, ShardId};
use wire::backend::{DataRow, ErrorResponse, write};
use wire::sqlstate::{EXCLUSION_VIOLATION, FOREIGN_KEY_VIOLATION, UNIQUE_VIOLATION};

use super::super::fault::Fault;
use super::super::settings::first_value;
use super::super::state::Session;
use super::super::transaction::{LogEntry, State};
use super::Invocation;
use super::at_once::Rows;
use super::entries::{Conflict, Entered, one_form, one_form_of};
use super::reply::Reply;
use super::shares::{Relay, Share, Tried};
use super::split_insert::Writer;
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
pub(super) struct Trials<'a> {
    /// Numbers of the keys kept by entries that arbitrate.
    pub arbiters: &'a [u32],
    /// DO UPDATE.
    pub updates: bool,
    pub effect: Effect,
    pub invocation: &'a Invocation<'a>,
    pub relay: Relay,
    /// Values of rows that the statement has inserted or updated.
    pub affected: HashSet<String>,
}

/// What is known of the entry that a new row asks for, before it is tried.
pub(super) enum Wanted<'a> {
    /// Computed by the router.
    Route(&'a EntryRoute, EntryOf),
    /// Computed by a PostgreSQL.
    Entry(Conflict),
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
    Violated(Violated),
}

/// A row that violates a constraint which its own shard keeps. PostgreSQL looks at it only where there is no conflict, and
/// there may be one with a row of another shard.
pub(super) struct Violated {
    fault: Fault,
    /// Columns, perhaps.
    tried: Tried,
}

impl Session {
    pub(super) async fn upsert(
        &mut self,
        upsert: &Upsert,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        self.open_around();
        let (rows, types) = self.rows_alone(&upsert.insert, invocation).await?;
        let mut relay = Relay::new(Reply::to(invocation));
        relay.tag = no_rows();
        let mut work = Trials {
            arbiters: &upsert.arbiters,
            updates: upsert.updates,
            effect,
            invocation,
            relay,
            affected: HashSet::new(),
        };
        let arguments = invocation.arguments();
        let many = rows.len() > 1;
        for (number, (mut row, route)) in rows.into_iter().zip(&upsert.routes).enumerate() {
            let mut wanted = route.as_ref().and_then(|route| {
                let entry = entry::entry(route, arguments, self.encoding())?;
                Some(Wanted::Route(route, entry))
            });
            // Whether the row is one that the statement has had before is not found out by its trial.
            if wanted.is_none() && work.updates && many {
                let told = self.conflicts_of(upsert, number, &types, invocation);
                wanted = told.await?.into_iter().next().map(Wanted::Entry);
            }
            let violated = self.upsert_row(&mut work, &mut row, wanted).await?;
            if let Some(violated) = violated {
                let looked = self.conflicts_of(upsert, number, &types, invocation).await;
                self.upsert_violated(&mut work, &mut row, violated, looked)
                    .await?;
            }
        }
        let complete = work.relay.complete()?;
        self.reply_complete(work.relay.reply, &complete).await
    }

    /// Inserts one row, or does with the row in conflict what the statement says. Gives what it violates, taken back, where
    /// it is not known whether there is a conflict.
    pub(super) async fn upsert_row(
        &mut self,
        work: &mut Trials<'_>,
        row: &mut Share<'_>,
        known: Option<Wanted<'_>>,
    ) -> Result<Option<Violated>, Fault> {
        let own = row.shard;
        let wanted = known.as_ref().and_then(|known| match known {
            Wanted::Route(route, entry) => Some(texts(route, entry)),
            Wanted::Entry(conflict) => one_form_of(&conflict.entry),
        });
        if work.updates && wanted.as_ref().is_some_and(|w| work.affected.contains(w)) {
            return Err(second_time().into());
        }
        for _ in 0..TRIALS {
            let mut other = None;
            if work.updates {
                other = self.other_known(known.as_ref()).await?;
            }
            if other.as_ref().is_none_or(|other| other.shard == own) {
                match self.try_row(work, row).await? {
                    Outcome::Done(tried, got) => {
                        self.row_is_done(work, tried, wanted, got).await?;
                        return Ok(None);
                    }
                    Outcome::Conflict(_) if !work.updates && self.sees_all() => {
                        return Ok(None);
                    }
                    Outcome::Conflict(conflict) => {
                        other = self.other_by_entry(&conflict).await?;
                        self.check_seen(other.is_some())?;
                    }
                    Outcome::Violated(violated) => {
                        other = self.other_known(known.as_ref()).await?;
                        match &other {
                            None => return Ok(Some(violated)),
                            // The update itself violates it.
                            Some(other) if work.updates && other.shard == own => {
                                return Err(violated.fault);
                            }
                            Some(_) => self.describe_tried(&violated.tried, &mut work.relay)?,
                        }
                    }
                }
                if !work.updates {
                    return Ok(None);
                }
            }
            let Some(other) = other.filter(|other| other.shard != own) else {
                continue;
            };
            if self.upsert_beside(work, row, &other, &wanted).await? {
                return Ok(None);
            }
        }
        Err(changes_too_often().into())
    }

    /// Runs the statement where the other row is. False: it is gone.
    async fn upsert_beside(
        &mut self,
        work: &mut Trials<'_>,
        row: &mut Share<'_>,
        other: &Other,
        wanted: &Option<String>,
    ) -> Result<bool, Fault> {
        if !self.hold(other).await? {
            self.check_seen(false)?;
            return Ok(false);
        }
        let own = std::mem::replace(&mut row.shard, other.shard);
        let (tried, ended) = self.try_share(row, work.effect, work.invocation).await;
        row.shard = own;
        ended?;
        let Entered::All(got) = self.enter_tried(work.arbiters).await? else {
            // Impossible: the other row is held, so none was added.
            return Err(changes_too_often().into());
        };
        self.row_is_done(work, tried, wanted.clone(), got).await?;
        Ok(true)
    }

    /// A row violates what its own shard keeps: does with the row in conflict what the statement says, if there is one.
    /// `conflicts`: the entries that the new row asks for; where a PostgreSQL could not tell, the violation counts.
    ///
    /// # Errors
    /// There is no conflict: the violation.
    pub(super) async fn upsert_violated(
        &mut self,
        work: &mut Trials<'_>,
        row: &mut Share<'_>,
        violated: Violated,
        conflicts: Result<Vec<Conflict>, Fault>,
    ) -> Result<(), Fault> {
        let Ok(conflicts) = conflicts else {
            return Err(violated.fault);
        };
        for conflict in conflicts {
            let Some(other) = self.other_by_entry(&conflict).await? else {
                continue;
            };
            if !work.updates {
                return self.describe_tried(&violated.tried, &mut work.relay);
            }
            let wanted = one_form_of(&conflict.entry);
            // Otherwise the update itself violates it.
            if other.shard != row.shard && self.upsert_beside(work, row, &other, &wanted).await? {
                return Ok(());
            }
        }
        Err(violated.fault)
    }

    /// The entries that a row of VALUES asks for, as a PostgreSQL computes them.
    async fn conflicts_of(
        &mut self,
        upsert: &Upsert,
        row: usize,
        types: &[u32],
        invocation: &Invocation<'_>,
    ) -> Result<Vec<Conflict>, Fault> {
        let mut conflicts = Vec::new();
        for lookup in &upsert.lookups {
            let Some(Some(pieces)) = lookup.rows.get(row) else {
                continue;
            };
            let mut writer = Writer::new(types, invocation);
            writer.text_pieces(pieces);
            let share = writer.share(self.any_shard());
            conflicts.extend(self.entries_told(&share, lookup.number).await?);
        }
        Ok(conflicts)
    }

    /// Runs a statement that tells of buckets and entries of a key.
    async fn entries_told(
        &mut self,
        share: &Share<'_>,
        number: u32,
    ) -> Result<Vec<Conflict>, Fault> {
        let branch = self.join_all(&[share.shard]).await?[0];
        let mut asked = [self.ask_share(branch, share, &[])?];
        let heard = self.all_rows(&mut asked).await;
        let heard = self.unless_called_off(&mut asked, heard).await?;
        let mut told = Vec::with_capacity(heard.len());
        for message in heard {
            let row = DataRow::parse(message.get(5..).unwrap_or_default())?;
            let text = |column| std::str::from_utf8(row.nth(column)??).ok();
            let bucket = text(0).and_then(|bucket| bucket.parse().ok());
            if let Some((bucket, entry)) = bucket.zip(text(1)) {
                let (bucket, entry) = (BucketId(bucket), entry.to_owned());
                told.push(Conflict {
                    number,
                    bucket,
                    entry,
                });
            }
        }
        Ok(told)
    }

    async fn other_known(&mut self, known: Option<&Wanted<'_>>) -> Result<Option<Other>, Fault> {
        match known {
            Some(Wanted::Route(route, entry)) => self.other_by_value(route, entry).await,
            Some(Wanted::Entry(conflict)) => self.other_by_entry(conflict).await,
            None => Ok(None),
        }
    }

    async fn take_back_row(&mut self) -> Result<(), Fault> {
        self.at_row("ROLLBACK TO").await?;
        self.at_row("RELEASE").await?;
        self.tell_collects_again();
        self.transaction.state = State::Open;
        Ok(())
    }

    async fn row_is_done(
        &mut self,
        work: &mut Trials<'_>,
        tried: Tried,
        wanted: Option<String>,
        got: Vec<String>,
    ) -> Result<(), Fault> {
        if work.updates && tried.rows()? > 0 {
            // An update that has changed the key leaves the value free.
            match got.is_empty() {
                true => work.affected.extend(wanted),
                false => work.affected.extend(got),
            }
        }
        self.relay_tried(tried, &mut work.relay).await
    }

    /// The statement on the row's own shard, taken back where it is in conflict with a row of another one.
    async fn try_row(&mut self, work: &mut Trials<'_>, row: &Share<'_>) -> Result<Outcome, Fault> {
        self.at_row("SAVEPOINT").await?;
        let savepoint = LogEntry::Savepoint(SAVEPOINT.to_owned());
        self.transaction.log.push(savepoint);
        let outcome = self.tried_row(work, row).await;
        self.transaction.release(SAVEPOINT);
        let outcome = outcome?;
        match &outcome {
            Outcome::Done(..) => self.at_row("RELEASE").await?,
            Outcome::Conflict(_) | Outcome::Violated(_) => self.take_back_row().await?,
        }
        Ok(outcome)
    }

    async fn tried_row(
        &mut self,
        work: &mut Trials<'_>,
        row: &Share<'_>,
    ) -> Result<Outcome, Fault> {
        let (tried, ended) = self.try_share(row, work.effect, work.invocation).await;
        match ended {
            Err(fault) if comes_after_conflict(&fault) => {
                return Ok(Outcome::Violated(Violated { fault, tried }));
            }
            ended => ended?,
        }
        match self.enter_tried(work.arbiters).await? {
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
    async fn other_by_entry(&mut self, conflict: &Conflict) -> Result<Option<Other>, Fault> {
        let map = std::sync::Arc::clone(&self.space.state.map);
        let (number, entry) = (conflict.number, &conflict.entry);
        let holder = format!("SELECT oskol.holder_{number}({})", quote_literal(entry));
        let rows = self
            .ask_quietly(map.shard(conflict.bucket), &holder)
            .await?;
        let bucket = first_value(&rows).and_then(|bucket| bucket.parse().ok());
        Ok(bucket.map(|bucket| Other {
            number,
            entry: entry.clone(),
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
    one_form(columns.map(|(column, value)| {
        let text = String::from_utf8_lossy(value).into_owned();
        match column.key_type {
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

pub(super) fn no_rows() -> Bytes {
    let mut out = BytesMut::new();
    write::command_complete(&mut out, b"INSERT 0 0");
    out.freeze()
}

/// Whether PostgreSQL would have told of it only where there is no conflict.
fn comes_after_conflict(fault: &Fault) -> bool {
    let Fault::Shard(message) = fault else {
        return false;
    };
    ErrorResponse::parse(message.get(5..).unwrap_or_default()).is_ok_and(|error| {
        matches!(
            error.sqlstate(),
            UNIQUE_VIOLATION | FOREIGN_KEY_VIOLATION | EXCLUSION_VIOLATION
        )
    })
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
