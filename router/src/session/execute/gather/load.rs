//! Many rows into a temporary table of the scratch connection, by COPY in binary. A row of COPY is the body of
//! a DataRow, so nothing is encoded anew; what the scratch connection does not take holds the shards back.

use bytes::{BufMut, BytesMut};
use wire::backend::tag;

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::scatter::out_of_step;
use super::values::Work;
use crate::backend::QueryError;

/// Signature, flags and length of the extension of a binary COPY file (section "COPY", "Binary Format").
const FILE_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In place of a row's number of columns.
const FILE_TRAILER: i16 = -1;
/// Bytes that wait for the scratch connection before the shards are made to wait.
const SEND_ABOVE: usize = 256 * 1024;

impl Session {
    /// Makes the table of a pull with columns `c1`, `c2`, ... of these types (the home shard's oids), and begins
    /// to fill it. Gives its qualified name.
    pub(super) async fn begin_load(
        &mut self,
        work: &mut Work<'_>,
        pull: usize,
        types: &[u32],
    ) -> Result<String, Fault> {
        let index = self.scratch(work).await?;
        let name = format!("pg_temp.oskol_pull_{}", pull + 1);
        let server = &mut self.transaction.branches[index].server;
        let intern = &self.worker.parameters;
        let nulls = server.query(&null_columns(types), intern).await?;
        let nulls = nulls.into_iter().flatten().flatten().next();
        let nulls = nulls.ok_or_else(out_of_step)?;
        // Not CREATE TABLE with its columns, for which event triggers look after sequences.
        let create =
            format!("CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {nulls} WITH NO DATA");
        server.query(&create, intern).await?;
        server.queue_query(format!("COPY {name} FROM STDIN (FORMAT binary)").as_bytes());
        loop {
            let message = server.message(intern).await?;
            match message.tag {
                tag::COPY_IN_RESPONSE => break,
                tag::ERROR_RESPONSE => {
                    let _ = server.rows_until_ready(intern).await;
                    return Err(Fault::Shard(message.bytes));
                }
                _ => {}
            }
        }
        self.set_copying(work, true);
        let server = &mut self.transaction.branches[index].server;
        wire::frontend::write::copy_data(&mut server.outbuf, FILE_HEADER);
        Ok(name)
    }

    /// One row: the body of a DataRow.
    pub(super) async fn load_row(&mut self, work: &mut Work<'_>, row: &[u8]) -> Result<(), Fault> {
        let index = self.scratch(work).await?;
        let server = &mut self.transaction.branches[index].server;
        wire::frontend::write::copy_data(&mut server.outbuf, row);
        if server.outbuf.len() < SEND_ABOVE {
            return Ok(());
        }
        server.send().await?;
        // PostgreSQL is silent as long as all is well.
        if server.inbuf.is_empty() {
            return Ok(());
        }
        let index = self.scratch(work).await?;
        self.hear_load(work, index).await
    }

    /// The scratch connection has said something in the middle: what is not a failure is of no concern.
    async fn hear_load(&mut self, work: &mut Work<'_>, index: usize) -> Result<(), Fault> {
        let server = &mut self.transaction.branches[index].server;
        while let Some(header) = server.peek()? {
            if header.tag == tag::ERROR_RESPONSE {
                let failed = server.rows_until_ready(&self.worker.parameters).await;
                self.set_copying(work, false);
                return Err(failed.map_or_else(Fault::from, |_| out_of_step().into()));
            }
            if server.inbuf.len() < header.length {
                break;
            }
            server.message(&self.worker.parameters).await?;
        }
        Ok(())
    }

    /// All rows are there: from here on the finishing statement may read them.
    pub(super) async fn end_load(&mut self, work: &mut Work<'_>, name: &str) -> Result<(), Fault> {
        let index = self.scratch(work).await?;
        let server = &mut self.transaction.branches[index].server;
        let mut trailer = BytesMut::new();
        trailer.put_i16(FILE_TRAILER);
        wire::frontend::write::copy_data(&mut server.outbuf, &trailer);
        wire::frontend::write::copy_done(&mut server.outbuf);
        let ended = server.rows_until_ready(&self.worker.parameters).await;
        if matches!(ended, Ok(_) | Err(QueryError::Refused(_))) {
            self.set_copying(work, false);
        }
        ended?;
        // Without figures a join of such tables may be planned as if they were small.
        let server = &mut self.transaction.branches[index].server;
        let analyze = format!("ANALYZE {name}");
        server.query(&analyze, &self.worker.parameters).await?;
        Ok(())
    }

    fn set_copying(&self, work: &mut Work<'_>, copying: bool) {
        if let Some(scratch) = &mut work.scratch {
            scratch.copying = copying;
        }
    }
}

/// A NULL of each column's type as an output list: PostgreSQL itself names its types.
fn null_columns(types: &[u32]) -> String {
    let list: Vec<String> = types.iter().map(ToString::to_string).collect();
    format!(
        "SELECT pg_catalog.string_agg('NULL::' || pg_catalog.format_type(t, -1) || ' AS c' || n, ', ' ORDER BY n) \
         FROM pg_catalog.unnest('{{{}}}'::pg_catalog.oid[]) WITH ORDINALITY AS u(t, n)",
        list.join(",")
    )
}
