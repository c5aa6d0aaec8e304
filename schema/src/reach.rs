//! What a trigger reaches beyond the rows that are sure to be on its row's shard: tables of the home shard, copies of reference
//! tables, rows of other keys. Read from the body of its function, statement by statement. What is found to stay on the shard does;
//! what cannot be read is taken to go beyond.

use std::collections::{HashMap, HashSet};

use crate::rules::Placement;
use crate::sameness::parted;
use crate::session_state::tokens;
use crate::snapshot::Relation;

/// Tables and functions, by name in lower case.
pub(crate) struct Named<'a> {
    tables: HashMap<String, Vec<&'a Relation>>,
    schemas: HashSet<String>,
    /// Users' functions that touch tables, or call one that does.
    functions: HashSet<String>,
}

impl<'a> Named<'a> {
    pub(crate) fn new(
        relations: impl Iterator<Item = &'a Relation>,
        functions: impl Iterator<Item = String>,
    ) -> Self {
        let mut tables: HashMap<String, Vec<&Relation>> = HashMap::new();
        let mut schemas = HashSet::new();
        for relation in relations.filter(|relation| relation.schema != "oskol") {
            schemas.insert(relation.schema.to_lowercase());
            let same = tables.entry(relation.name.to_lowercase()).or_default();
            same.push(relation);
        }
        Self {
            tables,
            schemas,
            functions: functions.map(|name| name.to_lowercase()).collect(),
        }
    }

    /// In words, what the trigger of `table` with that body reaches. `None`: nothing that may be elsewhere.
    pub(crate) fn beyond(&self, table: &Relation, body: &str) -> Option<String> {
        let code = parted(body).0;
        let tokens: Vec<String> = tokens(&code).collect();
        let mut statements = tokens.split(|token| token == ";");
        statements.find_map(|tokens| self.beyond_statement(table, tokens))
    }

    fn beyond_statement(&self, table: &Relation, tokens: &[String]) -> Option<String> {
        let is_divided = matches!(table.placement, Placement::Sharded { .. });
        let has = |words: &[&str]| tokens.iter().any(|token| words.contains(&token.as_str()));
        if is_divided && has(&["execute"]) {
            return Some("it runs EXECUTE".to_owned());
        }
        let called = (0..tokens.len()).find(|at| {
            let is_call = tokens.get(at + 1).is_some_and(|next| next == "(");
            is_call && self.functions.contains(&tokens[*at])
        });
        if let Some(at) = called {
            return Some(format!("it calls {}()", tokens[at]));
        }
        if !has(&[
            "select", "insert", "update", "delete", "merge", "truncate", "perform", "table",
        ]) {
            return None;
        }
        let writes = has(&["insert", "update", "delete", "merge", "truncate"]);
        let mentioned = (0..tokens.len()).filter(|at| self.is_table(tokens, *at));
        mentioned
            .flat_map(|at| {
                self.tables[&tokens[at]]
                    .iter()
                    .map(move |found| (at, found))
            })
            .find(|(at, found)| !stays(table, found, tokens, *at, writes))
            .map(|(_, found)| match (&found.placement, writes) {
                (Placement::Reference, _) => {
                    format!("it writes to reference table \"{}\"", found.name)
                }
                (Placement::Local, _) => format!("it uses local table \"{}\"", found.name),
                _ => format!(
                    "it uses table \"{}\", whose rows may be on another shard",
                    found.name
                ),
            })
    }

    /// Where a table may stand; a column may have the same name.
    fn is_table(&self, tokens: &[String], at: usize) -> bool {
        if !self.tables.contains_key(&tokens[at]) {
            return false;
        }
        let is_qualified =
            at >= 2 && tokens[at - 1] == "." && self.schemas.contains(&tokens[at - 2]);
        let before = &tokens[..if is_qualified { at - 2 } else { at }];
        let before = match before.split_last() {
            Some((last, before)) if last == "only" => before,
            _ => before,
        };
        match before.last().map(String::as_str) {
            Some(",") => {
                let mut clauses = before.iter().rev().map(String::as_str);
                let clause = clauses.find(|word| CLAUSES.contains(word));
                clause.is_some_and(|word| BEFORE_TABLES.contains(&word))
            }
            Some(word) => BEFORE_TABLES.contains(&word),
            None => false,
        }
    }
}

