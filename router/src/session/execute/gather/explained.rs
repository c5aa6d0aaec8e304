//! EXPLAIN of a gather: what is pulled from where, what is finished where, and PostgreSQL's own plan of each
//! step. With ANALYZE the pulls are run, so the finishing statement is explained over real rows; without, over
//! none.

use std::rc::Rc;
use std::time::{Duration, Instant};

use topology::ShardId;
use wire::backend::{DataRow, RowDescription, tag};

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::super::transaction::State;
use super::super::Invocation;
use super::super::asking::Asked;
use super::super::explain::{merge_words, shards_in_words};
use super::super::reply::Reply;
use super::super::shares::unshared;
use super::arrays;
use super::element::Element;
use super::position::without_position;
use super::pull::{Pulled, pseudo_type};
use super::values::{Array, Input, Work};
use crate::error::RouterError;
use crate::plan::gather::{Finish, Gather, Rendered};
use crate::plan::{Effect, Explain};

/// PostgreSQL's oids of text and `text[]`.
const TEXT: u32 = 25;
const TEXT_ARRAY: u32 = 1009;

/// What there is to tell.
enum Told<'a> {
    Lines(Vec<String>),
    /// This plan is followed instead.
    TooMany(&'a Gather),
}

impl Session {
    pub(in crate::session::execute) async fn explain_gather(
        &mut self,
        gather: &Gather,
        explain: &Explain,
        effect: Effect,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let original = self.original_description(invocation).await?;
        if effect.writes {
            self.open_around();
        }
        let mut gather = gather;
        let lines = loop {
            let mut work = Work::new(gather, effect, invocation, Rc::clone(&original))?;
            let told = self.explain_steps(&mut work, explain).await;
            let told = self.leave_scratch(&mut work.scratch, told).await;
            match told.map_err(without_position)? {
                Told::Lines(lines) => break lines,
                Told::TooMany(otherwise) => gather = otherwise,
            }
        };
        let mut reply = Reply::to(invocation);
        self.reply_described(&mut reply, &original.rows);
        self.reply_lines(&mut reply, &lines).await?;
        let mut complete = bytes::BytesMut::new();
        wire::backend::write::command_complete(&mut complete, b"EXPLAIN");
        self.reply_complete(reply, &complete).await
    }

