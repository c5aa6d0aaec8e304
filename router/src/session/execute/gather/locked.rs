//! The rows that a finishing statement has found are locked where they are, shard by shard in ascending order; the
//! client gets them if each is still the version that was found, else they are found anew.
//!
//! What is locked stays locked, also where it is not found again: so it is in PostgreSQL too. Takes a gather that ends
//! in `Locked`; writes the reply.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use topology::ShardId;
use wire::Format;
use wire::backend::{DataRow, RowDescription, tag, write};

use super::super::super::fault::Fault;
use super::super::super::kept_rows::KeptRows;
use super::super::super::oids::rows::RowOids;
use super::super::super::state::Session;
use super::super::super::transaction::State;
use super::super::Invocation;
use super::super::asking::{Asked, Request};
use super::super::reply::Reply;
use super::super::scatter::out_of_step;
use super::super::shares::unshared;
use super::finish::other_columns;
use super::original::Original;
use super::position::without_position;
use super::pull::too_much_held;
use super::values::Work;
use crate::error::RouterError;
use crate::merge::{Limit, Verdict};
use crate::plan::Effect;
use crate::plan::gather::Gather;
use crate::plan::gather::locked::{Locks, Wait};
use schema::oids::Direction;

/// Of a mark that is kept, about: it is there once as found, and once as locked.
const MARK_OVERHEAD: usize = 128;
/// How often rows are found anew because others go on changing them.
const MOST_ROUNDS: usize = 100;

/// Rows by the marks that tell where they are, for each table locked.
#[derive(Debug, Default)]
struct Progress {
    held: Vec<HashSet<String>>,
    /// Locked by others, and passed over.
    skipped: Vec<HashSet<String>>,
}

/// The rows of the result, and what they are made of.
struct Found {
    rows: KeptRows,
    /// Of each table locked.
    marks: Vec<HashSet<String>>,
}

/// Rows of one shard: ctids by table locked and oid.
type Places = BTreeMap<(usize, String), Vec<String>>;

impl Session {
    pub(super) async fn gather_locked(
        &mut self,
        gather: &Gather,
        (locks, home): (&Locks, bool),
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let cancels_before = self.shared.cancels.get();
        let original = self.original_description(invocation).await?;
        let (limit, offset) = (locks.limit.as_ref(), locks.offset.as_ref());
        let limit = Limit::resolve(limit, offset, invocation.bind()).map_err(RouterError::from)?;
        self.open_around();
        let tables = locks.tables.len();
        let mut progress = Progress {
            held: vec![HashSet::new(); tables],
            skipped: vec![HashSet::new(); tables],
        };
        for _ in 0..MOST_ROUNDS {
            let mut is_skipping = true;
            // Those locked by others become fewer with each turn.
            while is_skipping {
                let mut work = Work::new(gather, effect, invocation, Rc::clone(&original))?;
                work.cancels_before = cancels_before;
                work.skipped = std::mem::take(&mut progress.skipped);
                let found = self.find(&mut work, home).await;
                let found = self.leave_scratch(&mut work.scratch, found).await;
                progress.skipped = std::mem::take(&mut work.skipped);
                let found = found.map_err(without_position)?;
                let passed_over: usize = progress.skipped.iter().map(HashSet::len).sum();
                if self
                    .lock_found(&found, locks, effect, &mut progress)
                    .await?
                {
                    return self
                        .give_locked(found.rows, limit, &original, invocation)
                        .await;
                }
                let now: usize = progress.skipped.iter().map(HashSet::len).sum();
                is_skipping = now > passed_over;
            }
        }
        Err(changes_too_often().into())
    }

    async fn find(&mut self, work: &mut Work<'_>, home: bool) -> Result<Found, Fault> {
        self.read_clock(work).await?;
        self.pull_those(work, false).await?;
        if work.scratch.is_some() && self.transaction.state != State::Idle {
            self.pull_those(work, true).await?;
        }
        let rendered = work.gather.finish.render(&work.handed());
        let columns = work.original.columns.len();
        let tables = work.skipped.len();
        let mut formats = work.result_formats();
        if formats.len() > 1 {
            formats.resize(columns + tables, Format::Text);
        }
        let (_, branch) = self.finishing_branch(work, home).await?;
        let mut asked = [self.ask_branch(work, branch, &rendered, &formats)?];
        let found = self.keep_found(work, &mut asked).await;
        self.unless_called_off(&mut asked, found).await
    }

    async fn keep_found(&mut self, work: &Work<'_>, asked: &mut [Asked]) -> Result<Found, Fault> {
        let shard = self.shard_of(&asked[0]);
        let columns = work.original.columns.len();
        let first = self.message_of(asked, 0).await?;
        let rewrite = self.check_marked(work, shard, first.tag, first.body())?;
        let mut found = Found {
            rows: KeptRows::new(self.kept_limits()),
            marks: vec![HashSet::new(); work.skipped.len()],
        };
        let limit = self.worker.config.limits.merge_bytes;
        let mut bytes = 0;
        while let Some(message) = self.next_message(asked, 0).await? {
            if message.tag != tag::DATA_ROW {
                continue;
            }
            let body = message.bytes.slice(5..);
            let oids = self.current_space().oids(shard);
            let body = match rewrite.as_ref().zip(oids) {
                Some((columns, oids)) => columns.rewrite(oids, &body),
                None => body,
            };
            let row = DataRow::parse(&body)?;
            row.write_first(found.rows.tail(), columns);
            found.rows.added().await?;
            for (mark, value) in found.marks.iter_mut().zip(row.iter().skip(columns)) {
                let value = value.ok_or_else(out_of_step)?;
                if mark.insert(String::from_utf8_lossy(value).into_owned()) {
                    bytes += value.len() + MARK_OVERHEAD;
                }
            }
            if bytes > limit {
                return Err(too_much_held(limit).into());
            }
        }
        Ok(found)
    }

