//! Whether an expression gives the same value on every shard. A write to a reference table runs on each
//! of them, and the copies must stay equal. Takes [`Facts`]; gives what is to blame.

use schema::{CLOCK, Relation, UnsafeTrigger};

use super::PlanContext;
use super::facts::Facts;

/// What in a statement may give different values on different shards; `None`: nothing.
pub fn culprit(facts: &Facts, context: &PlanContext<'_>) -> Option<String> {
    let clock = || facts.value_functions.iter().find(|&&op| is_clock(op));
    let clock_text = || facts.strings.iter().find(|text| names_clock(text));
    function(facts, context)
        .or_else(|| clock().map(|_| "CURRENT_TIMESTAMP".to_owned()))
        .or_else(|| clock_text().map(|text| format!("'{text}'")))
        .or_else(|| system_column(facts).map(|column| format!("column {column}")))
        .or_else(|| object_number(facts))
        .or_else(|| {
            let given = context.clock_in_parameters && facts.highest_parameter > 0;
            given.then(|| "a parameter".to_owned())
        })
}

/// A column of which each shard has its own value.
fn system_column(facts: &Facts) -> Option<&str> {
    const ALL: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];
    let mut columns = facts
        .columns
        .iter()
        .filter_map(|column| column.parts.last());
    columns
        .find(|name| ALL.contains(&name.as_str()))
        .map(String::as_str)
}

/// The trigger by which a write to the relation may do something else on every shard.
pub fn trigger(relation: &Relation, fires: impl Fn(&UnsafeTrigger) -> bool) -> Option<String> {
    let trigger = relation
        .unsafe_triggers
        .iter()
        .find(|trigger| fires(trigger))?;
    Some(format!("trigger \"{}\"", trigger.name))
}

/// A type of object numbers, which no shard can take over from another.
pub fn object_number(facts: &Facts) -> Option<String> {
    let mut types = facts.types.iter();
    types
        .find(|found| is_object_number(&found.name))
        .map(|found| format!("type {}", found.name))
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

/// Input strings of date and time types that mean the clock, alone or with a time of day (PostgreSQL 15,
/// 8.5.1.4): `now`, `tomorrow 10:00`. A sentence with such a word in it is just text; an array, a range, a row or JSON, which
/// begin with a bracket, may have one inside.
pub fn names_clock(text: &str) -> bool {
    if text.trim_start().starts_with(['{', '[', '(']) {
        let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
        return words.any(|word| CLOCK.iter().any(|clock| word.eq_ignore_ascii_case(clock)));
    }
    let is_clock = |word: &str| CLOCK.contains(&word);
    let is_time = |word: &str| {
        word.bytes().any(|byte| byte.is_ascii_digit())
            || matches!(
                word,
                "allballs" | "utc" | "gmt" | "z" | "zulu" | "am" | "pm"
            )
    };
    let text = text.to_ascii_lowercase();
    let mut words = text.split_ascii_whitespace();
    words.clone().any(is_clock) && words.all(|word| is_clock(word) || is_time(word))
}

/// Types whose values are object numbers, which differ from shard to shard.
fn is_object_number(name: &str) -> bool {
    name == "oid" || name.starts_with("reg")
}

/// Functions of `pg_catalog` (and of the common extensions for random values) that are volatile, or stable only
/// within one transaction of one server, or whose result depends on the order of rows.
pub fn is_volatile(name: &str) -> bool {
    // pg_get_... and pg_size_pretty are harmless, but rare in a write: the prefix is the safe side.
    const PREFIXES: &[&str] = &[
        "pg_",
        "txid_",
        "inet_server",
        "inet_client",
        "lo_",
        "has_",
        "to_reg",
        "regr_",
        "query_to_",
        "table_to_",
        "schema_to_",
        "database_to_",
        "cursor_to_",
        "brin_",
        "uuid_generate_",
        "stddev",
        "var_",
        "current_",
    ];
    const NAMES: &[&str] = &[
        // the clock
        "now",
        "transaction_timestamp",
        "statement_timestamp",
        "clock_timestamp",
        "timeofday",
        "age",
        // chance
        "random",
        "setseed",
        "random_normal",
        "gen_random_uuid",
        "gen_random_bytes",
        "uuidv4",
        "uuidv7",
        "gen_salt",
        // the server and the session
        "nextval",
        "currval",
        "lastval",
        "setval",
        "version",
        "set_config",
        "mxid_age",
        "row_security_active",
        "currtid2",
        "loread",
        "lowrite",
        "gin_clean_pending_list",
        "col_description",
        "obj_description",
        "shobj_description",
        "ts_stat",
        "ts_rewrite",
        // the order of rows; sums of floating-point numbers depend on it too
        "string_agg",
        "array_agg",
        "json_agg",
        "jsonb_agg",
        "json_object_agg",
        "jsonb_object_agg",
        "xmlagg",
        "sum",
        "avg",
        "variance",
        "corr",
        "covar_pop",
        "covar_samp",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_time_names_the_clock() {
        for text in [
            "now",
            " Today ",
            "tomorrow 10:00",
            "yesterday allballs UTC",
            "{now}",
            " [now,infinity)",
            "{\"at\": \"TODAY\"}",
        ] {
            assert!(names_clock(text), "{text}");
        }
        for text in [
            "",
            "know",
            "call me now",
            "10:00",
            "today is good",
            "{nowhere}",
            "(a,b)",
        ] {
            assert!(!names_clock(text), "{text}");
        }
    }
}