    async fn explain_steps<'a>(
        &mut self,
        work: &mut Work<'a>,
        explain: &Explain,
    ) -> Result<Told<'a>, Fault> {
        self.read_clock(work).await?;
        let mut steps = Vec::new();
        for position in 0..work.gather.pulls.len() {
            if work.may_stay(position) {
                continue;
            }
            let otherwise = self
                .explain_pull(work, position, explain, &mut steps)
                .await?;
            if let Some(otherwise) = otherwise {
                return Ok(Told::TooMany(otherwise));
            }
        }
        let beside = work.scratch.is_some() && self.transaction.state != State::Idle;
        for position in 0..work.gather.pulls.len() {
            if work.may_stay(position) && beside {
                self.explain_pull(work, position, explain, &mut steps)
                    .await?;
            } else if work.may_stay(position) {
                let name = &work.gather.pulls[position].name;
                steps.push(format!("  In place: {name}"));
            }
        }
        let mut lines = self.explain_finish(work, explain, &mut steps).await?;
        if !work.gather.why.is_empty() {
            lines.push(format!("  Why: {}", work.gather.why));
        }
        if let Some(predicate) = &explain.single_shard {
            lines.push(format!("  Single shard with: {predicate}"));
        }
        lines.append(&mut steps);
        Ok(Told::Lines(lines))
    }

    /// Runs the pull if the statement is to be analyzed.
    async fn explain_pull<'a>(
        &mut self,
        work: &mut Work<'a>,
        position: usize,
        explain: &Explain,
        steps: &mut Vec<String>,
    ) -> Result<Option<&'a Gather>, Fault> {
        let pull = &work.gather.pulls[position];
        let shards = self.source_shards(&pull.source, work.invocation.arguments());
        let rendered = pull.text.render(&work.handed());
        let plan = self
            .explain_text(work, &shards[..1], &rendered, explain)
            .await?;
        let mut figures = String::new();
        if explain.analyze {
            let started = Instant::now();
            match self.pull(work, position).await? {
                Pulled::Input(input) => work.inputs[position] = input,
                Pulled::TooMany(otherwise) => return Ok(Some(otherwise)),
            }
            figures = work.pulled.words(started.elapsed());
        } else {
            work.inputs[position] = self.no_rows(work, position, &rendered).await?;
        }
        let shards = shards_in_words(&shards);
        steps.push(format!("  Pull {}: {shards}{figures}", pull.name));
        steps.push(format!("    {}", one_line(&rendered.text)));
        steps.extend(plan.into_iter().flatten().map(|line| format!("    {line}")));
        Ok(None)
    }

    /// Gives the first line. The plans go to `steps`.
    async fn explain_finish(
        &mut self,
        work: &mut Work<'_>,
        explain: &Explain,
        steps: &mut Vec<String>,
    ) -> Result<Vec<String>, Fault> {
        let started = Instant::now();
        let rendered = work.gather.finish.render(&work.handed());
        let (shards, plans, merge) = match &work.gather.place {
            Finish::Locked { .. } if explain.analyze => return Err(analyzes_locks().into()),
            Finish::Apart { home } | Finish::Locked { home, .. } => {
                let (shard, branch) = self.finishing_branch(work, *home).await?;
                let asked = [self.ask_branch(work, branch, &explained(&rendered, explain), &[])?];
                (vec![shard], self.lines_of(asked).await?, None)
            }
            Finish::Shards { source, merge, .. } => {
                let shards = self.source_shards(source, work.invocation.arguments());
                let plans = self.explain_text(work, &shards, &rendered, explain).await?;
                (shards, plans, Some(merge))
            }
            Finish::Mirrored(_) if explain.analyze => return Err(analyzes_copies().into()),
            Finish::Mirrored(_) => {
                let shards = vec![self.any_shard()];
                let plans = self.explain_text(work, &shards, &rendered, explain).await?;
                (shards, plans, None)
            }
        };
        let time = match explain.analyze {
            true => format!("; {}", milliseconds(started.elapsed())),
            false => String::new(),
        };
        steps.push(format!("  Finish: {}{time}", shards_in_words(&shards)));
        steps.push(format!("    {}", one_line(&rendered.text)));
        for (shard, plan) in shards.iter().zip(plans) {
            let several = shards.len() > 1;
            steps.extend(several.then(|| format!("    Shard {shard}:")));
            let indent = if several { "      " } else { "    " };
            steps.extend(plan.into_iter().map(|line| format!("{indent}{line}")));
        }
        let mut lines = vec![format!(
            "Oskol: gather, finished on {}",
            shards_in_words(&shards)
        )];
        if let Some(merge) = merge {
            lines.push(format!("  Merge: {}", merge_words(merge)));
        }
        if let Finish::Locked { locks, .. } = &work.gather.place {
            lines.extend(locks.tables.iter().map(|table| {
                let (clause, wait) = (table.clause, table.wait.sql());
                let name = &table.name;
                format!("  Lock: rows of {name} {clause}{wait}, shard by shard")
            }));
        }
        Ok(lines)
    }

    /// What each of `shards` says of a rendered text.
    async fn explain_text(
        &mut self,
        work: &Work<'_>,
        shards: &[ShardId],
        rendered: &Rendered,
        explain: &Explain,
    ) -> Result<Vec<Vec<String>>, Fault> {
        let rendered = explained(rendered, explain);
        let asked = self
            .ask_rendered(work, shards, &rendered, &[], work.effect)
            .await?;
        self.lines_of(asked).await
    }

    async fn lines_of(
        &mut self,
        mut asked: impl AsMut<[Asked]>,
    ) -> Result<Vec<Vec<String>>, Fault> {
        let asked = asked.as_mut();
        let read = self.read_lines(asked).await;
        self.unless_called_off(asked, read).await
    }

    async fn read_lines(&mut self, asked: &mut [Asked]) -> Result<Vec<Vec<String>>, Fault> {
        let mut all = Vec::with_capacity(asked.len());
        for position in 0..asked.len() {
            let mut lines = Vec::new();
            while let Some(message) = self.next_message(asked, position).await? {
                if message.tag == tag::DATA_ROW {
                    let row = DataRow::parse(message.body())?;
                    let line = row.nth(0).flatten().unwrap_or_default();
                    lines.push(String::from_utf8_lossy(line).into_owned());
                }
            }
            all.push(lines);
        }
        Ok(all)
    }

    /// The columns of a pull that is not run.
    async fn no_rows(
        &mut self,
        work: &Work<'_>,
        position: usize,
        rendered: &Rendered,
    ) -> Result<Input, Fault> {
        let identity = unshared(&rendered.text, &work.bind(rendered)?.types);
        let home = self.home();
        let description = self.ask_description(&identity, home).await?;
        let body = description.rows.get(5..).unwrap_or_default();
        let fields = RowDescription::parse(body)?.fields();
        let types: Vec<u32> = fields.map(|field| field.type_oid).collect();
        let elements = self.elements(&types).await?;
        let mut arrays = Vec::with_capacity(types.len());
        for (type_oid, element) in types.into_iter().zip(elements) {
            arrays.push(match element {
                Element::Of(array) => Array::empty(array, type_oid, None),
                Element::OnlyColumn => {
                    let name = self.type_name(type_oid).await?;
                    Array::empty(TEXT_ARRAY, TEXT, Some(name))
                }
                Element::Pseudo => {
                    return Err(pseudo_type(&work.gather.pulls[position].name).into());
                }
            });
        }
        Ok(Input::Arrays(arrays))
    }

    async fn type_name(&mut self, type_oid: u32) -> Result<String, Fault> {
        let home = self.home();
        let index = self.joined(home).await?;
        let sql = format!("SELECT pg_catalog.format_type({type_oid}, -1)");
        let rows = self.run_quietly(index, &sql).await?;
        Ok(rows
            .into_iter()
            .flatten()
            .flatten()
            .next()
            .unwrap_or_default())
    }
}

