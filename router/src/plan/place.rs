//! On which kind of shard a statement's tables and functions are, before any key is looked at. Takes a
//! [`Survey`]; gives a [`Place`] or the reason why there is none.

use schema::Placement;

use super::functions::{Calls, Class};
use super::survey::{Leaf, Survey};
use super::tokens::Tokens;
use super::{Effect, PlanContext, sequence, session_command, unsupported};
use crate::error::RouterError;

/// Where a statement may run, as far as its tables and functions say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    AnyShard,
    Home,
    /// By the keys of its sharded tables.
    Sharded,
}

/// The place of a statement and what its functions do to a server connection.
pub fn place(
    survey: &Survey,
    text: &str,
    context: &PlanContext<'_>,
) -> Result<(Place, Effect), RouterError> {
    if survey.has_sharded()
        && let Some(local) = survey.first_local()
    {
        return Err(beside_local(local));
    }
    place_of_read(survey, text, context)
}

/// The same for statements that only read: local tables may stand beside sharded ones.
pub fn place_of_read(
    survey: &Survey,
    text: &str,
    context: &PlanContext<'_>,
) -> Result<(Place, Effect), RouterError> {
    refuse_session_catalogs(survey)?;
    let calls = Calls::of(&survey.facts, context);
    refuse_calls(&calls, survey, text, context)?;
    let place = match survey.has_sharded() {
        true => {
            beside_sharded(&calls, context)?;
            Place::Sharded
        }
        false if needs_home(&calls, survey, context) => Place::Home,
        false => Place::AnyShard,
    };
    Ok((place, effect(&calls, context)))
}

/// What a server knows of its own connection's cursors and statements is not what the client's session has.
fn refuse_session_catalogs(survey: &Survey) -> Result<(), RouterError> {
    const VIEWS: [&str; 2] = ["pg_cursors", "pg_prepared_statements"];
    const FUNCTIONS: [&str; 2] = ["pg_cursor", "pg_prepared_statement"];
    let facts = &survey.facts;
    let is_catalog = |schema: Option<&str>| matches!(schema, None | Some("pg_catalog"));
    let named = |mentions: &[super::facts::Mention], names: &[&str]| {
        let mut mentions = mentions.iter();
        let mention = mentions.find(|mention| {
            is_catalog(mention.schema.as_deref()) && names.contains(&mention.name.as_str())
        });
        mention.map(|mention| mention.name.clone())
    };
    match named(&facts.relations, &VIEWS).or_else(|| named(&facts.functions, &FUNCTIONS)) {
        Some(name) => Err(unsupported::session_catalog(&name)),
        None => Ok(()),
    }
}

/// Calls that no statement may make, wherever it runs.
fn refuse_calls(
    calls: &Calls<'_>,
    survey: &Survey,
    text: &str,
    context: &PlanContext<'_>,
) -> Result<(), RouterError> {
    if let Some(call) = calls.first(Class::RunsQuery)
        && has_divided_tables(context)
    {
        return Err(unsupported::function_runs_query(&call.name));
    }
    if calls.has(Class::SetConfig) {
        return Err(session_command::set_config_refusal());
    }
    if let Some(call) = calls.first(Class::Sequence)
        && (survey.has_sharded()
            || !sequence::are_all_at_home(&survey.facts, &Tokens::of(text), context))
    {
        return Err(sequence::refusal(&call.name));
    }
    if let Some(function) = calls.writes_reference(context) {
        return Err(unsupported::function_writes_reference(&function));
    }
    match calls.reads_sharded(context) {
        Some((function, table)) => Err(unsupported::function_reads_sharded(&function, &table)),
        None => Ok(()),
    }
}

fn has_divided_tables(context: &PlanContext<'_>) -> bool {
    let mut relations = context
        .snapshot
        .relations
        .values()
        .flat_map(|schema| schema.values());
    relations.any(|relation| relation.placement != Placement::Local)
}

/// What may not stand in one statement with a sharded table.
fn beside_sharded(calls: &Calls<'_>, context: &PlanContext<'_>) -> Result<(), RouterError> {
    for class in [Class::Home, Class::SessionLock, Class::Notify] {
        if let Some(call) = calls.first(class) {
            return Err(unsupported::function_on_home_shard(&call.name));
        }
    }
    match calls.reads_local(context) {
        Some(function) => Err(unsupported::function_reads_local(&function)),
        None => Ok(()),
    }
}

/// A local table cannot be read where the sharded ones are.
pub fn beside_local(local: &Leaf) -> RouterError {
    let relation = local.relation().map(|relation| &relation.name);
    unsupported::join_local_with_sharded(relation.unwrap_or(&local.name))
}

/// What a statement calls or names is right on the home shard only.
pub fn prefers_home(survey: &Survey, context: &PlanContext<'_>) -> bool {
    needs_home(&Calls::of(&survey.facts, context), survey, context)
}

fn needs_home(calls: &Calls<'_>, survey: &Survey, context: &PlanContext<'_>) -> bool {
    survey.first_local().is_some()
        || calls.may_read(context)
        || calls.special.iter().any(|(_, class)| !matches!(class, Class::User | Class::Anywhere))
        // Object ids differ from shard to shard.
        || survey.facts.types.iter().any(|name| name.built_in_name().is_some_and(is_object_id_type))
}

fn is_object_id_type(name: &str) -> bool {
    name.starts_with("reg") || name == "oid"
}

fn effect(calls: &Calls<'_>, context: &PlanContext<'_>) -> Effect {
    let notifies = calls.has(Class::Notify);
    let large_objects = calls
        .special
        .iter()
        .any(|(call, class)| *class == Class::Home && call.name.starts_with("lo"));
    let last_taken = |name: &str| matches!(name, "currval" | "lastval");
    let reads_session_sequences = calls
        .special
        .iter()
        .any(|(call, class)| *class == Class::Sequence && last_taken(&call.name));
    Effect {
        reads_session_sequences,
        writes: notifies || large_objects || calls.may_write(context),
        pins: calls.has(Class::SessionLock),
        unpreparable: notifies,
        ..Effect::default()
    }
}
