//! Changes a SELECT's text for the shards: columns added to the select list, another LIMIT clause.

use pg_query::NodeEnum;
use pg_query::protobuf::SelectStmt;

use crate::error::RouterError;
use crate::plan::tokens::Tokens;
use crate::plan::unsupported;

/// `text` with `hidden` expressions at the end of the select list and `limit` in place of LIMIT and
/// OFFSET. `None`: nothing changes.
pub(super) fn text(
    text: &str,
    select: &SelectStmt,
    hidden: &[String],
    limit: Option<&str>,
) -> Result<Option<String>, RouterError> {
    if hidden.is_empty() && limit.is_none() {
        return Ok(None);
    }
    let tokens = Tokens::of(text);
    let from = from_clause(&tokens, select).ok_or_else(unsupported::rewrite_not_possible)?;
    let at = tokens.span(from).start;
    let mut changed = String::with_capacity(text.len() + 64);
    changed.push_str(text[..at].trim_end());
    for expression in hidden {
        changed.push_str(", ");
        changed.push_str(expression);
    }
    changed.push(' ');
    match limit {
        None => changed.push_str(&text[at..]),
        Some(limit) => {
            let clause = limit_clause(&tokens, from);
            let end = clause.map_or(text.len(), |clause| tokens.span(clause).start);
            changed.push_str(text[at..end].trim_end());
            if !limit.is_empty() {
                changed.push(' ');
                changed.push_str(limit);
            }
            if let Some(locks) = clause.and_then(|clause| locking_clause(&tokens, clause)) {
                changed.push(' ');
                changed.push_str(&text[tokens.span(locks).start..]);
            }
        }
    }
    Ok(Some(changed))
}

/// The FROM of the outermost SELECT, which begins the text or follows its WITH.
fn from_clause(tokens: &Tokens<'_>, select: &SelectStmt) -> Option<usize> {
    if tokens.word(0) == "(" {
        return None;
    }
    let last = match select.target_list.last()?.node.as_ref()? {
        NodeEnum::ResTarget(target) => usize::try_from(target.location).ok()?,
        _ => return None,
    };
    // `IS DISTINCT FROM` is the one FROM that may stand in an expression outside parentheses.
    tokens.find_outside(tokens.index_at(last), |index| {
        tokens.is_word(index, "from") && !tokens.is_word(index.wrapping_sub(1), "distinct")
    })
}

/// FOR is a reserved word, which nothing else has in or behind these clauses.
fn locking_clause(tokens: &Tokens<'_>, limit: usize) -> Option<usize> {
    tokens.find_outside(limit, |index| tokens.is_word(index, "for"))
}

/// LIMIT, OFFSET and FETCH are reserved words: outside parentheses they begin a clause, and after them
/// only each other and row locks follow.
pub(super) fn limit_clause(tokens: &Tokens<'_>, from: usize) -> Option<usize> {
    tokens.find_outside(from, |index| {
        ["limit", "offset", "fetch"]
            .iter()
            .any(|word| tokens.is_word(index, word))
    })
}
