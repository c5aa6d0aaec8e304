//! EXPLAIN of an INSERT of a query's rows: where they go, and under it what EXPLAIN says of the query.

use bytes::{Bytes, BytesMut};
use wire::backend::write;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::Invocation;
use super::super::explain::shards_in_words;
use super::super::gather::without_position;
use super::super::reply::Reply;
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
        let text = format!("{}{}", explain.head, insert.source_text);
        let told = self
            .explain_apart(&text, &original.parameters, invocation)
            .await;
        lines.extend(told.map_err(without_position)?);
        let mut reply = Reply::to(invocation);
        self.reply_described(&mut reply, &original.rows);
        self.reply_lines(&mut reply, &lines).await?;
        let mut complete = BytesMut::new();
        write::command_complete(&mut complete, b"EXPLAIN");
        self.reply_complete(reply, &complete).await
    }

    fn lines_of_insert(&self, insert: &InsertRows, why: &str) -> Vec<Bytes> {
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
        lines.into_iter().map(Bytes::from).collect()
    }
}
