//! EXPLAIN of an INSERT of a query's rows: where they go, and under it what EXPLAIN says of the query.

use bytes::BytesMut;
use wire::backend::{DataRow, write};
use wire::frontend;
use wire::frontend::Bind;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::Invocation;
use super::super::explain::shards_in_words;
use super::super::gather::without_position;
use super::super::reply::Reply;
use super::super::shares::unshared;
use crate::plan::Explain;
use crate::plan::insert_rows::{Destination, InsertRows};

impl Session {
    pub(in crate::session::execute) async fn explain_insert_rows(
        &mut self,
        insert: &InsertRows,
        explain: &Explain,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let original = self.original_description(invocation).await?;
        let mut lines = self.lines_of_insert(insert, &explain.inner.reason);
        let told = self
            .explain_source(insert, explain, &original.parameters, invocation)
            .await;
        lines.extend(told.map_err(without_position)?);
        let mut reply = Reply::to(invocation);
        self.reply_described(&mut reply, &original.rows);
        self.reply_lines(&mut reply, &lines).await?;
        let mut complete = BytesMut::new();
        write::command_complete(&mut complete, b"EXPLAIN");
        self.reply_complete(reply, &complete).await
    }

    fn lines_of_insert(&self, insert: &InsertRows, why: &str) -> Vec<Vec<u8>> {
        let shards = match insert.destination {
            Destination::Home => vec![self.home()],
            Destination::Everywhere | Destination::ByKey(_) => {
                self.space.state.map.shards().to_vec()
            }
        };
        let shards = shards_in_words(&shards);
        let lines = [
            format!("Oskol: insert after reading, {shards}"),
            format!("  Why: {why}"),
            "  Query:".to_owned(),
        ];
        lines.into_iter().map(String::into_bytes).collect()
    }

    /// The lines of `EXPLAIN query`.
    async fn explain_source(
        &mut self,
        insert: &InsertRows,
        explain: &Explain,
        parameters: &[u32],
        invocation: &Invocation<'_>,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        let text = format!("{}{}", explain.head, insert.source_text);
        let plan = self.plan_text(&text)?;
        let own: Vec<_> = invocation
            .bind()
            .map(|bind| bind.parameters().collect())
            .unwrap_or_default();
        let mut message = BytesMut::new();
        frontend::write::bind(&mut message, b"", b"", &own, &[])?;
        let query = Invocation::Extended {
            identity: &unshared(&text, parameters),
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
                lines.push([b"    ", line].concat());
            }
        }
        Ok(lines)
    }
}
