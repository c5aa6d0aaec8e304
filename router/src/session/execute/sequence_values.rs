//! `nextval`, `currval`, `lastval` and `setval` of sequences whose ids the router gives out, as statements of
//! their own: one row with one int8.

use bytes::BytesMut;
use wire::Format;
use wire::backend::{Field, write};

use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use super::by_key::INT8;
use super::reply::Reply;
use crate::error::RouterError;
use crate::plan::{ClusterCommand, SequenceName};
use crate::settings::{quote_identifier, quote_literal};

impl Session {
    /// `None`: not a command about sequences.
    pub(super) async fn sequence_command(
        &mut self,
        command: &ClusterCommand,
        invocation: &Invocation<'_>,
    ) -> Option<Result<(), Fault>> {
        let (value, column) = match command {
            ClusterCommand::NextValue { sequence, column } => {
                (self.next_id(sequence).await, column)
            }
            ClusterCommand::CurrentValue { sequence, column } => {
                let current = self.current_id(sequence.as_ref());
                (current.map_err(Fault::from), column)
            }
            ClusterCommand::SetValue {
                sequence,
                value,
                is_called,
                column,
            } => (self.set_value(sequence, *value, *is_called).await, column),
            ClusterCommand::SetValueFromMax {
                sequence,
                table,
                max_of,
                column,
            } => (
                self.set_value_from_max(sequence, table, max_of).await,
                column,
            ),
            ClusterCommand::ShardTable { .. }
            | ClusterCommand::ReferenceTable { .. }
            | ClusterCommand::LocalTable { .. }
            | ClusterCommand::Route(_) => return None,
        };
        Some(match value {
            Ok(value) => self.reply_with(value, column, invocation).await,
            Err(fault) => Err(fault),
        })
    }

    /// `setval` with the client's own rights on the home shard, whose sequence is the truth; then no router
    /// gives out an id leased before. Like PostgreSQL's, it outlives a rollback.
    async fn set_value(
        &mut self,
        sequence: &SequenceName,
        value: i64,
        is_called: bool,
    ) -> Result<i64, Fault> {
        let name = format!(
            "{}.{}",
            quote_identifier(&sequence.schema),
            quote_identifier(&sequence.name)
        );
        let sql = format!(
            "SELECT pg_catalog.setval({}, '{value}'::bigint, {is_called})",
            quote_literal(&name)
        );
        let index = self.joined(self.home()).await?;
        self.run_quietly(index, &sql).await?;
        self.worker.control.leases_void(&self.database).await?;
        if is_called {
            self.last_ids.insert(sequence.clone(), value);
        }
        Ok(value)
    }

    /// The greatest value over all shards; a local table has rows at home only.
    async fn set_value_from_max(
        &mut self,
        sequence: &SequenceName,
        table: &SequenceName,
        max_of: &str,
    ) -> Result<i64, Fault> {
        let sql = format!(
            "SELECT pg_catalog.max({})::bigint FROM {}.{}",
            quote_identifier(max_of),
            quote_identifier(&table.schema),
            quote_identifier(&table.name)
        );
        let mut greatest = None;
        for shard in self.space.state.map.shards().to_vec() {
            let index = self.joined(shard).await?;
            let rows = self.run_quietly(index, &sql).await?;
            let value = rows.first().and_then(|row| row.first().cloned()).flatten();
            greatest = greatest.max(parsed(value)?);
        }
        let is_called = greatest.is_some();
        self.set_value(sequence, greatest.unwrap_or(1), is_called)
            .await
    }

    /// One row of one column.
    async fn reply_with(
        &mut self,
        value: i64,
        column: &str,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let formats = invocation.bind().map(|bind| bind.result_formats());
        let format = formats.map_or(Format::Text, |formats| formats.of(0));
        let mut reply = Reply::to(invocation);
        let mut description = BytesMut::new();
        write::row_description(&mut description, [field(column)]);
        let home = self.home();
        self.reply_description(&mut reply, home, &description, 0)?;
        let image = match format {
            Format::Text => value.to_string().into_bytes(),
            Format::Binary => value.to_be_bytes().to_vec(),
        };
        self.reply_row(&mut reply, |out| {
            write::data_row(out, [Some(image.as_slice())]);
            Ok(true)
        })
        .await?;
        let mut complete = BytesMut::new();
        write::command_complete(&mut complete, b"SELECT 1");
        self.reply_complete(reply, &complete).await
    }
}

fn parsed(value: Option<String>) -> Result<Option<i64>, Fault> {
    let Some(text) = value else {
        return Ok(None);
    };
    let value = text.parse().map_err(|_| {
        RouterError::new("XX000", "a shard gave no number for max()")
            .detail(format!("It gave {text}."))
    })?;
    Ok(Some(value))
}

fn field(name: &str) -> Field<'_> {
    Field {
        name: name.as_bytes(),
        table_oid: 0,
        column: 0,
        type_oid: INT8,
        type_size: 8,
        type_modifier: -1,
        format: Format::Text,
    }
}
