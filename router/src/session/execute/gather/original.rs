//! The client's own text, as the home shard reads it: the types of its parameters, and the columns that the
//! client is told of. The home shard has all tables, views and types, so a mistake in the text is told in
//! PostgreSQL's own words and positions.

use std::rc::Rc;

use bytes::Bytes;
use wire::backend::{ParameterDescription, RowDescription, tag};

use super::super::super::fault::Fault;
use super::super::super::state::Session;
use super::super::Invocation;
use super::super::shares::unshared;
use crate::backend::prepared::StatementIdentity;

/// All in the home shard's oids.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) struct Original {
    /// Types.
    pub parameters: Vec<u32>,
    /// Types.
    pub columns: Vec<u32>,
    /// The whole RowDescription in text formats, or NoData.
    pub rows: Bytes,
}

impl Original {
    /// `parameters`, `rows`: whole messages of a statement's description.
    pub fn read(parameters: &[u8], rows: Bytes) -> Result<Self, Fault> {
        let described = ParameterDescription::parse(parameters.get(5..).unwrap_or_default())?;
        let columns = match rows.first() {
            Some(&tag::ROW_DESCRIPTION) => {
                let description = RowDescription::parse(&rows[5..])?;
                description.fields().map(|field| field.type_oid).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self {
            parameters: described.types.iter().collect(),
            columns,
            rows,
        })
    }
}

impl Session {
    /// The description of the client's text: a text that comes again is not described again.
    pub(in crate::session::execute) async fn original_description(
        &mut self,
        invocation: &Invocation<'_>,
    ) -> Result<Rc<Original>, Fault> {
        match invocation {
            Invocation::Simple { text } => {
                let identity = unshared(text, &[]);
                self.original_of(&identity).await
            }
            Invocation::Extended { identity, .. } => self.original_of(identity).await,
        }
    }

    /// Types of the parameters of a text, as PostgreSQL infers those that are not declared.
    pub(in crate::session) async fn inferred_types(
        &mut self,
        identity: &StatementIdentity,
    ) -> Result<Vec<u32>, Fault> {
        Ok(self.original_of(identity).await?.parameters.clone())
    }

    /// The same by the identity of the text.
    pub(in crate::session::execute) async fn original_of(
        &mut self,
        identity: &StatementIdentity,
    ) -> Result<Rc<Original>, Fault> {
        // With temporary relations of its own a session's text may mean something else.
        let is_shared = !self.plans_are_own();
        let space = Rc::clone(self.current_space());
        if is_shared && let Some(known) = space.original(&identity.text, &identity.types) {
            return Ok(known);
        }
        let home = self.home();
        let description = self.ask_description(identity, home).await?;
        let original = Rc::new(Original::read(&description.parameters, description.rows)?);
        if is_shared {
            space.keep_original(&identity.text, &identity.types, &original);
        }
        Ok(original)
    }
}
