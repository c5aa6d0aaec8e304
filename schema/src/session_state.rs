//! Which functions may leave something behind in the session of the server that ran them: a setting, an advisory
//! lock, a temporary table, a prepared statement. Read from their bodies, and from what calls what; guessed on the
//! safe side. Functions written in C are taken to leave nothing.

use std::collections::{BTreeSet, HashSet};

/// What may call a function: another one, or a relation (by a trigger, a default, a constraint, a policy, an index
/// or as a view).
pub(crate) struct Callers<'a> {
    /// Name and body, in the order of the result.
    pub functions: Vec<(&'a str, Option<&'a str>)>,
    /// Oid and name.
    pub relations: Vec<(u32, &'a str)>,
    /// Relation, and the index of a function that it calls.
    pub calls: Vec<(u32, usize)>,
    /// Relation, and another whose use is a use of it as well: a view's table, a child of a foreign key, a partition.
    pub uses: Vec<(u32, u32)>,
}

/// Those that may leave something behind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// In the order of [`Callers::functions`].
    pub functions: Vec<bool>,
    /// By oid.
    pub relations: HashSet<u32>,
}

/// Looks all bodies through, then follows calls until nothing changes.
pub(crate) fn find(callers: &Callers<'_>) -> Found {
    let bodies = callers.functions.iter().map(|(_, body)| *body);
    let mut found = Found {
        functions: bodies
            .clone()
            .map(|body| body.is_some_and(leaves_state))
            .collect(),
        relations: HashSet::new(),
    };
    if !found.functions.contains(&true) {
        return found;
    }
    let words: Vec<BTreeSet<String>> = bodies
        .map(|body| tokens(body.unwrap_or_default()).collect())
        .collect();
    while spread(&mut found, callers, &words) {}
    found
}

/// One round; whether anything was found.
fn spread(found: &mut Found, callers: &Callers<'_>, words: &[BTreeSet<String>]) -> bool {
    let mut changed = false;
    for (relation, function) in &callers.calls {
        changed |= found.functions[*function] && found.relations.insert(*relation);
    }
    for (relation, used) in &callers.uses {
        changed |= found.relations.contains(used) && found.relations.insert(*relation);
    }
    let named_functions = callers.functions.iter().zip(&found.functions);
    let named_functions = named_functions.filter(|(_, leaves)| **leaves);
    let named_relations = callers.relations.iter();
    let named_relations = named_relations.filter(|(oid, _)| found.relations.contains(oid));
    let names: HashSet<String> = named_functions
        .map(|((name, _), _)| name.to_lowercase())
        .chain(named_relations.map(|(_, name)| name.to_lowercase()))
        .collect();
    for (leaves, words) in found.functions.iter_mut().zip(words) {
        if !*leaves && words.iter().any(|word| names.contains(word)) {
            *leaves = true;
            changed = true;
        }
    }
    changed
}

/// Whether code in SQL, PL/pgSQL or another language may leave something behind in its session.
///
/// Statements put together at run time (EXECUTE) are taken to do so.
#[must_use]
pub fn leaves_state(body: &str) -> bool {
    let tokens: Vec<String> = tokens(body).collect();
    let configures = tokens.iter().enumerate();
    let mut configures = configures.filter(|(_, token)| *token == "set_config");
    tokens.iter().any(|token| KEEPS.contains(&token.as_str()))
        || tokens.iter().enumerate().any(|(at, _)| sets(&tokens, at))
        || configures.any(|(at, _)| !is_local(&tokens[at + 1..]))
}

/// Words that stand for state of a session wherever they are.
const KEEPS: [&str; 20] = [
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_unlock_all",
    "listen",
    "unlisten",
    "prepare",
    "deallocate",
    "discard",
    "temp",
    "temporary",
    "pg_temp",
    "hold",
    "load",
    "setseed",
    "execute",
    "dblink_connect",
];

