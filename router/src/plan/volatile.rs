//! Whether an expression gives the same value on every shard. A write to a reference table runs on each
//! of them, and the copies must stay equal. Takes [`Facts`]; gives what is to blame.

use super::PlanContext;
use super::facts::Facts;

/// What in a statement may give different values on different shards; `None`: nothing.
pub fn culprit(facts: &Facts, context: &PlanContext<'_>) -> Option<String> {
    function(facts, context)
        .or_else(|| {
            facts
                .value_functions
                .iter()
                .any(|&op| is_clock(op))
                .then(|| "CURRENT_TIMESTAMP".to_owned())
        })
        .or_else(|| {
            facts
                .strings
                .iter()
                .find(|text| is_clock_word(text))
                .map(|text| format!("'{text}'"))
        })
}

fn function(facts: &Facts, context: &PlanContext<'_>) -> Option<String> {
    let varies = |name: &str| {
        context
            .snapshot
            .functions
            .get(name)
            .is_some_and(|overloads| overloads.iter().any(|function| function.volatility != 'i'))
    };
    facts
        .functions
        .iter()
        .find(|call| call.built_in_name().is_some_and(is_volatile) || varies(&call.name))
        .map(|call| format!("{}()", call.name))
}

/// `SVFOP_CURRENT_DATE` to `SVFOP_LOCALTIMESTAMP_N` of PostgreSQL's `nodes/primnodes.h`, counted from 1 as
/// the parse tree does; after them come CURRENT_ROLE, CURRENT_USER and their like.
fn is_clock(op: i32) -> bool {
    (1..=9).contains(&op)
}

/// Input strings of date and time types that mean the clock (PostgreSQL 15, 8.5.1.4).
fn is_clock_word(text: &str) -> bool {
    matches!(
        text.trim().to_ascii_lowercase().as_str(),
        "now" | "today" | "tomorrow" | "yesterday"
    )
}

/// Functions of `pg_catalog` that are volatile, or stable only within one transaction of one server.
pub fn is_volatile(name: &str) -> bool {
    const PREFIXES: [&str; 7] = [
        "pg_",
        "txid_",
        "inet_server",
        "inet_client",
        "lo_",
        "has_",
        "to_reg",
    ];
    const NAMES: [&str; 42] = [
        "now",
        "transaction_timestamp",
        "statement_timestamp",
        "clock_timestamp",
        "timeofday",
        "age",
        "random",
        "setseed",
        "random_normal",
        "gen_random_uuid",
        "gen_random_bytes",
        "uuid_generate_v1",
        "uuid_generate_v1mc",
        "uuid_generate_v4",
        "uuidv4",
        "uuidv7",
        "gen_salt",
        "nextval",
        "currval",
        "lastval",
        "setval",
        "version",
        "current_setting",
        "set_config",
        "current_database",
        "current_query",
        "current_schema",
        "current_schemas",
        "query_to_xml",
        "table_to_xml",
        "schema_to_xml",
        "database_to_xml",
        "cursor_to_xml",
        "ts_stat",
        "ts_rewrite",
        "string_agg",
        "array_agg",
        "json_agg",
        "jsonb_agg",
        "json_object_agg",
        "jsonb_object_agg",
        "xmlagg",
    ];
    // pg_get_... and pg_size_pretty are harmless, but rare in a write: the prefix is the safe side.
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}
