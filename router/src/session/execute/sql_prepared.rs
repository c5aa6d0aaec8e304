//! PREPARE, EXECUTE and DEALLOCATE in SQL. They share names with the protocol's statements.

use std::rc::Rc;

use super::super::extended::{Prepared, no_such_statement};
use super::super::fault::Fault;
use super::super::planning::OneShard;
use super::super::state::Session;
use super::Invocation;
use crate::backend::prepared::StatementIdentity;
use crate::error::RouterError;
use crate::plan::{Action, KeyExpr, Plan, SessionCommand};
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
        if let Action::Refuse(error) = &plan.action {
            return Err(error.clone().into());
        }
        let identity = self.identity(text, &types);
        self.check_text(&identity).await?;
        let parameter_types = Some(self.parameter_type_names(&identity).await?);
        let version = self.plan_version();
        let prepared = Rc::new(Prepared {
            rewritten: self.rewritten(&plan, &identity),
            identity,
            plan,
            version,
            parameter_types,
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

    /// The names of the types that the home shard, which has just prepared the statement, gives its parameters.
    async fn parameter_type_names(
        &mut self,
        identity: &StatementIdentity,
    ) -> Result<Rc<[String]>, Fault> {
        let name = String::from_utf8_lossy(&identity.server_name).into_owned();
        let sql = format!(
            "SELECT pg_catalog.quote_ident(nspname) || '.' || pg_catalog.quote_ident(typname) \
             FROM pg_catalog.pg_prepared_statements AS p, \
             LATERAL pg_catalog.unnest(p.parameter_types) WITH ORDINALITY AS x (type, place) \
             JOIN pg_catalog.pg_type AS t ON t.oid = x.type \
             JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace \
             WHERE p.name = {} ORDER BY place",
            crate::settings::quote_literal(&name)
        );
        let home = self.home();
        let index = self.joined(home).await?;
        let rows = self.run_quietly(index, &sql).await?;
        let first = |row: Vec<Option<String>>| row.into_iter().next().flatten();
        Ok(rows.into_iter().filter_map(first).collect())
    }

    /// The statement that a portal of `name` runs: for EXECUTE, the one that it names with its arguments put in.
    pub(in crate::session) fn prepared_to_run(
        &mut self,
        name: &[u8],
    ) -> Result<Rc<Prepared>, Fault> {
        let prepared = self.prepared(name)?;
        let Action::Session(SessionCommand::Execute {
            name: target,
            arguments,
        }) = &prepared.plan.action
        else {
            return Ok(prepared);
        };
        let target = self.prepared_for(target, arguments)?;
        let types = target.parameter_types.as_deref();
        let text = super::arguments::put_in(&target.identity.text, arguments, types);
        let plan = self.plan_text(&text)?;
        let identity = self.identity(&text, &[]);
        Ok(Rc::new(Prepared {
            rewritten: self.rewritten(&plan, &identity),
            identity,
            plan,
            version: self.plan_version(),
            parameter_types: None,
        }))
    }

    /// The statement that EXECUTE names, which wants as many arguments.
    fn prepared_for(&mut self, name: &str, arguments: &[String]) -> Result<Rc<Prepared>, Fault> {
        let prepared = self.prepared(name.as_bytes())?;
        if let Some(types) = &prepared.parameter_types {
            super::arguments::check_count(name, arguments.len(), types.len())?;
        }
        Ok(prepared)
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
        let prepared = self.prepared_for(name, arguments)?;
        self.admit(&prepared.plan)?;
        self.choose_source(&prepared.plan, &prepared.identity.text);
        let shard = self.execute_target(&prepared.plan, arguments)?;
        let OneShard::Shard(shard) = shard else {
            self.check_arguments(&prepared, arguments).await?;
            let types = prepared.parameter_types.as_deref();
            let text = super::arguments::put_in(&prepared.identity.text, arguments, types);
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

    /// Arguments of types that the parameters do not take are told in PostgreSQL's own words.
    async fn check_arguments(
        &mut self,
        prepared: &Prepared,
        arguments: &[String],
    ) -> Result<(), Fault> {
        if arguments.is_empty() {
            return Ok(());
        }
        let home = self.home();
        let index = self.joined(home).await?;
        self.ensure_prepared(index, &prepared.identity, false, b"x")?;
        let name = String::from_utf8_lossy(&prepared.identity.server_name).into_owned();
        let explain = format!("EXPLAIN EXECUTE {name}({})", arguments.join(", "));
        self.run_quietly(index, &explain).await.map(|_| ())
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
        if let Action::ByKey(by_key) = &plan.action {
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
