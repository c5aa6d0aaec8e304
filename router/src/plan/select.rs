//! SELECT (without INTO), VALUES and TABLE; and what is common to all statements that read by key.

use pg_query::NodeEnum;
use pg_query::protobuf::SelectStmt;

use super::key::Constant;
use super::pins::{Pins, connected};
use super::place::{Place, beside_local, place_of_read};
use super::scatter::Spread;
use super::survey::{Body, QueryId, Survey, Term, ValueId};
use super::{
    Action, ByKey, Effect, Fallback, KeyExpr, Plan, PlanContext, Split, by_entry, by_routing_index,
    gather, scatter, unsupported,
};
use crate::error::RouterError;
use crate::parse::Statement;

pub fn plan(statement: &Statement, select: &SelectStmt, context: &PlanContext<'_>) -> Plan {
    planned(statement, select, context).unwrap_or_else(Plan::refused)
}

fn planned(
    statement: &Statement,
    select: &SelectStmt,
    context: &PlanContext<'_>,
) -> Result<Plan, RouterError> {
    let node = NodeEnum::SelectStmt(Box::new(select.clone()));
    let survey = Survey::of(&node, context)?;
    let (place, effect) = place_of_read(&survey, &statement.text, context)?;
    refuse_reference_writes(&survey)?;
    let effect = Effect {
        returns_rows: true,
        writes: effect.writes || !survey.writes.is_empty(),
        locks: survey.locks,
        ..effect
    };
    match place {
        // Rows of a reference table are locked on one shard for all: the home shard.
        Place::Home | Place::AnyShard if survey.locks || place == Place::Home => {
            Ok(whole(Action::Home, effect, &survey))
        }
        Place::Home | Place::AnyShard => Ok(whole(Action::AnyShard, effect, &survey)),
        Place::Sharded => {
            let pins = Pins::of(&survey);
            let on_shards = match survey.first_local() {
                Some(local) => Err(beside_local(local)),
                None => {
                    let spread = scatter::select(statement, select, &survey, &pins, context);
                    keyed(&survey, &pins, effect, spread, context)
                }
            };
            on_shards.or_else(|why| {
                gather::select::plan(statement, select, &survey, &pins, effect, &why, context)
            })
        }
    }
}

/// The plan of a SELECT in which what shards cannot read has been replaced by pulled rows.
pub(super) fn over_shards(
    statement: &Statement,
    context: &PlanContext<'_>,
) -> Result<Plan, RouterError> {
    let NodeEnum::SelectStmt(select) = &statement.node else {
        return Err(unsupported::statement());
    };
    let survey = Survey::of(&statement.node, context)?;
    let pins = Pins::of(&survey);
    let spread = scatter::select(statement, select, &survey, &pins, context);
    keyed(&survey, &pins, Effect::default(), spread, context)
}

/// A plan that sends the statement as it is to one shard.
pub(super) fn whole(action: Action, effect: Effect, survey: &Survey) -> Plan {
    let reason = match action {
        Action::Home => survey.first_local().map_or_else(
            || "home shard".to_owned(),
            |leaf| format!("{} is on the home shard", leaf.name),
        ),
        _ if survey.has_reference() => "reference tables are on every shard".to_owned(),
        _ => "no table".to_owned(),
    };
    // Which sequence is meant is in a literal.
    let by_shape = !survey.facts.calls(&super::sequence::FUNCTIONS);
    Plan {
        by_shape,
        ..Plan::new(action, effect, reason)
    }
}

/// A write inside a WITH would change one copy of a reference table only.
pub(super) fn refuse_reference_writes(survey: &Survey) -> Result<(), RouterError> {
    let reference = survey.writes.iter().any(|leaf| {
        survey.leaf(*leaf).relation().is_some()
            && matches!(
                &survey.leaf(*leaf).kind,
                super::survey::LeafKind::Table {
                    placement: schema::Placement::Reference,
                    ..
                }
            )
    });
    if reference || survey.needs_ids {
        Err(unsupported::write_in_with())
    } else {
        Ok(())
    }
}