    /// The columns must be those of the client's own text, and the marks behind them.
    fn check_marked(
        &self,
        work: &Work<'_>,
        shard: ShardId,
        kind: u8,
        body: &[u8],
    ) -> Result<Option<RowOids>, Fault> {
        if kind != tag::ROW_DESCRIPTION {
            return Err(out_of_step().into());
        }
        let description = RowDescription::parse(body)?;
        let oids = self.current_space().oids(shard);
        let home = |oid: u32| oids.map_or(oid, |map| map.type_oid(oid, Direction::ToHome));
        let own = work.original.columns.len();
        let types = description.fields().map(|field| home(field.type_oid));
        let total = description.fields().count();
        if !types.take(own).eq(work.original.columns.iter().copied())
            || total != own + work.skipped.len()
        {
            return Err(other_columns().into());
        }
        Ok(oids.and_then(|oids| RowOids::of(&description, oids)))
    }

    /// Whether all rows that the result is made of are locked now, and are what was found.
    async fn lock_found(
        &mut self,
        found: &Found,
        locks: &Locks,
        effect: Effect,
        progress: &mut Progress,
    ) -> Result<bool, Fault> {
        let mut all = true;
        for (shard, places) in missing(found, progress)? {
            for ((table, oid), ctids) in places.iter().map(|(place, rows)| (place.clone(), rows)) {
                let locked = &locks.tables[table];
                let sql = format!(
                    "SELECT pg_catalog.concat_ws(' ', t.tableoid, t.ctid, t.xmin) FROM {} AS t \
                     WHERE t.ctid = ANY ('{{{}}}'::pg_catalog.tid[]) AND t.tableoid = {oid} {}{}",
                    locked.name,
                    ctids.join(","),
                    locked.clause,
                    locked.wait.sql()
                );
                for row in self.lock_rows(shard, &sql, effect).await? {
                    progress.held[table].insert(format!("{row}@{shard}"));
                }
            }
        }
        for (table, marks) in found.marks.iter().enumerate() {
            let held = &progress.held[table];
            let mut others = marks.iter().filter(|mark| !held.contains(*mark)).peekable();
            all &= others.peek().is_none();
            if locks.tables[table].wait == Wait::Skip {
                progress.skipped[table].extend(others.cloned());
            }
        }
        Ok(all)
    }

    async fn lock_rows(
        &mut self,
        shard: ShardId,
        sql: &str,
        effect: Effect,
    ) -> Result<Vec<String>, Fault> {
        let index = self.join_all(&[shard]).await?[0];
        self.note_effect(index, effect);
        let request = Request {
            identity: &unshared(sql, &[]),
            named: false,
            parameters: &[],
            types: &[],
            result_formats: &[],
        };
        let mut asked = [self.ask(index, &request)?];
        let locked = self.first_values(&mut asked).await;
        let locked = self.unless_called_off(&mut asked, locked).await;
        locked.map_err(without_position)
    }

    async fn first_values(&mut self, asked: &mut [Asked]) -> Result<Vec<String>, Fault> {
        let mut values = Vec::new();
        while let Some(message) = self.next_message(asked, 0).await? {
            if message.tag == tag::DATA_ROW {
                let row = DataRow::parse(message.body())?;
                let value = row.nth(0).flatten().unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
        Ok(values)
    }

    async fn give_locked(
        &mut self,
        mut rows: KeptRows,
        mut limit: Limit,
        original: &Original,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let mut reply = Reply::to(invocation);
        self.reply_described(&mut reply, &original.rows);
        let mut given = 0;
        for number in 0..rows.len() {
            if limit.is_reached() {
                break;
            }
            let row: Bytes = rows.row(number).await?.unwrap_or_default();
            if limit.admit() == Verdict::Give {
                given += 1;
                self.reply_row(&mut reply, |out| {
                    out.extend_from_slice(&row);
                    Ok(true)
                })
                .await?;
            }
        }
        let mut complete = BytesMut::new();
        write::command_complete(&mut complete, format!("SELECT {given}").as_bytes());
        self.reply_complete(reply, &complete).await
    }
}

/// What is not locked yet, by shard in ascending order.
fn missing(found: &Found, progress: &Progress) -> Result<BTreeMap<ShardId, Places>, Fault> {
    let mut shards: BTreeMap<ShardId, Places> = BTreeMap::new();
    for (table, marks) in found.marks.iter().enumerate() {
        let open = marks
            .iter()
            .filter(|mark| !progress.held[table].contains(*mark));
        for mark in open {
            let (shard, oid, ctid) = read(mark).ok_or_else(out_of_step)?;
            let places = shards.entry(shard).or_default();
            let rows = places.entry((table, oid.to_owned())).or_default();
            rows.push(format!("\"{ctid}\""));
        }
    }
    Ok(shards)
}

/// `oid ctid xmin@shard`
fn read(mark: &str) -> Option<(ShardId, &str, &str)> {
    let (row, shard) = mark.split_once('@')?;
    let mut parts = row.split(' ');
    Some((ShardId(shard.parse().ok()?), parts.next()?, parts.next()?))
}

/// As PostgreSQL says it of a row that it may not read anew.
fn changes_too_often() -> RouterError {
    RouterError::new(
        wire::sqlstate::T_R_SERIALIZATION_FAILURE,
        "could not serialize access due to concurrent update",
    )
    .detail("The rows to be locked were changed by others each time they had been found.")
    .hint("Try the transaction again.")
}
