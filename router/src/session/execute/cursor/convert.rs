//! Rows of a cursor in another format than they are kept in: a PostgreSQL server reads the values
//! and writes them anew, so that every type is converted exactly.

use bytes::{Bytes, BytesMut};
use wire::Format;
use wire::backend::{DataRow, RowDescription, tag};
use wire::frontend::write;

use super::super::super::cursors::{KeptCursor, Span};
use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::reply::Reply;
use crate::backend::QueryError;

/// Bytes of rows that are sent before the first answer is read.
const BATCH_BYTES: usize = 64 * 1024;

impl Session {
    pub(super) async fn give_converted(
        &mut self,
        kept: &mut KeptCursor,
        span: Span,
        formats: &[Format],
        reply: &mut Reply,
    ) -> Result<(), Fault> {
        let home = self.home();
        let index = self.joined(home).await?;
        self.finish_begin(index).await?;
        let mut batch = BytesMut::new();
        let mut parse = parse_message(kept)?;
        for number in span.numbers() {
            if let Some(row) = kept.rows.row(number).await? {
                let values = DataRow::parse(&row[5..])?;
                let values: Vec<_> = values.iter().map(|value| (kept.format, value)).collect();
                write::bind(&mut batch, b"", b"", &values, formats)?;
                write::execute(&mut batch, b"", 0);
            }
            if batch.len() >= BATCH_BYTES {
                parse.unsplit(batch.split());
                self.convert(index, parse.split().freeze(), reply).await?;
            }
        }
        parse.unsplit(batch);
        self.convert(index, parse.freeze(), reply).await
    }

    /// Sends the messages with a Sync and gives the rows of the answer.
    async fn convert(
        &mut self,
        index: usize,
        messages: Bytes,
        reply: &mut Reply,
    ) -> Result<(), Fault> {
        if messages.is_empty() {
            return Ok(());
        }
        let server = &mut self.transaction.branches[index].server;
        server.prepared.unnamed = None;
        server.outbuf.extend_from_slice(&messages);
        write::sync(&mut server.outbuf);
        let mut refusal = None;
        loop {
            let server = &mut self.transaction.branches[index].server;
            let message = server.message(&self.worker.parameters).await?;
            match message.tag {
                tag::DATA_ROW => {
                    self.reply_row(reply, |out| {
                        out.extend_from_slice(&message.bytes);
                        Ok(true)
                    })
                    .await?;
                }
                tag::ERROR_RESPONSE => refusal = Some(message.bytes),
                tag::READY_FOR_QUERY => break,
                _ => {}
            }
        }
        match refusal {
            Some(bytes) => Err(QueryError::Refused(bytes).into()),
            None => Ok(()),
        }
    }
}

/// `SELECT $1, $2, ...`, of the cursor's types.
fn parse_message(kept: &KeptCursor) -> Result<BytesMut, Fault> {
    let description = RowDescription::parse(&kept.description[5..])?;
    let numbers: Vec<String> = (1..=description.len()).map(|n| format!("${n}")).collect();
    let text = format!("SELECT {}", numbers.join(", "));
    let mut message = BytesMut::new();
    let types: Vec<u32> = description.fields().map(|field| field.type_oid).collect();
    write::parse(&mut message, b"", text.as_bytes(), types)?;
    Ok(message)
}
