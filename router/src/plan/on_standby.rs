//! Whether a standby may run a statement: it only reads, and nothing in it is about the primary. Takes a plan and its
//! statement's text; gives yes or no. When in doubt it is no, which costs nothing but a read at the primary.

use super::facts::{Facts, Mention};
use super::functions::{Calls, Class};
use super::scope::{self, Found};
use super::{Action, Copy, Plan, PlanContext, Split};
use crate::parse;
use schema::RelationKind;

impl Plan {
    /// As [`may_run`]; looked into once for each plan, and only if somebody asks. All texts with the plan's shape are alike.
    pub fn may_run_on_standby(&self, text: &str, context: &PlanContext<'_>) -> bool {
        *self.on_standby.get_or_init(|| may_run(self, text, context))
    }
}

fn may_run(plan: &Plan, text: &str, context: &PlanContext<'_>) -> bool {
    let effect = plan.effect;
    let does_more = effect.writes
        || effect.locks
        || effect.pins
        || effect.reads_session_sequences
        || effect.unpreparable
        || effect.outside_transaction
        || effect.leaves_state
        || effect.changes_entries;
    !does_more && only_reads(&plan.action) && mentions_nothing_else(text, context)
}

fn only_reads(action: &Action) -> bool {
    match action {
        Action::AnyShard | Action::Home | Action::Scatter(_) | Action::Gather(_) => true,
        Action::ByKey(by_key) => by_key.rewrite.is_none(),
        Action::Split(split) => matches!(split, Split::Keys { .. } | Split::KeyArray { .. }),
        Action::Copy(copy) => matches!(copy, Copy::ToWritten(_) | Copy::ToConcatenated(_)),
        _ => false,
    }
}

fn mentions_nothing_else(text: &str, context: &PlanContext<'_>) -> bool {
    let Ok(statements) = parse::parse(text) else {
        return false;
    };
    let [statement] = &statements[..] else {
        return false;
    };
    let facts = Facts::of(&statement.node);
    let calls = Calls::of(&facts, context);
    let own_rows = |table: &Mention| has_own_rows(table, context);
    facts.tables().all(own_rows)
        && !calls.may_write(context)
        && calls.special.iter().all(|(call, class)| match class {
            Class::Anywhere => true,
            Class::Catalog => only_tells(&call.name),
            Class::User => context.snapshot.functions.contains_key(&call.name),
            Class::Home
            | Class::SessionLock
            | Class::Notify
            | Class::Sequence
            | Class::SetConfig
            | Class::RunsQuery => false,
        })
}

/// A user's table or view. Catalogs are about one server: who looks there means the primary. A view may hide any function.
fn has_own_rows(table: &Mention, context: &PlanContext<'_>) -> bool {
    match scope::find_name(table.schema.as_deref(), &table.name, context) {
        Found::Relation(relation) => {
            relation.kind != RelationKind::Sequence
                && relation.calls.is_empty()
                && !relation.reads_catalogs
                && !relation.leaves_state
        }
        _ => false,
    }
}

/// Functions about the catalog, or about the server itself, that change nothing.
fn only_tells(name: &str) -> bool {
    const NAMES: [&str; 11] = [
        "pg_is_in_recovery",
        "pg_last_wal_replay_lsn",
        "pg_last_xact_replay_timestamp",
        "pg_relation_size",
        "pg_table_size",
        "pg_total_relation_size",
        "pg_indexes_size",
        "pg_database_size",
        "format_type",
        "obj_description",
        "col_description",
    ];
    NAMES.contains(&name) || name.starts_with("has_") || name.starts_with("pg_get_")
}
