//! INSERT into a reference table whose rows may come out differently on every shard: one shard makes them, and
//! the others get them as they are.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, OnConflictAction};

use super::Job;
use super::target::Target;
use crate::error::RouterError;
use crate::plan::edits::Edits;
use crate::plan::facts::Facts;
use crate::plan::holds;
use crate::plan::mirror::{self, Conflict, Mirror};
use crate::plan::survey::Survey;
use crate::plan::tokens::Tokens;
use crate::plan::{sequence, unsupported, volatile};

/// What may make other rows on every shard; `None`: nothing. `queries`: the rows come from a query.
pub fn culprit(job: &Job<'_>, target: &Target, queries: bool) -> Option<String> {
    let local = job.others.local.as_ref();
    let picks =
        job.facts.has_limit || job.facts.has_distinct_on_or_window || job.facts.has_array_of_rows;
    // Which of several new rows with one key comes first.
    let skips = job.insert.on_conflict_clause.is_some() && set_on_conflict(job).is_none();
    volatile::culprit(&without_sequences(job.facts), job.context)
        .or_else(|| local.map(|table| format!("local table \"{table}\"")))
        .or_else(|| {
            (queries && picks)
                .then(|| "LIMIT, DISTINCT ON, a window or ARRAY of a query".to_owned())
        })
        .or_else(|| (queries && skips).then(|| "ON CONFLICT over a query's rows".to_owned()))
        .or_else(|| {
            let column = target.volatile_default(job.insert)?;
            Some(format!("the default of column \"{column}\""))
        })
        .or_else(|| {
            let updates = set_on_conflict(job).is_some();
            volatile::trigger(&target.relation, |trigger| {
                trigger.on_insert || updates && trigger.on_update
            })
        })
}

/// The rows are returned behind what the client wants of them.
pub fn mirror(
    job: &Job<'_>,
    target: &Target,
    culprit: &str,
    tokens: &Tokens<'_>,
    edits: &mut Edits,
) -> Result<Mirror, RouterError> {
    if volatile::object_number(job.facts).is_some() {
        return Err(unsupported::reference_write_volatile(culprit));
    }
    let node = NodeEnum::InsertStmt(Box::new(job.insert.clone()));
    let survey = Survey::of(&node, job.context)?;
    if survey.writes.len() > 1 {
        return Err(unsupported::write_in_with());
    }
    let outputs = survey.query(survey.root).outputs.as_ref();
    let visible = outputs.ok_or_else(unsupported::rewrite_not_possible)?.len();
    let set = set_on_conflict(job);
    let conflict = set.as_deref().map_or(Conflict::New, Conflict::Update);
    let copying = mirror::insert(&target.relation, conflict)?;
    let returns = job.insert.returning_clause.is_some();
    let (at, returning) = copying.returning(tokens, &target.relation, alias(job), returns);
    edits.insert_text(at, returning);
    let calls_users = job
        .facts
        .functions
        .iter()
        .any(|call| job.context.snapshot.functions.contains_key(&call.name));
    let at_home = calls_users || job.others.local.is_some();
    let holds = holds::of_added(&target.relation, job.facts, job.context);
    Ok(copying.into_mirror(visible, at_home, holds))
}

/// What RETURNING knows the table by.
fn alias<'a>(job: &Job<'a>) -> &'a str {
    job.insert.relation.as_ref().map_or("", |relation| {
        let alias = relation.alias.as_ref();
        alias.map_or(&relation.relname, |alias| &alias.aliasname)
    })
}

/// The columns that ON CONFLICT DO UPDATE sets.
fn set_on_conflict<'a>(job: &Job<'a>) -> Option<Vec<&'a str>> {
    let conflict = job.insert.on_conflict_clause.as_deref()?;
    let names = |target: &'a Node| match target.node.as_ref()? {
        NodeEnum::ResTarget(target) => Some(target.name.as_str()),
        _ => None,
    };
    (conflict.action() == OnConflictAction::OnconflictUpdate)
        .then(|| conflict.target_list.iter().filter_map(names).collect())
}

/// Sequence functions are filled in by the router: one value for all shards.
fn without_sequences(facts: &Facts) -> Facts {
    let mut facts = facts.clone();
    facts.functions.retain(|call| {
        !call
            .built_in_name()
            .is_some_and(|name| sequence::FUNCTIONS.contains(&name))
    });
    facts
}
