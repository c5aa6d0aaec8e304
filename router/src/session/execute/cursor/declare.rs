//! DECLARE.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use topology::ShardId;
use wire::Format;
use wire::frontend::{Bind, write};

use super::super::super::cursors::{Cursor, KeptCursor, Place, Position};
use super::super::super::fault::Fault;
use super::super::super::planning::OneShard;
use super::super::super::state::Session;
use super::super::super::transaction::State;
use super::super::Invocation;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::{Action, DeclareCursor, Plan};

impl Session {
    /// One shard's cursor lives there, unless it is to outlive the transaction.
    pub(in super::super) async fn declare_cursor(
        &mut self,
        declared: &DeclareCursor,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        if let Action::Refuse(error) = &declared.plan.action {
            return Err(error.clone().into());
        }
        if self.transaction.state != State::Idle {
            self.choose_source(&declared.plan, &declared.query);
        }
        let shard = self.one_shard(&declared.plan, invocation.arguments());
        match shard {
            OneShard::Shard(shard) if !declared.hold => {
                self.declare_on_shard(shard, declared, plan, invocation)
                    .await
            }
            _ => self.declare_here(declared, invocation).await,
        }
    }

    async fn declare_on_shard(
        &mut self,
        shard: ShardId,
        declared: &DeclareCursor,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        self.check_new(declared)?;
        let index = self.joined(shard).await?;
        self.note_effect(index, plan.effect);
        self.note_effect(index, declared.plan.effect);
        self.forward_text(index, &declared.text, invocation).await?;
        self.note_cursor(declared, Place::OnShard(shard));
        Ok(())
    }

    /// The query is run now, and its rows are kept.
    async fn declare_here(
        &mut self,
        declared: &DeclareCursor,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let types: &[u32] = match invocation {
            Invocation::Simple { .. } => &[],
            Invocation::Extended { identity, .. } => {
                if self.transaction.state == State::Idle && declared.hold {
                    // What follows in the pipeline may fail, and takes the cursor back.
                    self.open_around();
                }
                &identity.types
            }
        };
        // What PostgreSQL has to say against the statement, it says first.
        let home = self.home();
        self.ask_description(&unnamed(&declared.text, types), home)
            .await?;
        if declared.name.is_empty() {
            let text = "invalid cursor name: must not be empty";
            return Err(RouterError::new(wire::sqlstate::INVALID_CURSOR_NAME, text).into());
        }
        if !declared.hold {
            self.require_block_around_cursor(invocation)?;
        }
        self.check_new(declared)?;
        let identity = unnamed(&declared.query, types);
        let description = self.ask_description(&identity, home).await?.rows;
        let kept = self
            .kept_cursor(declared, &identity, description, invocation)
            .await?;
        self.note_cursor(declared, Place::Here(Box::new(kept)));
        self.answer_complete("DECLARE CURSOR");
        Ok(())
    }

    async fn kept_cursor(
        &mut self,
        declared: &DeclareCursor,
        identity: &Rc<StatementIdentity>,
        description: Bytes,
        invocation: &Invocation<'_>,
    ) -> Result<KeptCursor, Fault> {
        let format = kept_format(declared, invocation);
        let message = bind_message(invocation, format)?;
        let bind = Bind::parse(&message[5..])?;
        let query = Invocation::Extended {
            identity,
            bind: &bind,
            max_rows: Some(0),
        };
        let made = self
            .make_rows(&declared.plan, &query, declared.hold)
            .await?;
        let Some(made) = made else {
            return Err(not_a_query(&declared.name).into());
        };
        Ok(KeptCursor {
            position: Position::before_first(made.rows.len(), declared.no_scroll),
            rows: made.rows,
            failure: made.failure,
            description,
            format,
            binary: declared.binary,
            parameters: Rc::clone(&self.told),
        })
    }

    /// A string of several statements counts as a block, a pipeline does not.
    fn require_block_around_cursor(&self, invocation: &Invocation<'_>) -> Result<(), Fault> {
        match invocation {
            Invocation::Simple { .. } if self.transaction.state != State::Idle => Ok(()),
            _ => self.require_transaction("DECLARE CURSOR"),
        }
    }

    fn check_new(&self, declared: &DeclareCursor) -> Result<(), Fault> {
        let name = &declared.name;
        if !self.cursors.contains(name) && !self.extended.has_portal(name) {
            return Ok(());
        }
        let text = format!("cursor \"{name}\" already exists");
        Err(RouterError::new(wire::sqlstate::DUPLICATE_CURSOR, text).into())
    }

    fn note_cursor(&mut self, declared: &DeclareCursor, place: Place) {
        let cursor = Cursor {
            place,
            hold: declared.hold,
            lasts: declared.hold && self.transaction.state == State::Idle,
            declared_at: self.transaction.log.len(),
        };
        self.cursors.insert(&declared.name, cursor);
    }
}

/// Drivers that read binary values ask for them at DECLARE already, where there are none.
fn kept_format(declared: &DeclareCursor, invocation: &Invocation<'_>) -> Format {
    let asks_binary = invocation
        .bind()
        .is_some_and(|bind| bind.result_formats().of(0) == Format::Binary);
    if declared.binary || asks_binary {
        Format::Binary
    } else {
        Format::Text
    }
}

/// The client's parameters, for rows in one format.
fn bind_message(invocation: &Invocation<'_>, format: Format) -> Result<BytesMut, Fault> {
    let own = invocation.bind().map(Bind::parameters);
    let parameters: Vec<_> = own.into_iter().flatten().collect();
    let mut message = BytesMut::new();
    write::bind(&mut message, b"", b"", &parameters, &[format])?;
    Ok(message)
}

/// A statement that is not kept prepared.
fn unnamed(text: &str, types: &[u32]) -> Rc<StatementIdentity> {
    Rc::new(StatementIdentity {
        number: 0,
        text: text.into(),
        types: types.into(),
        server_name: Box::default(),
    })
}

fn not_a_query(name: &str) -> RouterError {
    RouterError::unsupported(
        "cursor-query",
        "a cursor over this statement is not supported",
    )
    .detail(format!(
        "What cursor \"{name}\" is declared for is carried out by the router and is not a query of tables."
    ))
    .hint("Run the statement without a cursor.")
}
