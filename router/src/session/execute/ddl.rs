//! Statements that change all shards alike, in one global transaction: under the cluster's lock for
//! DDL, on the home shard first, whose reply is the client's, then on the others at once.

mod concurrently;
mod fill;
pub(super) mod history;
mod index;
mod outside;
mod timeouts;

use std::rc::Rc;

use super::super::fault::Fault;
use super::super::state::Session;
use super::super::transaction::State;
use super::Invocation;
use crate::error::RouterError;
use crate::plan::{Action, Ddl, Effect, Plan};
use crate::settings::quote_literal;

/// One change of tables or rules at a time in the whole cluster, to the end of the transaction.
const LOCK: &str = "SELECT oskol.ddl_lock()";

impl Session {
    pub(super) async fn ddl_command(
        &mut self,
        plan: &Rc<Plan>,
        ddl: &Ddl,
        invocation: &Invocation<'_>,
        in_string: bool,
    ) -> Result<(), Fault> {
        if ddl.outside_transaction {
            return self.ddl_outside(ddl, invocation).await;
        }
        let renewed = self.lock_catalog(plan, invocation).await?;
        let renewed = renewed.as_ref().unwrap_or(plan);
        let Action::Ddl(ddl) = &renewed.action else {
            return Err(changed_meanwhile(renewed));
        };
        let before: Vec<u32> = self
            .current_space()
            .snapshot()
            .kept_keys
            .keys()
            .copied()
            .collect();
        let complete = self.ddl_everywhere(ddl, renewed.effect).await?;
        self.note_ddl(ddl);
        let complete = match &ddl.fill {
            Some(insert) => self.fill_table(insert).await?,
            None => complete,
        };
        let looks_at_rows = ddl.changes_entries || ddl.validation.is_some();
        if ddl.changes_catalog && (looks_at_rows || self.may_go_on(invocation, in_string)) {
            self.reload_private_catalog().await?;
        }
        if ddl.changes_entries {
            self.enter_all_rows().await?;
        }
        let mut validated = Vec::new();
        if let Some(validation) = &ddl.validation {
            validated = Box::pin(self.validate(validation, &before)).await?;
        }
        self.record(ddl, invocation, &complete, &validated).await?;
        self.out.extend_from_slice(&complete);
        Ok(())
    }

    /// Takes the cluster's lock for DDL; the transaction plans with the catalog as it is under the
    /// lock. Gives the statement's plan made anew, unless the lock was held already.
    pub(super) async fn lock_catalog(
        &mut self,
        plan: &Rc<Plan>,
        invocation: &Invocation<'_>,
    ) -> Result<Option<Rc<Plan>>, Fault> {
        self.open_around_ddl();
        let home = self.home();
        let index = self.join(home).await?;
        if self.transaction.catalog_locked {
            return Ok(None);
        }
        self.run_quietly(index, LOCK).await?;
        self.transaction.catalog_locked = true;
        self.reload_private_catalog().await?;
        let Some(statement) = crate::parse::parse(invocation.text())?.into_iter().next() else {
            return Ok(None);
        };
        let renewed = self.plan_statement(&statement);
        if let Action::Refuse(error) = &renewed.action {
            return Err(error.clone().into());
        }
        for notice in renewed
            .notices
            .iter()
            .filter(|notice| !plan.notices.contains(notice))
        {
            self.notice(wire::backend::Severity::Notice, notice);
        }
        Ok(Some(renewed))
    }