const BEFORE_TABLES: [&str; 7] = [
    "from", "join", "into", "update", "using", "table", "truncate",
];
/// What a list between commas belongs to.
const CLAUSES: [&str; 10] = [
    "from",
    "using",
    "truncate",
    "table",
    "set",
    "values",
    "select",
    "where",
    "returning",
    "by",
];

/// Whether what the statement does with `found`, named at `at`, is done on the shard of the row, or on all alike.
fn stays(table: &Relation, found: &Relation, tokens: &[String], at: usize, writes: bool) -> bool {
    match (key_of(table), &found.placement) {
        // At home, where all local tables are.
        (None, Placement::Local) => true,
        (_, Placement::Reference) => !writes,
        (Some(own), Placement::Sharded { .. }) => {
            let other = key_of(found).unwrap_or_default();
            is_pinned(tokens, &other, &own) || is_inserted(&tokens[at + 1..], &other, &own)
        }
        (Some(_), Placement::Local) | (None, Placement::Sharded { .. }) => false,
    }
}

/// In lower case, as words are compared.
fn key_of(table: &Relation) -> Option<String> {
    match table.placement {
        Placement::Sharded { key, .. } => table
            .columns
            .get(key)
            .map(|column| column.name.to_lowercase()),
        _ => None,
    }
}

/// `other = new.own`, either way round, and with `old`.
fn is_pinned(tokens: &[String], other: &str, own: &str) -> bool {
    let row = |words: &[String]| words.len() >= 3 && is_row_value(&words[..3], own);
    (0..tokens.len()).any(|at| {
        let rest = &tokens[at..];
        let left = rest.len() >= 5 && rest[0] == other && rest[1] == "=" && row(&rest[2..]);
        let right =
            rest.len() >= 5 && row(rest) && rest[3] == "=" && pinned_name(&rest[4..], other);
        // Computed further: it is another value.
        let ends = |at: usize| {
            rest.get(at)
                .is_none_or(|next| !["+", "-", "*", "/", "%", "|", "."].contains(&next.as_str()))
        };
        left && ends(5) || right
    })
}

/// `other`, or with the table before it, and nothing computed with it.
fn pinned_name(words: &[String], other: &str) -> bool {
    let at = if words.get(1).is_some_and(|sign| sign == ".") {
        2
    } else {
        0
    };
    let ends = words
        .get(at + 1)
        .is_none_or(|next| !["+", "-", "*", "/", "%", "|"].contains(&next.as_str()));
    words.get(at).is_some_and(|word| word == other) && ends
}

fn is_row_value(words: &[String], own: &str) -> bool {
    ["new", "old"].contains(&words[0].as_str()) && words[1] == "." && words[2] == own
}

/// `(..., other, ...) VALUES (..., new.own, ...)`, of one row.
fn is_inserted(rest: &[String], other: &str, own: &str) -> bool {
    let Some((columns, rest)) = listed(rest) else {
        return false;
    };
    let Some((values, rest)) = rest
        .split_first()
        .filter(|(word, _)| *word == "values")
        .and_then(|(_, rest)| listed(rest))
    else {
        return false;
    };
    let place = columns
        .iter()
        .position(|words| *words == [other.to_owned()]);
    let value = place.and_then(|place| values.get(place));
    value.is_some_and(|words| words.len() == 3 && is_row_value(words, own))
        && rest.first().is_none_or(|next| next != ",")
}

