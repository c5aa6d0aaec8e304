//! DO and CALL: code whose statements the router does not see. It runs on the home shard, or on all
//! shards where it only makes objects; where it may touch tables that are elsewhere it is refused.

use pg_query::protobuf::{CallStmt, DoStmt};
use schema::{Placement, RelationKind};

use super::{Job, Planned};
use crate::error::RouterError;
use crate::plan::{Action, Effect, Plan};
use crate::plan::{leftover, scope};

pub fn block(job: &Job<'_>, block: &DoStmt) -> Planned {
    let body = leftover::body_of(block);
    let words = words(body.unwrap_or_default());
    if let Some(table) = mentioned(job, &words, |placement| *placement != Placement::Local) {
        return Err(refusal("do-block", "this DO block cannot be run", &table));
    }
    if let Some(function) = words.iter().find(|word| touches_shards(job, word)) {
        return Err(refusal("do-block", "this DO block cannot be run", function));
    }
    if let Some(rule) = job
        .context
        .rules
        .iter()
        .find(|rule| words.contains(&rule.name.to_lowercase()))
    {
        return Err(refusal(
            "do-block",
            "this DO block cannot be run",
            &rule.name,
        ));
    }
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    if !has(&[
        "create", "alter", "drop", "grant", "revoke", "comment", "execute",
    ]) {
        return Ok(at_home("the block runs on the home shard"));
    }
    let local = mentioned(job, &words, |placement| *placement == Placement::Local);
    match local {
        Some(table) if has(&["insert", "update", "delete", "merge", "copy"]) => Err(refusal(
            "do-block",
            "a DO block cannot both change objects and write rows",
            &table,
        )),
        _ => Ok(job.planned(job.everywhere())),
    }
}

pub fn call(job: &Job<'_>, call: &CallStmt) -> Planned {
    let name = call
        .funccall
        .as_deref()
        .and_then(scope::function_name)
        .map_or("", |(_, name)| name);
    let touches = touches_shards(job, name)
        || job
            .facts
            .functions
            .iter()
            .any(|call| touches_shards(job, &call.name));
    if touches {
        return Err(refusal(
            "call-procedure",
            "this procedure cannot be called",
            name,
        ));
    }
    Ok(at_home("procedures run on the home shard"))
}

fn at_home(reason: &str) -> Plan {
    Plan::new(
        Action::Home,
        Effect {
            writes: true,
            ..Effect::default()
        },
        reason,
    )
}

fn refusal(id: &'static str, message: &str, culprit: &str) -> RouterError {
    RouterError::unsupported(id, message)
        .detail(format!(
            "It mentions \"{culprit}\", and the router cannot see which rows the code reads or writes on which shard."
        ))
        .hint("Send its statements one by one through the router.")
}

fn touches_shards(job: &Job<'_>, name: &str) -> bool {
    job.context
        .snapshot
        .functions
        .get(name)
        .is_some_and(|overloads| {
            overloads.iter().any(|function| {
                !function.mentions_sharded.is_empty() || function.mentions_reference
            })
        })
}

/// The identifiers of a body, in lower case, comments and strings among them: rather too many.
fn words(body: &str) -> Vec<String> {
    body.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn mentioned(
    job: &Job<'_>,
    words: &[String],
    wanted: impl Fn(&Placement) -> bool,
) -> Option<String> {
    let relations = job
        .context
        .snapshot
        .relations
        .values()
        .flat_map(|relations| relations.values());
    relations
        .filter(|relation| {
            matches!(
                relation.kind,
                RelationKind::Table | RelationKind::Partitioned
            )
        })
        .filter(|relation| wanted(&scope::placement(relation, job.context)))
        .map(|relation| relation.name.clone())
        .find(|name| words.contains(&name.to_lowercase()))
}