    /// Runs the statement and what goes with it; gives the home shard's CommandComplete.
    async fn ddl_everywhere(&mut self, ddl: &Ddl, effect: Effect) -> Result<bytes::Bytes, Fault> {
        if let Some(change) = &ddl.database {
            self.leave_databases(change).await;
        }
        let text = with_verifier(ddl);
        let home_shard = self.home();
        let home = self.join(home_shard).await?;
        self.note_effect(home, effect);
        let complete = self.run_for_client(home, &text).await?;
        let also = ddl.every_shard_also.iter().chain(&ddl.home_also);
        let also = in_sequence(also.map(String::as_str));
        if !also.is_empty() {
            self.run_quietly(home, &also).await?;
        }
        let text = ddl.text_other_shards.as_deref().unwrap_or(&text);
        let also = ddl.every_shard_also.iter().chain(&ddl.other_shards_also);
        let all = std::iter::once(text).chain(also.map(String::as_str));
        self.run_on_others(&in_sequence(all), effect).await?;
        Ok(complete)
    }

    /// Runs `sql` on every shard but home, in the transaction.
    pub(super) async fn run_on_others(&mut self, sql: &str, effect: Effect) -> Result<(), Fault> {
        if sql.is_empty() {
            return Ok(());
        }
        self.join_every_shard().await?;
        let others = self.others();
        for index in &others {
            self.note_effect(*index, effect);
        }
        self.run_at_once(&others, sql).await.into_result()?;
        Ok(())
    }

    /// What the cluster must be told once the transaction is committed.
    fn note_ddl(&mut self, ddl: &Ddl) {
        self.transaction.catalog_changed |= ddl.changes_catalog;
        self.transaction.roles_changed = true;
        self.transaction
            .reset_sequences
            .extend(ddl.reset_sequences.iter().cloned());
        for branch in &mut self.transaction.branches {
            // The client's next Parse of the same text must see the change.
            branch.server.prepared.unnamed = None;
        }
    }

    /// Statements of this client may follow in the same transaction.
    pub(super) fn may_go_on(&self, invocation: &Invocation<'_>, in_string: bool) -> bool {
        let alone = matches!(invocation, Invocation::Simple { .. }) && !in_string;
        !(alone && self.transaction.implicit && self.transaction.state == State::Open)
    }
}

/// The text with one password verifier, the same on every shard, where the password was.
fn with_verifier(ddl: &Ddl) -> String {
    let Some(hole) = &ddl.password else {
        return ddl.text.clone();
    };
    let verifier = quote_literal(&crate::scram::build_verifier(&hole.password));
    let (before, after) = (&ddl.text[..hole.start], &ddl.text[hole.end..]);
    format!("{before}{verifier}{after}")
}

/// One string of several statements. A statement may end in a comment.
fn in_sequence<'a>(statements: impl Iterator<Item = &'a str>) -> String {
    let statements: Vec<_> = statements
        .filter(|statement| !statement.is_empty())
        .collect();
    statements.join("\n;\n")
}

/// Somebody else's DDL came first, and the statement is another kind of statement now.
pub(super) fn changed_meanwhile(plan: &Plan) -> Fault {
    RouterError::new(
        "40001",
        "the catalog was changed by another session meanwhile",
    )
    .detail(format!(
        "The statement would now run otherwise: {}.",
        plan.reason
    ))
    .hint("Run it again.")
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::PasswordHole;

    #[test]
    fn the_password_is_replaced_by_a_verifier_of_it() {
        let text = "ALTER ROLE a PASSWORD 'x' LOGIN".to_owned();
        let hole = PasswordHole {
            start: 22,
            end: 25,
            password: "x".into(),
        };
        let ddl = Ddl {
            text,
            password: Some(hole),
            ..Ddl::default()
        };
        let sent = with_verifier(&ddl);
        assert!(
            sent.starts_with("ALTER ROLE a PASSWORD 'SCRAM-SHA-256$4096:"),
            "{sent}"
        );
        assert!(sent.ends_with("=' LOGIN"), "{sent}");
    }

    #[test]
    fn a_comment_at_the_end_of_a_statement_does_not_hide_the_next() {
        let all = ["CREATE TABLE t () -- here", "", "SELECT 1"];
        assert_eq!(
            in_sequence(all.into_iter()),
            "CREATE TABLE t () -- here\n;\nSELECT 1"
        );
    }
}
