//! COPY: rows divided by key on the way in, put one after another on the way out. Takes the parse tree and the
//! text; gives a [`Plan`]. The data itself is `route::copy`'s.

pub mod action;
mod from;
mod options;

use std::rc::Rc;

use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, Node, RangeVar};
use schema::{Placement, Relation, RelationKind};

use super::facts::Facts;
use super::scope::{self, Found};
use super::tokens::Tokens;
use super::{
    Action, ByKey, Copy, CopyQuery, CopyTo, Effect, Fallback, Plan, PlanContext, Scatter, Split,
    plan_node, unsupported,
};
use crate::error::RouterError;
use crate::merge::Merge;
use crate::parse::{self, Statement};

type Planned = Result<Plan, RouterError>;

pub fn plan(statement: &Statement, copy: &CopyStmt, context: &PlanContext<'_>) -> Plan {
    let job = Job {
        statement,
        copy,
        context,
    };
    job.plan().unwrap_or_else(Plan::refused)
}

/// One COPY being planned.
struct Job<'a> {
    statement: &'a Statement,
    copy: &'a CopyStmt,
    context: &'a PlanContext<'a>,
}

impl Job<'_> {
    fn plan(&self) -> Planned {
        match (&self.copy.relation, self.copy.query.as_deref()) {
            (Some(range), _) => self.table(range),
            (None, Some(query)) => self.query(query),
            (None, None) => Ok(self.at_home("nothing to copy")),
        }
    }

    fn table(&self, range: &RangeVar) -> Planned {
        if range.schemaname == "oskol" && self.copy.is_from {
            return Err(unsupported::oskol_schema());
        }
        let relation = match scope::find(range, self.context) {
            Found::Relation(relation) => relation,
            Found::Home => return self.local(),
            Found::Temporary => {
                let effect = Effect {
                    writes: self.copy.is_from,
                    pins: true,
                    unpreparable: true,
                    ..Effect::default()
                };
                return Ok(Plan::new(Action::Home, effect, "a temporary table"));
            }
        };
        self.no_view(&relation)?;
        let placement = scope::placement(&relation, self.context);
        if placement == Placement::Local {
            let is_stdin = self.copy.filename.is_empty() && !self.copy.is_program;
            if self.copy.is_from && is_stdin && relation.changes_entries {
                return from::at_home(self, &relation);
            }
            return self.local();
        }
        self.no_server_file(&relation.name)?;
        if self.copy.is_from {
            return from::plan(self, &relation, &placement);
        }
        match placement {
            Placement::Sharded { .. } => self.concatenated(Effect::default()),
            _ => Ok(Plan::new(
                Action::AnyShard,
                Effect::default(),
                "a reference table",
            )),
        }
    }

    /// A local table; the WHERE of COPY FROM may not look elsewhere (PostgreSQL allows it no subquery).
    fn local(&self) -> Planned {
        Ok(self.at_home("a local table"))
    }

    fn at_home(&self, reason: &str) -> Plan {
        Plan::new(
            Action::Home,
            Effect {
                writes: self.copy.is_from,
                ..Effect::default()
            },
            reason,
        )
    }

    /// COPY into a view works by its triggers, which would run at home.
    fn no_view(&self, relation: &Relation) -> Result<(), RouterError> {
        let reads_elsewhere = relation.reads.iter().any(|(schema, name)| {
            let found = self
                .context
                .snapshot
                .relations
                .get(schema)
                .and_then(|relations| relations.get(name));
            found.is_some_and(|found| scope::placement(found, self.context) != Placement::Local)
        });
        if self.copy.is_from && relation.kind == RelationKind::View && reads_elsewhere {
            return Err(RouterError::unsupported(
                "copy-view",
                "COPY into a view over sharded or reference tables is not supported",
            )
            .hint("COPY into the table itself."));
        }
        Ok(())
    }

    /// A file or a program is on one server.
    fn no_server_file(&self, table: &str) -> Result<(), RouterError> {
        if self.copy.filename.is_empty() && !self.copy.is_program {
            return Ok(());
        }
        Err(RouterError::unsupported(
            "copy-server-file",
            "COPY with a file or program of the server is not supported here",
        )
        .detail(format!("The rows of \"{table}\" are on several servers."))
        .hint("Use COPY ... FROM STDIN or TO STDOUT (psql: \\copy)."))
    }

    /// Every shard's output, one after another.
    fn concatenated(&self, effect: Effect) -> Planned {
        let options = options::read(&self.copy.options)?;
        let copy = CopyTo {
            options,
            text: self.statement.text.clone(),
        };
        Ok(Plan::new(
            Action::Copy(Copy::ToConcatenated(copy)),
            effect,
            "rows of all shards",
        ))
    }

    /// `COPY (query) TO`: goes where the query goes, if that is one shard or rows that need no merge; else the
    /// router writes the query's rows.
    fn query(&self, query: &Node) -> Planned {
        let Some(node) = query.node.as_ref() else {
            return Ok(self.at_home("nothing to copy"));
        };
        let inner = plan_node(self.statement, node, self.context);
        let mut effect = inner.effect;
        effect.returns_rows = false;
        if !matches!(inner.action, Action::Home | Action::Refuse(_)) {
            self.no_server_file("the query")?;
        }
        match inner.action {
            Action::Refuse(refusal) => Err(refusal),
            Action::AnyShard | Action::Home => Ok(Plan::new(inner.action, effect, inner.reason)),
            Action::ByKey(by_key) if by_key.rewrite.is_none() => {
                let action = ByKey {
                    fallback: Fallback::Refuse(copy_query()),
                    ..by_key
                };
                Ok(Plan::new(Action::ByKey(action), effect, inner.reason))
            }
            Action::Scatter(scatter)
            | Action::Split(Split::Keys { scatter, .. } | Split::KeyArray { scatter, .. })
                if concatenates(&scatter) && !effect.writes && !effect.locks =>
            {
                self.concatenated(effect)
            }
            _ if effect.writes => Err(copy_query()),
            _ => self.written(effect, &inner.reason),
        }
    }

    /// The query by itself, and what it takes to write its rows as COPY does.
    fn written(&self, effect: Effect, reason: &str) -> Planned {
        let text = self.statement.text.as_str();
        let tokens = Tokens::of(text);
        let close = tokens.closing(1).filter(|_| tokens.word(1) == "(");
        let close = close.ok_or_else(unsupported::rewrite_not_possible)?;
        let (start, end) = (tokens.span(1).end, tokens.span(close).start);
        let query_text = text[start..end].trim().to_owned();
        let statement = parse::parse(&query_text)?
            .pop()
            .ok_or_else(unsupported::rewrite_not_possible)?;
        let query = super::plan(&statement, self.context);
        if let Action::Refuse(refusal) = query.action {
            return Err(refusal);
        }
        let options = options::read(&self.copy.options)?;
        if options.encoding.is_some() {
            return Err(copy_query());
        }
        let copy = CopyQuery {
            query: Rc::new(query),
            empty_text: format!(
                "{} SELECT * FROM ({query_text}) AS no_rows LIMIT 0 {}",
                &text[..start],
                &text[end..]
            ),
            query_text,
            force_quote: options::force_quote(&self.copy.options),
            options,
        };
        let action = Action::Copy(Copy::ToWritten(Box::new(copy)));
        Ok(Plan::new(action, effect, reason))
    }

    fn facts(&self) -> Facts {
        Facts::of(self.copy)
    }
}

fn concatenates(scatter: &Scatter) -> bool {
    scatter.text.is_none()
        && matches!(
            scatter.merge,
            Merge::Concatenate {
                limit: None,
                offset: None
            }
        )
}

fn copy_query() -> RouterError {
    RouterError::unsupported("copy-query", "this query cannot be copied")
        .detail("It writes on several shards, or the ENCODING option stands beside a merge of their rows.")
        .hint("COPY the table, or run the query without COPY.")
}

/// An option's value as text: PostgreSQL takes words, strings and numbers alike.
fn option_text(value: &Node) -> Option<String> {
    match value.node.as_ref()? {
        NodeEnum::String(text) => Some(text.sval.clone()),
        NodeEnum::Integer(number) => Some(number.ival.to_string()),
        NodeEnum::Boolean(value) => Some(value.boolval.to_string()),
        NodeEnum::Float(number) => Some(number.fval.clone()),
        _ => None,
    }
}
