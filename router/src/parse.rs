//! Text to statements. Owns PostgreSQL's grammar (pg_query) and the lexer that finds a simple
//! statement's shape. Takes text; gives [`Statement`]s and [`shape::Shape`]s. Knows no table, no key.

mod depth;
mod failure;
pub mod shape;

use pg_query::protobuf::RawStmt;

use crate::error::RouterError;

/// One statement of a query string, parsed.
#[derive(Debug)]
pub struct Statement {
    /// The statement's own text, without surrounding white space and without the final `;`.
    pub text: String,
    /// The parse tree's statement node; its `location`s count bytes of `text`.
    pub node: pg_query::NodeEnum,
    /// Characters of the query string before `text`: what to add to the position in an error about
    /// this statement when it was sent alone.
    pub characters_before: u32,
}

/// Splits a query string into its statements and parses them.
///
/// Returns no statement for an empty string. Errors: 42601 with PostgreSQL's own text and position.
pub fn parse(text: &str) -> Result<Vec<Statement>, RouterError> {
    let trimmed = text.trim_start_matches(is_space);
    let before = text[..text.len() - trimmed.len()].chars().count();
    let mut raw = grammar(trimmed, text)?;
    match raw.len() {
        0 => Ok(Vec::new()),
        1 => {
            let node = raw
                .pop()
                .and_then(|raw| own_text(trimmed, &raw).map(|own| (own, raw)));
            Ok(node
                .and_then(|((_, end), raw)| statement(&trimmed[..end], raw, before))
                .into_iter()
                .collect())
        }
        _ => several(text, before, trimmed, &raw),
    }
}

/// One statement's tree, whose `location`s count from `start`. `None`: no statement, or several.
///
/// # Errors
/// 42601 with PostgreSQL's own text.
pub fn parse_at(text: &str, start: usize) -> Result<Option<pg_query::NodeEnum>, RouterError> {
    let padded = " ".repeat(start) + text;
    let mut raw = grammar(&padded, &padded)?;
    let only = raw.pop().filter(|_| raw.is_empty());
    Ok(only.and_then(|raw| raw.stmt?.node))
}

/// Parses each statement again by itself, so that its locations count its own bytes.
fn several(
    text: &str,
    before: usize,
    trimmed: &str,
    raw: &[RawStmt],
) -> Result<Vec<Statement>, RouterError> {
    let mut statements = Vec::with_capacity(raw.len());
    for (start, end) in raw.iter().filter_map(|raw| own_text(trimmed, raw)) {
        let own = &trimmed[start..end];
        let before = before + trimmed[..start].chars().count();
        for raw in grammar(own, text)? {
            statements.extend(statement(own, raw, before));
        }
    }
    Ok(statements)
}

fn statement(own: &str, raw: RawStmt, before: usize) -> Option<Statement> {
    let node = raw.stmt?.node?;
    let characters_before = u32::try_from(before).unwrap_or(u32::MAX);
    Some(Statement {
        text: own.to_owned(),
        node,
        characters_before,
    })
}

/// Where `raw`'s text starts and ends in `text`, white space around it left out.
fn own_text(text: &str, raw: &RawStmt) -> Option<(usize, usize)> {
    let start = usize::try_from(raw.stmt_location).ok()?;
    let end = match usize::try_from(raw.stmt_len).ok()? {
        0 => text.len(),
        length => start + length,
    };
    let own = text.get(start..end)?;
    let start = start + own.len() - own.trim_start_matches(is_space).len();
    let end = start + own.trim_matches(is_space).len();
    Some((start, end))
}

/// `text` through PostgreSQL's grammar. `whole` is what the client sent, for the error's position.
fn grammar(text: &str, whole: &str) -> Result<Vec<RawStmt>, RouterError> {
    let parsed = match depth::check(text)? {
        depth::Stack::Ours => pg_query::parse(text, 0),
        depth::Stack::Large => depth::on_a_large_stack(|| pg_query::parse(text, 0))?,
    };
    parsed
        .map(|parsed| parsed.protobuf.stmts)
        .map_err(|error| failure::explain(whole, error))
}

/// White space as PostgreSQL 15's scanner defines it.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

#[cfg(test)]
mod tests;