/// By key where every table is pinned to one value, else over the shards, else not at all.
pub(super) fn keyed(
    survey: &Survey,
    pins: &Pins,
    effect: Effect,
    spread: Result<Spread, RouterError>,
    context: &PlanContext<'_>,
) -> Result<Plan, RouterError> {
    if pins.gave_up {
        return Err(unsupported::too_entangled());
    }
    let pinned = pinned_value(survey, pins);
    let rekeyed_merged = keep_keys(survey, pins)?;
    let Some((value, key_type)) = pinned else {
        return spread.map(|mut spread| {
            if let Spread::Everywhere(scatter) = &mut spread {
                let routes = &mut scatter.routes;
                routes.entry = by_entry::route(survey, pins, context);
                if routes.entry.is_none() {
                    routes.listed = by_entry::list(survey, pins);
                    routes.routed = by_routing_index::route(survey, pins);
                }
            }
            spread.into_plan(effect)
        });
    };
    let known = survey.value(value);
    let fallback = match spread {
        Ok(
            Spread::Everywhere(scatter)
            | Spread::Listed(Split::Keys { scatter, .. } | Split::KeyArray { scatter, .. }),
        ) => Fallback::Scatter(Box::new(scatter)),
        Ok(Spread::Listed(Split::Insert(_) | Split::Unnest(_)) | Spread::Combined(_)) | Err(_) => {
            Fallback::Refuse(unsupported::key_unknown(&key_name(survey, pins)))
        }
    };
    let reason = format!("{} = {}", key_name(survey, pins), show(&known.expression));
    let by_key = ByKey {
        key: known.expression.clone(),
        key_type,
        fallback,
        rewrite: None,
    };
    let by_shape = !known.merged && !survey.literals_matter && !rekeyed_merged;
    Ok(Plan {
        by_shape,
        ..Plan::new(Action::ByKey(by_key), effect, reason)
    })
}

/// The value that every divided table is pinned to.
pub fn pinned_value(survey: &Survey, pins: &Pins) -> Option<(ValueId, schema::KeyType)> {
    let first = pins.uses.first()?;
    let (_, key_type) = survey.leaf(first.leaf).shard_key()?;
    let value = first
        .equals(survey)
        .into_iter()
        .find_map(|term| match term {
            Term::Value(value) => pins.all_pinned_to(survey, term).then_some(value),
            Term::Column(..) => None,
        })?;
    Some((value, key_type))
}

/// Checks that keys which are set anew stay what they are; tells whether that depends on literals.
fn keep_keys(survey: &Survey, pins: &Pins) -> Result<bool, RouterError> {
    let mut by_literals = false;
    for rekeyed in &pins.rekeyed {
        let (Some((key, _)), Some(term)) = (survey.leaf(rekeyed.leaf).shard_key(), rekeyed.term)
        else {
            return Err(unsupported::shard_key_update());
        };
        if !connected(&rekeyed.facts, Term::Column(rekeyed.leaf, key)).contains(&term) {
            return Err(unsupported::shard_key_update());
        }
        by_literals |= matches!(term, Term::Value(value) if survey.value(value).merged);
    }
    Ok(by_literals)
}

/// `table.column` of the first divided table.
fn key_name(survey: &Survey, pins: &Pins) -> String {
    let name = pins.uses.first().and_then(|first| {
        let leaf = survey.leaf(first.leaf);
        let (key, _) = leaf.shard_key()?;
        let relation = leaf.relation()?;
        Some(format!(
            "{}.{}",
            relation.name,
            relation.columns.get(key)?.name
        ))
    });
    name.unwrap_or_default()
}

/// A key expression as EXPLAIN shows it; literals by kind only, for the plan may be shared by shape.
pub(super) fn show(key: &KeyExpr) -> String {
    match key {
        KeyExpr::Parameter { number, .. } | KeyExpr::SharedParameter { number, .. } => {
            format!("${number}")
        }
        KeyExpr::Literal {
            value: Constant::Null,
            ..
        } => "NULL".to_owned(),
        KeyExpr::Literal { .. } => "constant".to_owned(),
        KeyExpr::Arithmetic { .. } => "expression".to_owned(),
        KeyExpr::GeneratedId(_) => "next id".to_owned(),
    }
}

/// The rows of a query level that is not a set operation.
pub(super) fn rows_of(survey: &Survey, query: QueryId) -> Option<&super::survey::Rows> {
    match &survey.query(query).body {
        Body::Rows(rows) => Some(rows),
        _ => None,
    }
}
