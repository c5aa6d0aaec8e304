//! INSERT ... SELECT that every shard can run for itself: each row that a shard's query gives has a key of that
//! shard, and goes to the same key.

use pg_query::NodeEnum;
use schema::KeyType;

use super::target::Target;
use super::{Job, query_source};
use crate::error::RouterError;
use crate::plan::facts::Facts;
use crate::plan::pins::Pins;
use crate::plan::place::{Place, place};
use crate::plan::scatter::{self, Spread};
use crate::plan::survey::{Output, Survey, Term};

/// The client's own text on all shards, or on those of listed keys.
pub fn plan(job: &Job<'_>, target: &Target, key: usize) -> Result<Spread, RouterError> {
    let apart = super::refusals::insert_select;
    let node = query_source::of(job, Some(target))?;
    let NodeEnum::SelectStmt(select) = &node else {
        return Err(apart());
    };
    let survey = Survey::of(&node, job.context)?;
    if place(&survey, &job.statement.text, job.context)?.0 != Place::Sharded {
        return Err(apart());
    }
    let width = survey.query(survey.root).outputs.as_ref().map(Vec::len);
    let target = target.with_width(width.ok_or_else(apart)?);
    let position = target.position(key).ok_or_else(apart)?;
    rest_is_reference(job)?;
    let own = |output: &Output| keeps_value(&survey, output, &target, key);
    scatter::insert(
        select,
        &survey,
        &Pins::of(&survey),
        position,
        &own,
        job.effect.returns_rows,
        job.context,
    )
}

/// ON CONFLICT and RETURNING read what every shard has.
fn rest_is_reference(job: &Job<'_>) -> Result<(), RouterError> {
    let bare = super::from_query::without_source(job.insert);
    let facts = Facts::of(&bare);
    match facts.relations.len() {
        // The target itself.
        0 | 1 => Ok(()),
        _ => Err(super::refusals::insert_select()),
    }
}

/// The value is stored as it is: what is longer than varchar(n) loses its trailing spaces, and its key.
fn keeps_value(survey: &Survey, output: &Output, target: &Target, key: usize) -> bool {
    let stored = &target.relation.columns[key];
    let Some(key_type) = stored.key_type() else {
        return false;
    };
    let whole = match key_type {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 | KeyType::Uuid => return true,
        KeyType::Text | KeyType::Varchar => stored.type_modifier < 0,
    };
    whole || has_type(survey, output, stored.type_oid, stored.type_modifier)
}

fn has_type(survey: &Survey, output: &Output, type_oid: u32, type_modifier: i32) -> bool {
    let Some(Term::Column(leaf, column)) = output.term else {
        return false;
    };
    let relation = survey.leaf(leaf).relation();
    relation
        .and_then(|relation| relation.columns.get(column))
        .is_some_and(|column| column.type_oid == type_oid && column.type_modifier == type_modifier)
}
