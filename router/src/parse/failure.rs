//! A text that the grammar refuses, in PostgreSQL's own words and with its own position. The parser
//! library gives the words only, so the position is found by parsing prefixes: an error at token n
//! shows in every prefix that holds token n, and in none that ends before it.

use super::depth;
use crate::error::RouterError;

/// The error of `text`, which does not parse.
pub(super) fn explain(text: &str, error: pg_query::Error) -> RouterError {
    match error {
        pg_query::Error::Parse(message) if message.contains("nested too deeply") => {
            depth::too_deep()
        }
        pg_query::Error::Parse(message) | pg_query::Error::Scan(message) => {
            let mut refusal = RouterError::new(sqlstate(&message), message.clone());
            refusal.position = position(text, &message).map(|byte| character(text, byte));
            refusal
        }
        pg_query::Error::Conversion(_) => {
            RouterError::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00")
        }
        other => RouterError::new("XX000", format!("the statement cannot be read: {other}")),
    }
}

/// The grammar's errors are syntax errors but for these.
fn sqlstate(message: &str) -> &'static str {
    if message.starts_with("invalid Unicode") {
        "22025"
    } else if message.contains("not supported") || message.contains("not implemented") {
        "0A000"
    } else if message.starts_with("stack depth") {
        "54001"
    } else {
        "42601"
    }
}

/// Byte of `text` where the error is.
fn position(text: &str, message: &str) -> Option<usize> {
    if message.ends_with("at end of input") {
        return Some(text.len());
    }
    let (_, rest) = message.split_once(" at or near \"")?;
    let near = rest.strip_suffix('"')?;
    match pg_query::scan_tokens(text) {
        Ok(tokens) => {
            let starts: Vec<(usize, usize)> = tokens
                .iter()
                .filter_map(|token| {
                    Some((
                        usize::try_from(token.start).ok()?,
                        usize::try_from(token.end).ok()?,
                    ))
                })
                .collect();
            let first = starts.partition_point(|&(_, end)| !fails_alike(&text[..end], message));
            starts
                .get(first)
                .map(|&(start, _)| start)
                .filter(|&start| text[start..].starts_with(near))
        }
        // The scanner itself failed; it names the text from the bad token to where it gave up.
        Err(_) => text.rfind(near),
    }
}

fn fails_alike(prefix: &str, message: &str) -> bool {
    matches!(pg_query::parse(prefix, 0), Err(pg_query::Error::Parse(found)) if found == message)
}

/// PostgreSQL counts positions in characters, from 1.
fn character(text: &str, byte: usize) -> u32 {
    u32::try_from(text[..byte].chars().count() + 1).unwrap_or(u32::MAX)
}
