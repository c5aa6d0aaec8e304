//! What the shards must have in common. Pure.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::{Finding, ShardFacts};

const PLACE: &str = "shards";

/// Compares all shards that could be read; nothing to say of fewer than two.
pub fn compare(facts: &[ShardFacts]) -> Vec<Finding> {
    if facts.len() < 2 {
        return Vec::new();
    }
    let collations = "initialise all with the same initdb --locale: text would sort differently";
    vec![
        servers(facts),
        alike(
            facts,
            "PostgreSQL version",
            "run the same on all",
            Finding::warn,
            |shard| (shard.version / 10_000).to_string(),
        ),
        alike(facts, "collation", collations, Finding::wrong, |shard| {
            shard.collation.clone()
        }),
        alike(
            facts,
            "character classes",
            collations,
            Finding::wrong,
            |shard| shard.character_type.clone(),
        ),
        roles(facts),
    ]
}

/// One server named twice would get every row of two shards, and deadlock with itself.
fn servers(facts: &[ShardFacts]) -> Finding {
    let servers = by_value(facts, |shard| shard.system_identifier.clone());
    match servers.values().find(|shards| shards.len() > 1) {
        None => Finding::ok(PLACE, format!("are {} servers", facts.len())),
        Some(shards) => Finding::wrong(
            PLACE,
            format!("{} are one server, or copies of one", list(shards)),
            "name another server, initialised by itself, for each shard",
        ),
    }
}

type Make = fn(&str, String, String) -> Finding;

fn alike(
    facts: &[ShardFacts],
    what: &str,
    remedy: &str,
    differing: Make,
    value: impl Fn(&ShardFacts) -> String,
) -> Finding {
    let values = by_value(facts, value);
    if values.len() == 1 {
        let value = values.keys().next().cloned().unwrap_or_default();
        return Finding::ok(PLACE, format!("all have {what} {value}"));
    }
    let each: Vec<String> = values
        .iter()
        .map(|(value, shards)| format!("{value} on {}", list(shards)))
        .collect();
    differing(
        PLACE,
        format!("{what} differs: {}", each.join(", ")),
        remedy.to_owned(),
    )
}

/// Clients log in to every shard with the role and the verifier of the home shard.
fn roles(facts: &[ShardFacts]) -> Finding {
    let names: BTreeSet<&String> = facts.iter().flat_map(|shard| shard.roles.keys()).collect();
    let differs = |name: &&&String| {
        let first = facts[0].roles.get(**name);
        first.is_none() || facts.iter().any(|shard| shard.roles.get(**name) != first)
    };
    let differing: Vec<&str> = names
        .iter()
        .filter(differs)
        .map(|name| name.as_str())
        .collect();
    if differing.is_empty() {
        return Finding::ok(PLACE, format!("all have the same {} roles", names.len()));
    }
    let remedy = "CREATE or ALTER them through the router, or copy pg_dumpall --roles-only";
    let shown = differing
        .iter()
        .take(5)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    let more = if differing.len() > 5 { ", ..." } else { "" };
    Finding::warn(
        PLACE,
        format!("roles differ in rights or password: {shown}{more}"),
        remedy,
    )
}

fn by_value(
    facts: &[ShardFacts],
    value: impl Fn(&ShardFacts) -> String,
) -> BTreeMap<String, Vec<u16>> {
    let mut values: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for shard in facts {
        values.entry(value(shard)).or_default().push(shard.shard);
    }
    values
}

fn list(shards: &[u16]) -> String {
    let ids: Vec<String> = shards.iter().map(u16::to_string).collect();
    if ids.len() == 1 {
        format!("shard {}", ids[0])
    } else {
        format!("shards {}", ids.join(" and "))
    }
}
