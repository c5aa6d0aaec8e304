//! What would let a statement run on one shard: for EXPLAIN.

use std::collections::HashSet;

use pg_query::NodeEnum;

use super::PlanContext;
use super::pins::Pins;
use super::survey::{LeafId, Survey, Term};

/// The conditions that are missing, such as `posts.author_id = ...`; one for each set of tables whose keys are
/// equal already. `None`: none is missing, or no one knows.
pub(super) fn predicate(node: &NodeEnum, context: &PlanContext<'_>) -> Option<String> {
    let survey = Survey::of(node, context).ok()?;
    let pins = Pins::of(&survey);
    if pins.gave_up {
        return None;
    }
    let mut equal = HashSet::new();
    let mut missing = Vec::new();
    for used in &pins.uses {
        let key = used.key(&survey)?;
        let class = used.equals(&survey);
        let has_value = class.iter().any(|term| matches!(term, Term::Value(_)));
        if !has_value && !equal.contains(&key) {
            missing.push(named(&survey, used.leaf)?);
        }
        equal.extend(class);
    }
    let same = if missing.len() > 1 {
        " (one value)"
    } else {
        ""
    };
    let all: Vec<String> = missing.iter().map(|key| format!("{key} = ...")).collect();
    (!all.is_empty()).then(|| all.join(" AND ") + same)
}

fn named(survey: &Survey, leaf: LeafId) -> Option<String> {
    let it = survey.leaf(leaf);
    let (key, _) = it.shard_key()?;
    let relation = it.relation()?;
    let table = if it.name.is_empty() {
        &relation.name
    } else {
        &it.name
    };
    let column = &relation.columns.get(key)?.name;
    Some(format!("{table}.{column}"))
}