/// Whether at `at` a statement SET or RESET begins that outlives the transaction.
fn sets(tokens: &[String], at: usize) -> bool {
    let begins = at.checked_sub(1).is_none_or(|before| {
        matches!(
            tokens[before].as_str(),
            ";" | "begin" | "atomic" | "then" | "else" | "loop" | ">" | "'" | "\""
        )
    });
    let next = tokens.get(at + 1).map_or("", String::as_str);
    let ends_with_transaction = matches!(next, "local" | "constraints" | "transaction");
    match tokens[at].as_str() {
        "set" => begins && !ends_with_transaction,
        "reset" => begins,
        _ => false,
    }
}

/// What follows `set_config`: whether the last of its arguments is the word true.
fn is_local(arguments: &[String]) -> bool {
    let mut depth = 0;
    for (at, token) in arguments.iter().enumerate() {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let last = at.checked_sub(2).map(|first| &arguments[first..at]);
            return last.is_some_and(|last| last[0] == "," && last[1] == "true");
        }
    }
    false
}

/// Words in lower case and signs, without comments.
pub(crate) fn tokens(body: &str) -> impl Iterator<Item = String> {
    let mut rest = body;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start();
            let comment = if rest.starts_with("--") {
                rest.find('\n')
            } else if rest.starts_with("/*") {
                rest.find("*/").map(|end| end + 2)
            } else {
                break;
            };
            rest = &rest[comment.unwrap_or(rest.len())..];
        }
        let first = rest.chars().next()?;
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$';
        let length = match rest.find(|letter| !is_part(letter)) {
            Some(0) => first.len_utf8(),
            Some(length) => length,
            None => rest.len(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token.to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_outlives_a_transaction_is_found() {
        for body in [
            "SELECT set_config('app.tenant', $1, false)",
            "SELECT set_config('app.tenant', f(a, b), is_local)",
            "BEGIN SET search_path = x; END",
            "BEGIN IF a THEN SET work_mem = '1MB'; END IF; END",
            "/* first */ RESET ALL",
            "BEGIN PERFORM pg_advisory_lock(1); END",
            "BEGIN EXECUTE 'SET a.b = 1'; END",
            "CREATE TEMP TABLE t AS SELECT 1",
            "BEGIN -- so\n SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY; END",
        ] {
            assert!(leaves_state(body), "{body}");
        }
    }

    #[test]
    fn what_ends_with_the_transaction_is_not() {
        for body in [
            "UPDATE t SET a = 1",
            "UPDATE t AS x SET (a, b) = (1, 2)",
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2",
            "BEGIN SET LOCAL search_path = x; END",
            "BEGIN SET CONSTRAINTS ALL DEFERRED; END",
            "SELECT set_config('app.tenant', $1::text, true)",
            "BEGIN PERFORM pg_advisory_xact_lock(1); END",
            "BEGIN -- SET a = 1\n NEW.at := now(); RETURN NEW; END",
        ] {
            assert!(!leaves_state(body), "{body}");
        }
    }

    #[test]
    fn callers_are_followed() {
        let found = find(&Callers {
            functions: vec![
                ("keeps", Some("SELECT set_config('a.b', 'c', false)")),
                ("calls", Some("BEGIN PERFORM public.keeps(); END")),
                ("writes", Some("INSERT INTO watched VALUES (1)")),
                ("plain", Some("SELECT 1")),
                ("in_c", None),
            ],
            relations: vec![(1, "watched"), (2, "parent"), (3, "other")],
            calls: vec![(1, 1), (3, 3)],
            uses: vec![(2, 1)],
        });
        assert_eq!(found.functions, [true, true, true, false, false]);
        assert_eq!(found.relations, HashSet::from([1, 2]));
    }

    #[test]
    fn without_such_a_function_nothing_is_found() {
        let found = find(&Callers {
            functions: vec![("plain", Some("SELECT 1"))],
            relations: vec![(1, "t")],
            calls: vec![(1, 0)],
            uses: vec![],
        });
        assert!(found.relations.is_empty() && found.functions == [false]);
    }
}
