//! Statements that run users' code which may leave something behind in the server's session: a setting, an advisory
//! lock, a temporary table. Their connections are wiped before another client is given them. Takes a plan; gives it,
//! marked. When in doubt a statement counts as one of these, which costs a DISCARD ALL after its transaction.

use pg_query::NodeEnum;
use pg_query::protobuf::DoStmt;

use super::facts::Facts;
use super::scope::{self, Found};
use super::{Plan, PlanContext};
use crate::parse::Statement;

/// The plan, with [`super::Effect::leaves_state`] where that may be.
pub fn mark(mut plan: Plan, statement: &Statement, context: &PlanContext<'_>) -> Plan {
    if may_leave(&statement.node, context) {
        plan.effect.leaves_state = true;
        // The quick way of a shape asks for no effects.
        plan.by_shape = false;
    }
    plan
}

fn may_leave(node: &NodeEnum, context: &PlanContext<'_>) -> bool {
    let snapshot = context.snapshot;
    if let NodeEnum::DoStmt(block) = node {
        let body = body_of(block).unwrap_or_default();
        return schema::leaves_state(body)
            || snapshot.has_session_state && body_calls(body, context);
    }
    if !snapshot.has_session_state {
        return false;
    }
    if snapshot.any_leaves_state {
        return true;
    }
    let facts = Facts::of(node);
    facts
        .functions
        .iter()
        .any(|call| function_leaves(&call.name, context))
        || facts.relations.iter().any(|table| {
            let found = scope::find_name(table.schema.as_deref(), &table.name, context);
            matches!(found, Found::Relation(relation) if relation.leaves_state)
        })
}

/// The code of a DO block.
pub(super) fn body_of(block: &DoStmt) -> Option<&str> {
    block
        .args
        .iter()
        .find_map(|option| match option.node.as_ref()? {
            NodeEnum::DefElem(option) if option.defname == "as" => {
                scope::string(option.arg.as_deref()?)
            }
            _ => None,
        })
}

/// Whether code names a function or relation, as a word, that leaves something behind.
fn body_calls(body: &str, context: &PlanContext<'_>) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
    let mut words = body
        .split(|letter| !is_part(letter))
        .filter(|word| !word.is_empty());
    words.any(|word| {
        let word = word.to_lowercase();
        let mut schemas = context.snapshot.relations.values();
        function_leaves(&word, context)
            || schemas.any(|named| {
                named
                    .get(&word)
                    .is_some_and(|relation| relation.leaves_state)
            })
    })
}

fn function_leaves(name: &str, context: &PlanContext<'_>) -> bool {
    let overloads = context.snapshot.functions.get(name);
    overloads
        .into_iter()
        .flatten()
        .any(|function| function.leaves_state)
}