/// What stands in parentheses, between commas, and what follows.
fn listed(words: &[String]) -> Option<(Vec<&[String]>, &[String])> {
    let (open, inner) = words.split_first()?;
    if open != "(" {
        return None;
    }
    let (mut depth, mut began, mut items) = (0, 0, Vec::new());
    for (at, word) in inner.iter().enumerate() {
        match word.as_str() {
            "(" => depth += 1,
            ")" if depth == 0 => {
                items.push(&inner[began..at]);
                return Some((items, &inner[at + 1..]));
            }
            ")" => depth -= 1,
            "," if depth == 0 => {
                items.push(&inner[began..at]);
                began = at + 1;
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::KeyType;
    use crate::snapshot::Column;

    fn table(name: &str, key: Option<&str>, placement: Placement) -> Relation {
        let column = |name: &str| Column {
            name: name.to_owned(),
            ..Column::default()
        };
        Relation {
            schema: "public".into(),
            name: name.into(),
            columns: key.into_iter().map(column).collect(),
            placement,
            ..Relation::default()
        }
    }

    fn tables() -> Vec<Relation> {
        let sharded = || Placement::Sharded {
            key: 0,
            key_type: KeyType::Int8,
        };
        vec![
            table("users", Some("id"), sharded()),
            table("posts", Some("user_id"), sharded()),
            table("comments", Some("author_id"), sharded()),
            table("kinds", None, Placement::Reference),
            table("log", None, Placement::Local),
        ]
    }

    fn beyond(of: &str, body: &str) -> Option<String> {
        let tables = tables();
        let named = Named::new(tables.iter(), ["counts".to_owned()].into_iter());
        let of = tables
            .iter()
            .find(|table| table.name == of)
            .expect("a table");
        named.beyond(of, body)
    }

    #[test]
    fn what_is_bound_to_the_row_stays() {
        for body in [
            "BEGIN NEW.slug := lower(NEW.title); RETURN NEW; END",
            "BEGIN UPDATE users SET posts = posts + 1 WHERE id = NEW.user_id; RETURN NEW; END",
            "BEGIN UPDATE public.users u SET posts = u.posts - 1 WHERE OLD.user_id = u.id AND true; RETURN NULL; END",
            "BEGIN INSERT INTO comments (id, author_id, text) VALUES (1, new.user_id, f(a, b)) ON CONFLICT DO NOTHING; RETURN NULL; END",
            "BEGIN IF NOT EXISTS (SELECT FROM kinds k WHERE k.id = new.kind) THEN RAISE EXCEPTION 'no log of %', new.kind; END IF; RETURN NEW; END",
            "BEGIN new.log := old.log; RETURN NEW; END",
            "BEGIN PERFORM pg_notify('posts', 'insert into log'); RETURN NEW; END",
        ] {
            assert_eq!(beyond("posts", body), None, "{body}");
        }
        let at_home = "BEGIN INSERT INTO log VALUES (new.id); RETURN NULL; END";
        assert_eq!(beyond("log", at_home), None);
    }

    #[test]
    fn what_may_be_elsewhere_is_told() {
        for body in [
            "BEGIN UPDATE users SET n = n + 1 WHERE id = NEW.reader_id; RETURN NEW; END",
            "BEGIN UPDATE users SET n = n + 1 WHERE id = NEW.user_id + 1; RETURN NEW; END",
            "BEGIN UPDATE users SET n = n + 1 WHERE NEW.user_id = id + 1; RETURN NEW; END",
            "BEGIN INSERT INTO comments VALUES (NEW.user_id); RETURN NEW; END",
            "BEGIN INSERT INTO comments (author_id, id) VALUES (NEW.id, NEW.user_id); RETURN NEW; END",
            "BEGIN INSERT INTO comments (author_id) VALUES (NEW.user_id), (NEW.other_id); RETURN NEW; END",
            "BEGIN INSERT INTO log VALUES (new.id); RETURN NULL; END",
            "BEGIN UPDATE kinds SET n = n + 1; RETURN NULL; END",
            "BEGIN NEW.n := (SELECT count(*) FROM kinds k, only public.users u WHERE k.id = u.kind); RETURN NEW; END",
            "BEGIN PERFORM counts(new.id); RETURN NULL; END",
            "BEGIN EXECUTE 'DELETE FROM ' || tg_argv[0]; RETURN NULL; END",
        ] {
            assert!(beyond("posts", body).is_some(), "{body}");
        }
        let from_home = "BEGIN UPDATE users SET n = 1 WHERE id = new.user_id; RETURN NULL; END";
        assert!(beyond("log", from_home).is_some());
    }
}
