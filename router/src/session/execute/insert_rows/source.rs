//! The query of an INSERT: described, and run with its rows kept.

use std::rc::Rc;

use bytes::BytesMut;
use wire::frontend::Bind;
use wire::{Format, frontend};

use super::super::super::fault::Fault;
use super::super::super::kept_rows::KeptRows;
use super::super::super::state::Session;
use super::super::Invocation;
use super::super::gather::without_position;
use super::super::shares::unshared;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::insert_rows::InsertRows;

/// The query, ready to be run.
pub(super) struct Source {
    identity: Rc<StatementIdentity>,
    /// Types of its columns, in the home shard's oids.
    pub types: Vec<u32>,
}

impl Session {
    pub(super) async fn describe_source(
        &mut self,
        insert: &InsertRows,
        parameters: &[u32],
    ) -> Result<Source, Fault> {
        let identity = unshared(&insert.source_text, parameters);
        let types = self.original_of(&identity).await?.columns.clone();
        Ok(Source { identity, types })
    }

    /// All its rows, in `formats`.
    pub(super) async fn run_source(
        &mut self,
        insert: &InsertRows,
        source: &Source,
        formats: &[Format],
        invocation: &Invocation<'_>,
    ) -> Result<KeptRows, Fault> {
        let own: Vec<_> = invocation
            .bind()
            .map(|bind| bind.parameters().collect())
            .unwrap_or_default();
        let mut message = BytesMut::new();
        frontend::write::bind(&mut message, b"", b"", &own, formats)?;
        let query = Invocation::Extended {
            identity: &source.identity,
            bind: &Bind::parse(&message[5..])?,
            max_rows: Some(0),
        };
        // A position would be one in the query by itself.
        let rest = self.run_kept(&insert.source, &query).await;
        let rest = rest.map_err(without_position)?;
        Ok(rest.ok_or_else(no_columns)?.rows)
    }
}

/// PostgreSQL has taken the INSERT, so its query has columns.
fn no_columns() -> RouterError {
    RouterError::new(
        wire::sqlstate::INTERNAL_ERROR,
        "the query of an INSERT gives no rows",
    )
}
