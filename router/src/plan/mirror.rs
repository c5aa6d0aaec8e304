//! Writes to reference tables whose values, or whose choice of rows, may differ from server to server
//! (`now()`, `random()`, LIMIT, local tables): one shard runs the statement, returns the rows that came of
//! it, and the other shards get exactly these.
//!
//! Gives the change of the client's text and the statement for the other shards. Knows no values.

use schema::{DefaultValue, Relation};

use super::gather::{Fragment, Template};
use super::holds::Holds;
use super::names::quote_identifier;
use super::tokens::Tokens;
use super::unsupported;
use crate::error::RouterError;

/// How the rows of one shard get to the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Columns of the client's own RETURNING; those for the other shards stand behind them.
    pub visible: usize,
    /// Columns behind them.
    pub hidden: usize,
    /// Of the hidden columns: those that come as text (arrays, of which PostgreSQL makes no arrays), and what they
    /// are to be cast to.
    pub casts: Vec<Option<String>>,
    /// For the other shards. The hidden columns are the rows of pull 0.
    pub copy: Template,
    /// The statement reads what only the home shard has.
    pub at_home: bool,
    pub holds: Holds,
}

/// What becomes of a row that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflict<'a> {
    /// It is an error, or the new row is left out: those that come back are new.
    New,
    /// These columns are set.
    Update(&'a [&'a str]),
}

/// The hidden columns, and the statement that takes them.
#[derive(Debug)]
pub struct Copying {
    columns: Vec<usize>,
    casts: Vec<Option<String>>,
    copy: Template,
}

/// All columns of rows inserted.
pub fn insert(relation: &Relation, conflict: Conflict<'_>) -> Result<Copying, RouterError> {
    let stored = |column: &usize| relation.columns[*column].default != DefaultValue::Generated;
    let columns: Vec<usize> = (0..relation.columns.len()).filter(stored).collect();
    check(relation)?;
    let names: Vec<String> = columns
        .iter()
        .map(|column| name(relation, *column))
        .collect();
    let values: Vec<String> = (1..=columns.len())
        .map(|number| format!("r.c{number}"))
        .collect();
    let head = format!(
        "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM ",
        table(relation),
        names.join(", "),
        values.join(", ")
    );
    let tail = match conflict {
        Conflict::New => " AS r".to_owned(),
        Conflict::Update(set) => format!(" AS r{}", upsert(relation, set)?),
    };
    Ok(copying(relation, columns, head, tail))
}

/// The columns that an UPDATE sets, by primary key.
pub fn update(relation: &Relation, set: &[&str]) -> Result<Copying, RouterError> {
    check(relation)?;
    let key = primary_key(relation)?;
    let set = columns_set(relation, key, set)?;
    let columns: Vec<usize> = key.iter().chain(&set).copied().collect();
    let assignments: Vec<String> = set
        .iter()
        .enumerate()
        .map(|(at, column)| format!("{} = r.c{}", name(relation, *column), key.len() + at + 1))
        .collect();
    let head = format!(
        "UPDATE {} AS t SET {} FROM ",
        table(relation),
        assignments.join(", ")
    );
    let tail = format!(" AS r WHERE {}", same_key(relation, key));
    Ok(copying(relation, columns, head, tail))
}

/// The rows that a DELETE takes away, by primary key.
pub fn delete(relation: &Relation) -> Result<Copying, RouterError> {
    check(relation)?;
    let key = primary_key(relation)?;
    let head = format!("DELETE FROM {} AS t USING ", table(relation));
    let tail = format!(" AS r WHERE {}", same_key(relation, key));
    Ok(copying(relation, key.to_vec(), head, tail))
}

impl Copying {
    /// What comes at which byte of the client's text: the hidden columns, at the end of its RETURNING. RETURNING is
    /// the last clause of INSERT, UPDATE and DELETE.
    pub fn returning(
        &self,
        tokens: &Tokens<'_>,
        relation: &Relation,
        alias: &str,
        returns: bool,
    ) -> (usize, String) {
        let last = (0..tokens.len())
            .rev()
            .find(|index| tokens.word(*index) != ";");
        let at = last.map_or(tokens.text.len(), |last| tokens.span(last).end);
        let returned = |(column, cast): (&usize, &Option<String>)| {
            let as_text = if cast.is_some() { "::text" } else { "" };
            format!(
                "{}.{}{as_text}",
                quote_identifier(alias),
                name(relation, *column)
            )
        };
        let names: Vec<String> = self.columns.iter().zip(&self.casts).map(returned).collect();
        let before = if returns { ", " } else { " RETURNING " };
        (at, format!("{before}{}", names.join(", ")))
    }

