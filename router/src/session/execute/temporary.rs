//! Temporary relations: they live on the home shard's connection, which stays with the client.

use super::super::fault::Fault;
use super::super::state::Session;
use super::super::transaction::State;
use super::Invocation;
use crate::plan::{Effect, Plan};

/// PostgreSQL knows best which there are: a rollback, ON COMMIT DROP or CASCADE takes some away.
const NAMES: &str = "SELECT relname FROM pg_catalog.pg_class \
    WHERE relnamespace = pg_catalog.pg_my_temp_schema()";

impl Session {
    /// Runs the client's text on the home shard and learns which temporary relations there are now.
    pub(super) async fn temporary_command(
        &mut self,
        plan: &Plan,
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let home = self.home();
        let index = self.joined(home).await?;
        let effect = Effect {
            pins: false,
            ..plan.effect
        };
        self.note_effect(index, effect);
        self.forward_text(index, invocation.text(), invocation)
            .await?;
        self.pinned |= plan.effect.pins;
        self.transaction.temporaries_touched |= self.transaction.state != State::Idle;
        self.read_temporaries(index).await
    }

    /// ROLLBACK TO may have taken temporary relations away, or brought them back.
    pub(super) async fn read_temporaries_at_savepoint(&mut self) -> Result<(), Fault> {
        let home = self.transaction.find(self.home());
        match home.filter(|_| self.transaction.temporaries_touched) {
            Some(index) => self.read_temporaries(index).await,
            None => Ok(()),
        }
    }

    /// The transaction that made or dropped temporary relations is over.
    pub(in crate::session) async fn read_temporaries_at_end(&mut self) {
        let outcome = match self.transaction.find(self.home()) {
            Some(index) if !self.transaction.branches[index].server.broken => {
                self.read_temporaries(index).await
            }
            // They went with their connection.
            _ => {
                self.temporaries.clear();
                Ok(())
            }
        };
        if let Err(fault) = outcome {
            tracing::warn!(?fault, "cannot read the names of temporary relations");
        }
    }

    async fn read_temporaries(&mut self, index: usize) -> Result<(), Fault> {
        let rows = self.run_quietly(index, NAMES).await?;
        self.temporaries = rows.into_iter().flatten().flatten().collect();
        Ok(())
    }
}
