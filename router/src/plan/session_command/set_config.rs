//! `set_config` as a statement of its own, which is a SET.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt};

use super::rows;
use crate::error::RouterError;
use crate::plan::names;
use crate::plan::scope::qualified;
use crate::plan::{Plan, SessionCommand};

/// `SELECT set_config('name', value, is_local)` and nothing else is a SET.
pub fn set_config(node: &SelectStmt, text: &str) -> Option<Plan> {
    if let Some((name, local)) = of_existing(node) {
        let text = text.to_owned();
        return Some(rows(SessionCommand::Set { name, local, text }));
    }
    let call = names::only_call(node)?;
    if call.name() != Some("set_config") {
        return None;
    }
    let [name, value, is_local] = call.arguments else {
        return None;
    };
    let (Some(name), Some(local)) = (
        names::string_constant(name),
        names::boolean_constant(is_local),
    ) else {
        return Some(Plan::refused(set_config_refusal()));
    };
    let name = name.to_ascii_lowercase();
    let text = text.to_owned();
    Some(if names::string_constant(value).is_some() {
        rows(SessionCommand::Set { name, local, text })
    } else if let Some(parameter) = names::parameter(value) {
        rows(SessionCommand::SetFromParameter {
            name,
            local,
            parameter,
            column: call.column,
        })
    } else {
        Plan::refused(set_config_refusal())
    })
}

/// `SELECT set_config(name, 'value', is_local) FROM pg_settings WHERE name = 'setting'`: a SET that does nothing on a
/// server without the setting. pg_dump asks so.
fn of_existing(node: &SelectStmt) -> Option<(String, bool)> {
    let mut bare = node.clone();
    let condition = bare.where_clause.take()?;
    let [from] = node.from_clause.as_slice() else {
        return None;
    };
    let settings = names::range_var(from)?;
    if settings.relname != "pg_settings" || !matches!(&*settings.schemaname, "" | "pg_catalog") {
        return None;
    }
    let call = names::single_call(&bare)?;
    let ("set_config", [name, value, is_local]) = (call.name()?, call.arguments) else {
        return None;
    };
    names::string_constant(value)?;
    is_name(name).then_some(())?;
    Some((
        named(condition.node.as_ref()?)?.to_ascii_lowercase(),
        names::boolean_constant(is_local)?,
    ))
}

/// The setting in `name = 'setting'`.
fn named(condition: &NodeEnum) -> Option<&str> {
    let NodeEnum::AExpr(comparison) = condition else {
        return None;
    };
    let is_equal = names::strings(&comparison.name) == ["="];
    (is_equal && is_name(comparison.lexpr.as_deref()?)).then_some(())?;
    names::string_constant(comparison.rexpr.as_deref()?)
}

fn is_name(node: &Node) -> bool {
    matches!(node.node.as_ref(), Some(NodeEnum::ColumnRef(column))
        if qualified(&column.fields) == Some((None, "name")))
}

/// A setting changed in the middle of a query would be changed on one shard only.
pub fn set_config_refusal() -> RouterError {
    RouterError::unsupported(
        "set-config-inside",
        "set_config() is only supported as a statement of its own",
    )
    .detail("A setting changed inside a query would be changed on one shard only.")
    .hint("Use SET, or SELECT set_config('name', 'value', false) with nothing else in it.")
}
