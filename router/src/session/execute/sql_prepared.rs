//! PREPARE, EXECUTE and DEALLOCATE in SQL. They share names with the protocol's statements.

use std::rc::Rc;

use super::super::extended::{Prepared, no_such_statement};
use super::super::fault::Fault;
use super::super::planning::OneShard;
use super::super::state::Session;
use super::Invocation;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::{KeyExpr, Plan};
use crate::route::{self, Arguments};

impl Session {
    /// PREPARE is checked by a shard at once, as the text of a statement with these types.
    pub(super) async fn sql_prepare(
        &mut self,
        name: &str,
        argument_types: &[String],
        text: &str,
    ) -> Result<(), Fault> {
        if self.extended.named.contains_key(name.as_bytes()) {
            let text = format!("prepared statement \"{name}\" already exists");
            return Err(RouterError::new("42P05", text).into());
        }
        let types = self.type_oids(argument_types).await?;
        let plan = self.plan_text(text)?;
        if let crate::plan::Action::Refuse(error) = &plan.action {
            return Err(error.clone().into());
        }
        let identity = self.identity(text, &types);
        self.check_text(&identity).await?;
        let version = self.plan_version();
        let prepared = Rc::new(Prepared {
            rewritten: self.rewritten(&plan, &identity),
            identity,
            plan,
            version,
            by_sql: true,
        });
        self.remember(name.as_bytes(), &prepared)?;
        self.answer_complete("PREPARE");
        Ok(())
    }

    /// The oids of type names, as the home shard reads them.
    async fn type_oids(&mut self, names: &[String]) -> Result<Vec<u32>, Fault> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let casts: Vec<String> = names
            .iter()
            .map(|name| format!("({}::regtype)::oid", crate::settings::quote_literal(name)))
            .collect();
        let home = self.home();
        let index = self.joined(home).await?;
        let rows = self
            .run_quietly(index, &format!("SELECT {}", casts.join(", ")))
            .await?;
        let row = rows.into_iter().next().unwrap_or_default();
        let oids = row
            .iter()
            .map(|oid| oid.as_deref().and_then(|oid| oid.parse().ok()));
        Ok(oids.map(|oid| oid.unwrap_or(0)).collect())
    }

    /// Has a shard parse the statement, so that its mistakes are told now.
    pub(in crate::session) async fn check_text(
        &mut self,
        identity: &Rc<StatementIdentity>,
    ) -> Result<(), Fault> {
        let home = self.home();
        let index = self.joined(home).await?;
        self.ensure_prepared(index, identity, false, b"x")?;
        self.finish_begin(index).await
    }

    /// EXECUTE: under the server's own name of the statement, on the shard that its arguments tell.
    pub(super) async fn sql_execute(
        &mut self,
        name: &str,
        arguments: &[String],
        invocation: &Invocation<'_>,
    ) -> Result<(), Fault> {
        let prepared = self.prepared(name.as_bytes())?;
        self.check_not_failed(&prepared.plan)?;
        let shard = self.execute_target(&prepared.plan, arguments)?;
        let OneShard::Shard(shard) = shard else {
            let text = super::arguments::put_in(&prepared.identity.text, arguments)?;
            return Box::pin(self.execute_as_text(&text)).await;
        };
        let index = self.joined(shard).await?;
        self.note_effect(index, prepared.plan.effect);
        self.ensure_prepared(index, &prepared.identity, false, b"x")?;
        let server_name = String::from_utf8_lossy(&prepared.identity.server_name).into_owned();
        let list = arguments.join(", ");
        let text = if arguments.is_empty() {
            format!("EXECUTE {server_name}")
        } else {
            format!("EXECUTE {server_name}({list})")
        };
        self.forward_text(index, &text, invocation).await?;
        Ok(())
    }

    /// A statement that needs several shards runs as its text with the arguments put in.
    async fn execute_as_text(&mut self, text: &str) -> Result<(), Fault> {
        let mut statements = crate::parse::parse(text)?;
        if statements.is_empty() {
            return Ok(());
        }
        let statement = statements.remove(0);
        let plan = self.plan_statement(&statement);
        self.simple_statement(&statement, &plan, true).await
    }

    /// The shard by the arguments' texts. One that is no plain literal makes the key unknown.
    fn execute_target(&self, plan: &Plan, arguments: &[String]) -> Result<OneShard, Fault> {
        if let crate::plan::Action::ByKey(by_key) = &plan.action {
            if by_key.rewrite.is_some() {
                return Ok(OneShard::No);
            }
            let key = literal_key(&by_key.key, arguments);
            let Some(key) = key else {
                return Ok(OneShard::No);
            };
            let map = &self.space.state.map;
            let encoding = self.encoding();
            return Ok(
                match route::target(&key, by_key.key_type, Arguments::Whole, &[], encoding, map) {
                    route::Target::Shard(shard) => OneShard::Shard(shard),
                    route::Target::Nowhere => OneShard::Shard(self.any_shard()),
                    route::Target::Unknown => OneShard::No,
                },
            );
        }
        Ok(self.one_shard(plan, Arguments::Whole))
    }

    pub(super) fn sql_deallocate(&mut self, name: Option<&str>) -> Result<(), Fault> {
        let Some(name) = name else {
            self.extended.named.clear();
            self.answer_complete("DEALLOCATE ALL");
            return Ok(());
        };
        if self.extended.named.remove(name.as_bytes()).is_none() {
            return Err(no_such_statement(name.as_bytes()).into());
        }
        self.answer_complete("DEALLOCATE");
        Ok(())
    }
}

/// The key expression with its parameters replaced by literal arguments.
fn literal_key(key: &KeyExpr, arguments: &[String]) -> Option<KeyExpr> {
    match key {
        KeyExpr::Parameter { number, cast_to } => {
            let text = arguments.get(usize::from(*number).checked_sub(1)?)?;
            let value = super::arguments::constant(text)?;
            Some(KeyExpr::Literal {
                location: 0,
                negative: false,
                cast_to: *cast_to,
                value,
            })
        }
        KeyExpr::Arithmetic {
            operator,
            left,
            right,
        } => Some(KeyExpr::Arithmetic {
            operator: *operator,
            left: Box::new(literal_key(left, arguments)?),
            right: Box::new(literal_key(right, arguments)?),
        }),
        other => Some(other.clone()),
    }
}
