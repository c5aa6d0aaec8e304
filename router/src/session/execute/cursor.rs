//! DECLARE, FETCH, MOVE and CLOSE.
//!
//! A cursor over one shard is a portal of that shard. Any other one has its rows made at DECLARE and
//! kept in the router, as PostgreSQL itself may do it: its cursors are insensitive to later changes.
//! An error of its rows is kept like them, for FETCH.

mod convert;
mod declare;
mod postponed;

use bytes::BytesMut;
use topology::ShardId;
use wire::Format;
use wire::backend::RowDescription;
use wire::frontend::Bind;

use super::super::cursors::{Cursor, KeptCursor, Place, Span};
use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::described::in_formats;
use super::reply::Reply;
use crate::error::RouterError;
use crate::plan::{FetchStep, Plan};
use crate::settings::Parameters;

/// Of what a server reports: what the text form of values depends on.
const LOOKS: [&str; 4] = ["client_encoding", "DateStyle", "IntervalStyle", "TimeZone"];

impl Session {
    pub(super) async fn fetch(
        &mut self,
        cursor: &str,
        (step, is_move): (FetchStep, bool),
        text: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        match self.cursors.remove(cursor) {
            Some(Cursor {
                place: Place::Here(mut kept),
                hold,
                lasts,
                declared_at,
            }) => {
                let fetched = match kept.check_runs(cursor) {
                    Ok(()) => self.fetch_here(&mut kept, step, is_move, invocation).await,
                    Err(failed) => Err(failed),
                };
                let place = Place::Here(kept);
                let back = Cursor {
                    place,
                    hold,
                    lasts,
                    declared_at,
                };
                self.cursors.insert(cursor, back);
                fetched
            }
            other => {
                if let Some(other) = other {
                    self.cursors.insert(cursor, other);
                }
                let index = self.joined(self.cursor_shard(cursor)).await?;
                self.forward_text(index, text, invocation).await?;
                Ok(())
            }
        }
    }

    async fn fetch_here(
        &mut self,
        kept: &mut KeptCursor,
        step: FetchStep,
        is_move: bool,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let span = kept.position.step(step, is_move)?;
        if is_move {
            self.answer_complete(&format!("MOVE {}", span.count));
            return Ok(());
        }
        let formats = formats(kept, invocation)?;
        self.check_looks(kept, &formats)?;
        let mut reply = Reply::to(invocation);
        let description = in_formats(&kept.description, |column| formats[column])?;
        let home = self.home();
        self.reply_description(&mut reply, home, &description, 0)?;
        if formats.iter().all(|format| *format == kept.format) {
            self.give(kept, span, &mut reply).await?;
        } else {
            self.give_converted(kept, span, &formats, &mut reply)
                .await?;
        }
        let mut complete = BytesMut::new();
        let tag = format!("FETCH {}", span.count);
        wire::backend::write::command_complete(&mut complete, tag.as_bytes());
        self.reply_complete(reply, &complete).await
    }

    async fn give(
        &mut self,
        kept: &mut KeptCursor,
        span: Span,
        reply: &mut Reply,
    ) -> Result<(), Fault> {
        for number in span.numbers() {
            if let Some(row) = kept.rows.row(number).await? {
                self.reply_row(reply, |out| {
                    out.extend_from_slice(&row);
                    Ok(true)
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Text that was made under other settings is not what PostgreSQL would give now.
    fn check_looks(&self, kept: &KeptCursor, formats: &[Format]) -> Result<(), Fault> {
        let all_binary = formats.iter().all(|format| *format == Format::Binary);
        let matters = if kept.format == Format::Binary {
            &LOOKS[..1]
        } else {
            &LOOKS[..]
        };
        let look = |parameters: &Parameters, name: &str| parameters.values.get(name).cloned();
        let changed = matters
            .iter()
            .find(|name| look(&kept.parameters, name) != look(&self.told, name));
        match changed {
            Some(name) if !(all_binary && kept.format == Format::Binary) => {
                Err(looks_changed(name).into())
            }
            _ => Ok(()),
        }
    }

    /// Where a cursor is that the router does not keep itself. One that it does not know of may have
    /// been opened by a function: at home, where those run, or on the shard at hand.
    fn cursor_shard(&self, name: &str) -> ShardId {
        let home = self.home();
        match self.shard_of_cursor(name) {
            Some(shard) => shard,
            None if self.pinned || self.transaction.find(home).is_some() => home,
            None => self.any_shard(),
        }
    }

    pub(super) async fn close_cursor(
        &mut self,
        name: Option<&str>,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let Some(name) = name else {
            self.cursors.clear();
            if self.pinned {
                let home = self.home();
                self.joined(home).await?;
            }
            return self.run_on_all_joined(invocation.text(), invocation).await;
        };
        if self.cursors.kept(name).is_some() {
            self.cursors.remove(name);
            self.answer_complete("CLOSE CURSOR");
            return Ok(());
        }
        let index = self.joined(self.cursor_shard(name)).await?;
        self.forward_text(index, invocation.text(), invocation)
            .await?;
        self.cursors.remove(name);
        self.extended.take_portal(name.as_bytes());
        Ok(())
    }

    /// UPDATE or DELETE ... WHERE CURRENT OF: the row is where the cursor is.
    pub(super) async fn at_cursor(
        &mut self,
        cursor: &str,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if self.cursors.kept(cursor).is_some() {
            return Err(kept_rows_have_no_place(cursor).into());
        }
        let index = self.joined(self.cursor_shard(cursor)).await?;
        self.note_effect(index, plan.effect);
        self.forward_text(index, invocation.text(), invocation)
            .await?;
        Ok(())
    }
}

/// The formats that a FETCH gives its columns in.
fn formats(kept: &KeptCursor, invocation: &Invocation<'_>) -> Result<Vec<Format>, Fault> {
    let columns = RowDescription::parse(&kept.description[5..])?.len();
    let declared = if kept.binary {
        Format::Binary
    } else {
        Format::Text
    };
    Ok(match invocation.bind().map(Bind::result_formats) {
        None => vec![declared; columns],
        Some(asked) => (0..columns).map(|column| asked.of(column)).collect(),
    })
}

fn looks_changed(name: &str) -> RouterError {
    RouterError::unsupported(
        "cursor-settings-changed",
        format!("{name} has changed since the cursor was declared"),
    )
    .detail("The rows of a cursor over several shards, or WITH HOLD, were made at DECLARE.")
    .hint("Set it before DECLARE, or declare the cursor again.")
}

fn kept_rows_have_no_place(name: &str) -> RouterError {
    RouterError::unsupported(
        "where-current-of",
        format!("WHERE CURRENT OF cursor \"{name}\" is not supported"),
    )
    .detail("A cursor over several shards, or WITH HOLD, has copies of rows, and not the places they come from.")
    .hint("Name the row by its key in the WHERE clause, or restrict the cursor's query to one shard key.")
}
