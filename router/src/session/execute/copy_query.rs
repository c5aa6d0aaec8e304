//! `COPY (query) TO STDOUT` of a query whose rows are merged or finished elsewhere: they are kept as a cursor's,
//! and written as COPY writes them. The home shard copies no rows of the query first: so PostgreSQL has checked
//! the options and written the header.

use bytes::{Bytes, BytesMut};
use wire::backend::{RowDescription, tag, write};
use wire::frontend::Bind;
use wire::{Format, frontend};

use super::super::fault::Fault;
use super::super::relay::WRITE_ABOVE;
use super::super::state::Session;
use super::Invocation;
use super::asking::{Asked, Request};
use super::gather::without_position;
use super::shares::unshared;
use crate::error::RouterError;
use crate::plan::{CopyFormat, CopyQuery, ForceQuote};
use crate::route::copy::{Concatenation, RowWriter};

/// What PostgreSQL says of a copy of no rows.
struct Begun {
    /// Whole CopyOutResponse message.
    response: Bytes,
    /// Whole CopyData messages.
    header: BytesMut,
}

impl Session {
    pub(super) async fn copy_query(&mut self, copy: &CopyQuery) -> Result<(), Fault> {
        if !self.utf8 {
            return Err(other_encoding().into());
        }
        let mut whole = Concatenation::new(&copy.options, 1);
        let begun = self.copy_no_rows(copy, &mut whole).await?;
        let identity = unshared(&copy.query_text, &[]);
        let original = self.original_of(&identity).await;
        let original = original.map_err(without_position)?;
        let format = match copy.options.format {
            CopyFormat::Binary => Format::Binary,
            CopyFormat::Text | CopyFormat::Csv => Format::Text,
        };
        let mut message = BytesMut::new();
        frontend::write::bind(&mut message, b"", b"", &[], &[format])?;
        let query = Invocation::Extended {
            identity: &identity,
            bind: &Bind::parse(&message[5..])?,
            max_rows: Some(0),
        };
        let rest = self.run_kept(&copy.query, &query).await;
        let mut rows = rest.map_err(without_position)?.ok_or_else(no_query)?.rows;
        self.out.extend_from_slice(&begun.response);
        self.out.extend_from_slice(&begun.header);
        let quoted = quoted(&copy.force_quote, &original.rows)?;
        let writer = RowWriter::new(&copy.options, quoted);
        let mut line = Vec::new();
        let count = rows.len();
        for number in 0..count {
            let row = rows.row(number).await?.ok_or_else(no_query)?;
            line.clear();
            writer.row(&row[5..], &mut line)?;
            write::copy_data(&mut self.out, &line);
            if self.out.len() > WRITE_ABOVE {
                rows.forget_before(number);
                self.flush().await?;
            }
        }
        if !whole.end().is_empty() {
            write::copy_data(&mut self.out, whole.end());
        }
        write::copy_done(&mut self.out);
        self.answer_complete(&format!("COPY {count}"));
        Ok(())
    }

    async fn copy_no_rows(
        &mut self,
        copy: &CopyQuery,
        whole: &mut Concatenation,
    ) -> Result<Begun, Fault> {
        let home = self.home();
        let branch = self.join_all(&[home]).await?[0];
        let request = Request {
            identity: &unshared(&copy.empty_text, &[]),
            named: false,
            parameters: &[],
            types: &[],
            result_formats: &[],
        };
        let mut asked = [self.ask(branch, &request)?];
        let begun = self.hear_begun(&mut asked, whole).await;
        let begun = self.unless_called_off(&mut asked, begun).await;
        begun.map_err(without_position)
    }

    async fn hear_begun(
        &mut self,
        asked: &mut [Asked],
        whole: &mut Concatenation,
    ) -> Result<Begun, Fault> {
        let mut begun = Begun {
            response: Bytes::new(),
            header: BytesMut::new(),
        };
        while let Some(message) = self.next_message(asked, 0).await? {
            match message.tag {
                tag::COPY_OUT_RESPONSE => begun.response = message.bytes,
                tag::COPY_DATA => {
                    let part = whole.message(0, message.body());
                    if !part.is_empty() {
                        write::copy_data(&mut begun.header, part);
                    }
                }
                _ => {}
            }
        }
        Ok(begun)
    }
}

/// By column of the query. `rows`: its whole RowDescription.
fn quoted(force: &ForceQuote, rows: &Bytes) -> Result<Vec<bool>, Fault> {
    let description = RowDescription::parse(rows.get(5..).unwrap_or_default())?;
    let is_quoted = |name: &[u8]| match force {
        ForceQuote::All => true,
        ForceQuote::Columns(names) => names.iter().any(|forced| forced.as_bytes() == name),
    };
    Ok(description
        .fields()
        .map(|field| is_quoted(field.name))
        .collect())
}

/// PostgreSQL has taken it for one.
fn no_query() -> RouterError {
    RouterError::new(
        wire::sqlstate::INTERNAL_ERROR,
        "the query of a COPY gives no rows",
    )
}

fn other_encoding() -> RouterError {
    RouterError::unsupported(
        "copy-query-encoding",
        "this query can be copied in UTF8 only",
    )
    .detail("The router writes its rows, and does not know the characters of other encodings.")
    .hint("SET client_encoding TO 'UTF8'.")
}
