//! Statements in parts: WITH queries that write or lock rows run one after another, and their rows are kept for what
//! comes after them; then the rest runs. All in one transaction.
//!
//! Takes an [`InParts`] and what the client has bound; the rest writes the reply.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use wire::backend::{DataRow, write};
use wire::frontend::{self, Bind};

use super::super::fault::Fault;
use super::super::kept_rows::KeptRows;
use super::super::planning::OneShard;
use super::super::state::Session;
use super::Invocation;
use super::explain::shards_in_words;
use super::gather::{text_formats, without_position};
use super::kept::whole_of_one_shard;
use super::reply::{Remainder, Reply};
use super::shares::unshared;
use crate::error::RouterError;
use crate::plan::parts::{InParts, Part};
use crate::plan::{Explain, Plan};

/// The rows that a part has given.
#[derive(Debug)]
pub(in crate::session) struct PartRows {
    /// Types of the columns, in the home shard's oids.
    pub types: Vec<u32>,
    /// By column: its values are text, to be cast to this type. Empty: none is.
    pub texts: Vec<Option<&'static str>>,
    pub rows: KeptRows,
}

impl Session {
    pub(super) async fn in_parts(
        &mut self,
        in_parts: &InParts,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let whole = self.original_description(invocation).await?;
        self.open_around();
        let around = std::mem::take(&mut self.parts);
        let outcome = self
            .run_parts(in_parts, &whole.parameters, invocation)
            .await;
        self.parts = around;
        outcome
    }

    async fn run_parts(
        &mut self,
        in_parts: &InParts,
        parameters: &[u32],
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        for part in &in_parts.parts {
            let rows = self.run_part(part, parameters, invocation).await;
            // A position would be one in the part by itself.
            self.parts.push(Some(rows.map_err(without_position)?));
        }
        let text = in_parts.rest_text.as_deref();
        let rest = &in_parts.rest;
        let identity = unshared(text.unwrap_or(invocation.text()), parameters);
        let own = match invocation {
            Invocation::Simple { text: whole } => Invocation::Simple {
                text: text.unwrap_or(whole),
            },
            Invocation::Extended { bind, max_rows, .. } => Invocation::Extended {
                identity: &identity,
                bind,
                max_rows: *max_rows,
            },
        };
        let ran = self.run_as_planned(rest, &own).await;
        match text {
            Some(_) => ran.map_err(without_position),
            None => ran,
        }
    }

    async fn run_part(
        &mut self,
        part: &Part,
        parameters: &[u32],
        invocation: &Invocation<'_>,
    ) -> Result<PartRows, Fault> {
        let identity = unshared(&part.text, parameters);
        let types = self.original_of(&identity).await?.columns.clone();
        let (texts, formats) = text_formats(self.texts_of(&types).await?);
        let own: Vec<_> = invocation
            .bind()
            .map(|bind| bind.parameters().collect())
            .unwrap_or_default();
        let mut message = BytesMut::new();
        frontend::write::bind(&mut message, b"", b"", &own, &formats)?;
        let query = Invocation::Extended {
            identity: &identity,
            bind: &Bind::parse(&message[5..])?,
            max_rows: Some(0),
        };
        self.remainder = None;
        self.run_as_planned(&part.plan, &query).await?;
        let rest: Box<Remainder> = self.remainder.take().ok_or_else(no_rows)?;
        Ok(PartRows {
            types,
            texts,
            rows: rest.rows,
        })
    }

    /// Wherever its plan has it run.
    async fn run_as_planned(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if let OneShard::Shard(shard) = self.one_shard(plan, invocation.arguments()) {
            let scatter = whole_of_one_shard(plan.effect);
            return self
                .scatter(&scatter, &[shard], plan.effect, invocation)
                .await;
        }
        Box::pin(self.execute(plan, invocation, false)).await
    }

    /// What each part and the rest do; PostgreSQL's own plans of the parts are under them.
    pub(super) async fn explain_in_parts(
        &mut self,
        in_parts: &InParts,
        explain: &Explain,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let original = self.original_description(invocation).await?;
        let shards = shards_in_words(self.space.state.map.shards());
        let mut lines: Vec<Bytes> = vec![
            format!("Oskol: in parts, {shards}").into(),
            format!("  Why: {}", explain.inner.reason).into(),
        ];
        for part in &in_parts.parts {
            lines.push(format!("  Part {}:", part.name).into());
            let text = format!("{}{}", explain.head, part.text);
            let told = self
                .explain_apart(&text, &original.parameters, invocation)
                .await;
            lines.extend(told.map_err(without_position)?);
        }
        lines.push(format!("  Rest: {}", in_parts.rest.reason).into());
        let mut reply = Reply::to(invocation);
        self.reply_described(&mut reply, &original.rows);
        self.reply_lines(&mut reply, &lines).await?;
        let mut complete = BytesMut::new();
        write::command_complete(&mut complete, b"EXPLAIN");
        self.reply_complete(reply, &complete).await
    }

    /// The lines of an EXPLAIN, indented.
    pub(super) async fn explain_apart(
        &mut self,
        text: &str,
        parameters: &[u32],
        invocation: &Invocation<'_>,
    ) -> Result<Vec<Bytes>, Fault> {
        let plan = self.plan_text(text)?;
        let own: Vec<_> = invocation
            .bind()
            .map(|bind| bind.parameters().collect())
            .unwrap_or_default();
        let mut message = BytesMut::new();
        frontend::write::bind(&mut message, b"", b"", &own, &[])?;
        let query = Invocation::Extended {
            identity: &unshared(text, parameters),
            bind: &Bind::parse(&message[5..])?,
            max_rows: Some(0),
        };
        self.remainder = None;
        Box::pin(self.execute(&plan, &query, false)).await?;
        let mut lines = Vec::new();
        if let Some(mut rest) = self.remainder.take() {
            for number in 0..rest.rows.len() {
                let row = rest.rows.row(number).await?.unwrap_or_default();
                let row = DataRow::parse(row.get(5..).unwrap_or_default())?;
                let line = row.nth(0).flatten().unwrap_or_default();
                lines.push(Bytes::from([b"    ", line].concat()));
            }
        }
        Ok(lines)
    }
}

fn no_rows() -> RouterError {
    RouterError::new(
        wire::sqlstate::INTERNAL_ERROR,
        "a WITH query that writes gives no rows",
    )
}