    pub fn into_mirror(self, visible: usize, at_home: bool, holds: Holds) -> Mirror {
        Mirror {
            visible,
            hidden: self.columns.len(),
            casts: self.casts,
            copy: self.copy,
            at_home,
            holds,
        }
    }
}

fn copying(relation: &Relation, columns: Vec<usize>, head: String, tail: String) -> Copying {
    let cast = |column: &usize| {
        let type_name = &relation.columns[*column].type_name;
        type_name.ends_with("[]").then(|| type_name.clone())
    };
    let casts = columns.iter().map(cast).collect();
    let fragments = vec![
        Fragment::Text(head),
        Fragment::Rows(0),
        Fragment::Text(tail),
    ];
    Copying {
        columns,
        casts,
        copy: Template { fragments },
    }
}

/// A trigger would run once more on every shard, over what it has changed already.
fn check(relation: &Relation) -> Result<(), RouterError> {
    if relation.has_user_triggers {
        return Err(unsupported::reference_write(
            "reference-write-volatile",
            format!(
                "\"{}\" has triggers, and this write may give each shard other values.",
                relation.name
            ),
            "Compute the values first and pass them as constants or parameters; a trigger on a reference table may only look at its \
             row, and call functions of PostgreSQL's own whose result hangs on their arguments alone.",
        ));
    }
    Ok(())
}

/// ` ON CONFLICT (key) DO UPDATE ...`: the copies are the same, so a row is there where it was there first.
fn upsert(relation: &Relation, set: &[&str]) -> Result<String, RouterError> {
    let key = primary_key(relation)?;
    let set = columns_set(relation, key, set)?;
    let names: Vec<String> = key.iter().map(|column| name(relation, *column)).collect();
    let assignments: Vec<String> = set
        .iter()
        .map(|column| name(relation, *column))
        .map(|name| format!("{name} = EXCLUDED.{name}"))
        .collect();
    Ok(format!(
        " ON CONFLICT ({}) DO UPDATE SET {}",
        names.join(", "),
        assignments.join(", ")
    ))
}

fn primary_key(relation: &Relation) -> Result<&[usize], RouterError> {
    let key = relation.unique_keys.iter().find(|key| key.primary);
    key.map(|key| key.columns.as_slice()).ok_or_else(|| {
        unsupported::reference_write(
            "reference-write-no-key",
            format!("It may give each shard other values, and \"{}\" has no primary key by which its rows could be found on the other shards.", relation.name),
            "Give the table a primary key, or pass the values as constants or parameters.",
        )
    })
}

/// The columns of a SET list, each once.
fn columns_set(
    relation: &Relation,
    key: &[usize],
    set: &[&str],
) -> Result<Vec<usize>, RouterError> {
    let mut columns = Vec::new();
    for name in set {
        // PostgreSQL itself will say that there is no such column.
        let column = relation
            .column(name)
            .ok_or_else(unsupported::rewrite_not_possible)?;
        if key.contains(&column) {
            return Err(sets_key(name));
        }
        let always = matches!(
            relation.columns[column].default,
            DefaultValue::Identity { always: true, .. }
        );
        if always || relation.columns[column].default == DefaultValue::Generated {
            return Err(unsupported::rewrite_not_possible());
        }
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    Ok(columns)
}

fn sets_key(column: &str) -> RouterError {
    unsupported::reference_write(
        "reference-write-key",
        format!(
            "It may give each shard other values, and sets \"{column}\", which is of the primary key."
        ),
        "Compute the values first and pass them as constants or parameters.",
    )
}

fn same_key(relation: &Relation, key: &[usize]) -> String {
    let equal: Vec<String> = key
        .iter()
        .enumerate()
        .map(|(at, column)| format!("t.{} = r.c{}", name(relation, *column), at + 1))
        .collect();
    equal.join(" AND ")
}

/// Quoted, with its schema.
pub(super) fn table(relation: &Relation) -> String {
    format!(
        "{}.{}",
        quote_identifier(&relation.schema),
        quote_identifier(&relation.name)
    )
}

fn name(relation: &Relation, column: usize) -> String {
    quote_identifier(&relation.columns[column].name)
}