impl Array {
    fn empty(type_oid: u32, element: u32, cast: Option<String>) -> Self {
        let arrays = arrays::of_rows(&[], &[element]);
        Self {
            type_oid,
            // There is no row that could be malformed.
            bytes: arrays
                .ok()
                .and_then(|mut all| all.pop())
                .unwrap_or_default(),
            cast,
        }
    }
}

/// Rows that one pull has given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Figures {
    pub rows: u64,
    pub bytes: usize,
}

impl Figures {
    fn words(self, time: Duration) -> String {
        let rows = if self.rows == 1 { "row" } else { "rows" };
        let size = match self.bytes {
            bytes if bytes < 10 << 10 => format!("{bytes} bytes"),
            bytes if bytes < 10 << 20 => format!("{} KiB", bytes >> 10),
            bytes => format!("{} MiB", bytes >> 20),
        };
        format!("; {} {rows}, {size}, {}", self.rows, milliseconds(time))
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

/// The text with the client's EXPLAIN and its options ahead.
fn explained(rendered: &Rendered, explain: &Explain) -> Rendered {
    Rendered {
        text: format!("{}{}", explain.head, rendered.text),
        parameters: rendered.parameters.clone(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// It would run the write on one shard, and keep its rows from the others.
fn analyzes_locks() -> RouterError {
    RouterError::unsupported(
        "explain-analyze-rewritten",
        "EXPLAIN ANALYZE of this statement is not supported",
    )
    .detail("Its rows are found first and then locked by statements of the router's own.")
    .hint("Leave ANALYZE out.")
}

fn analyzes_copies() -> RouterError {
    RouterError::unsupported(
        "explain-analyze-rewritten",
        "EXPLAIN ANALYZE of this statement is not supported",
    )
    .detail("One shard makes the rows of a reference table, and the others get copies.")
    .hint("Leave ANALYZE out.")
}
