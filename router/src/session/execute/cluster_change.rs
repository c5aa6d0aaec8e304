//! How the commands of the cluster that change a table on every shard begin and end.

use std::rc::Rc;

use wire::backend::{Field, write};

use super::super::fault::Fault;
use super::super::state::Session;
use super::Invocation;
use crate::plan::Plan;

/// What is told of a command that has been carried out.
pub(super) struct Done<'a> {
    /// Of the schema history.
    pub(super) kind: &'static str,
    /// What a shard that lacks the change could run by itself; empty where none can.
    pub(super) steps: &'a str,
    /// The column of the reply.
    pub(super) function: &'static str,
}

impl Session {
    /// Takes the cluster's lock for DDL and has a branch on every shard. Returns the plan by the catalog as it is then.
    pub(super) async fn begin_cluster_change(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
    ) -> Result<Rc<Plan>, Fault> {
        let renewed = self.lock_catalog(plan, invocation).await?;
        let plan = renewed.unwrap_or_else(|| Rc::clone(plan));
        self.join_every_shard().await?;
        for index in 0..self.transaction.branches.len() {
            self.note_effect(index, plan.effect);
        }
        Ok(plan)
    }

    /// Notes the change in the history, has later statements of the transaction see it, and answers.
    pub(super) async fn end_cluster_change(
        &mut self,
        done: &Done<'_>,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
        self.note_schema_change(invocation.text(), done.kind, done.steps)
            .await?;
        self.note_change();
        if self.may_go_on(invocation, in_string) {
            self.reload_private_catalog().await?;
        }
        answer_void(&mut self.out, done.function, invocation);
        Ok(())
    }

    fn note_change(&mut self) {
        self.transaction.catalog_changed = true;
        for branch in &mut self.transaction.branches {
            branch.server.prepared.unnamed = None;
        }
    }
}

/// As PostgreSQL answers a function that returns void: one row with an empty value.
fn answer_void(out: &mut bytes::BytesMut, function: &str, invocation: &Invocation<'_>) {
    const VOID: u32 = 2278;
    if matches!(invocation, Invocation::Simple { .. }) {
        let field = Field {
            name: function.as_bytes(),
            table_oid: 0,
            column: 0,
            type_oid: VOID,
            type_size: 4,
            type_modifier: -1,
            format: wire::Format::Text,
        };
        write::row_description(out, [field]);
    }
    write::data_row(out, [Some(&b""[..])]);
    write::command_complete(out, b"SELECT 1");
}
