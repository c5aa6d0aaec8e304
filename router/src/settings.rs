//! A session's settings, and the values a server reports. Both are interned per worker, so that
//! "has this connection my settings?" is one pointer comparison.
//!
//! Takes: names and the SET statements that make them. Gives: shared sets and the SQL that turns
//! one set into another. Must never know: sockets, plans.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::hash_map::HashMap;
use std::rc::Rc;

/// Settings by name (lower case) -> the SQL statement that makes them.
pub type Entries = BTreeMap<String, String>;

/// One interned set of settings.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Settings {
    pub entries: Entries,
}

impl Settings {
    /// SQL that turns a connection with `from` into one with `self`; `None` when nothing differs.
    pub fn change_from(&self, from: &Self) -> Option<String> {
        let mut sql = String::new();
        for name in from
            .entries
            .keys()
            .filter(|name| !self.entries.contains_key(*name))
        {
            sql.push_str(&reset_statement(name));
        }
        for (name, statement) in &self.entries {
            if from.entries.get(name) != Some(statement) {
                sql.push_str(statement);
                sql.push(';');
            }
        }
        (!sql.is_empty()).then_some(sql)
    }
}

/// SET SESSION CHARACTERISTICS AS TRANSACTION, which is no setting, but sets three.
pub const CHARACTERISTICS: &str = "session characteristics";

fn reset_statement(name: &str) -> String {
    if name == CHARACTERISTICS {
        return "RESET default_transaction_isolation;RESET default_transaction_read_only;\
                RESET default_transaction_deferrable;"
            .to_owned();
    }
    format!("RESET {};", quote_name(name))
}

/// The statement for a startup parameter: `set_config` reads lists as the startup packet does.
pub fn startup_statement(name: &str, value: &str) -> String {
    format!(
        "SELECT pg_catalog.set_config({}, {}, false)",
        quote_literal(name),
        quote_literal(value)
    )
}

/// Quotes each part of a possibly qualified setting name.
fn quote_name(name: &str) -> String {
    name.split('.')
        .map(quote_identifier)
        .collect::<Vec<_>>()
        .join(".")
}

pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that reads alike with `standard_conforming_strings` on and off.
pub fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// Splits a list of identifiers as PostgreSQL's `SplitIdentifierString` does: commas, quotes,
/// unquoted parts in lower case.
pub fn split_identifiers(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        let (name, after) = one_identifier(rest);
        if !name.is_empty() {
            names.push(name);
        }
        rest = after
            .trim_start()
            .strip_prefix(',')
            .unwrap_or("")
            .trim_start();
    }
    names
}

fn one_identifier(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return (text[..end].trim_end().to_lowercase(), &text[end..]);
    };
    let mut name = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            name.push(character);
        } else if characters.peek().is_some_and(|(_, next)| *next == '"') {
            name.push('"');
            characters.next();
        } else {
            return (name, &quoted[at + 1..]);
        }
    }
    (name, "")
}

/// Values that a server reported with ParameterStatus.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub struct Parameters {
    pub values: BTreeMap<String, String>,
}

impl Parameters {
    /// Those of `self` that differ from what `known` holds.
    pub fn differing<'a>(
        &'a self,
        known: &'a Self,
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.values
            .iter()
            .filter(|(name, value)| known.values.get(*name) != Some(*value))
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Keeps one copy of equal values. Entries that nobody holds are dropped when the table grows.
#[derive(Debug)]
pub struct Interner<T> {
    known: RefCell<HashMap<Rc<T>, ()>>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            known: RefCell::new(HashMap::new()),
        }
    }
}

impl<T: std::hash::Hash + Eq> Interner<T> {
    const SWEEP_ABOVE: usize = 1024;

    pub fn intern(&self, value: T) -> Rc<T> {
        let mut known = self.known.borrow_mut();
        if let Some((shared, ())) = known.get_key_value(&value) {
            return Rc::clone(shared);
        }
        if known.len() > Self::SWEEP_ABOVE {
            known.retain(|shared, ()| Rc::strong_count(shared) > 1);
        }
        let shared = Rc::new(value);
        known.insert(Rc::clone(&shared), ());
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings {
            entries: pairs
                .iter()
                .map(|(n, s)| ((*n).to_owned(), (*s).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn equal_settings_need_no_change() {
        let a = settings(&[("datestyle", "SET datestyle TO ISO")]);
        assert_eq!(a.change_from(&a), None);
    }

    #[test]
    fn what_the_next_client_did_not_set_is_reset_first() {
        let old = settings(&[("role", "SET ROLE x"), ("my.var", "SET my.var TO '1'")]);
        let new = settings(&[("timezone", "SET TIME ZONE 'UTC'")]);
        assert_eq!(
            new.change_from(&old).as_deref(),
            Some("RESET \"my\".\"var\";RESET \"role\";SET TIME ZONE 'UTC';")
        );
    }

    #[test]
    fn search_paths_split_as_postgresql_splits_them() {
        assert_eq!(split_identifiers("\"$user\", public"), ["$user", "public"]);
        assert_eq!(split_identifiers("Foo , \"B\"\"ar,\""), ["foo", "B\"ar,"]);
        assert_eq!(split_identifiers("\"\""), Vec::<String>::new());
    }
}
