//! The argument texts of a SQL-level EXECUTE.

use crate::error::RouterError;
use crate::plan::key::Constant;
use crate::plan::tokens::Tokens;

/// A literal argument's value; `None` for any other expression.
pub(super) fn constant(text: &str) -> Option<Constant> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("null") {
        return Some(Constant::Null);
    }
    if let Some(quoted) = text.strip_prefix('\'') {
        let inner = quoted.strip_suffix('\'')?;
        let plain = !inner.replace("''", "").contains('\'');
        return plain.then(|| Constant::String(inner.replace("''", "'")));
    }
    text.parse().ok().map(Constant::Integer)
}

/// `text` with argument expressions, in parentheses and cast to `types` where these are known, in the place of `$n`.
pub(super) fn put_in(text: &str, arguments: &[String], types: Option<&[String]>) -> String {
    let tokens = Tokens::of(text);
    let mut out = String::with_capacity(text.len() + 16 * arguments.len());
    let mut copied = 0;
    for (span, number) in tokens.parameters(0..text.len()) {
        let index = usize::from(number).wrapping_sub(1);
        let Some(argument) = arguments.get(index) else {
            continue;
        };
        out.push_str(&text[copied..span.start]);
        match types.and_then(|types| types.get(index)) {
            Some(name) => out.push_str(&format!("(({argument})::{name})")),
            None => out.push_str(&format!("({argument})")),
        }
        copied = span.end;
    }
    out.push_str(&text[copied..]);
    out
}

/// As PostgreSQL says it.
pub(super) fn check_count(name: &str, given: usize, expected: usize) -> Result<(), RouterError> {
    if given == expected {
        return Ok(());
    }
    let message = format!("wrong number of parameters for prepared statement \"{name}\"");
    let detail = format!("Expected {expected} parameters but got {given}.");
    Err(RouterError::new("42601", message).detail(detail))
}

#[test]
fn an_argument_is_cast_to_its_parameters_type() {
    let arguments = ["7.6".to_owned(), "'a'".to_owned()];
    let types = ["pg_catalog.int4".to_owned(), "pg_catalog.text".to_owned()];
    let text = "select $1 / 2, $2 || '$1'";
    assert_eq!(
        put_in(text, &arguments, Some(&types)),
        "select ((7.6)::pg_catalog.int4) / 2, (('a')::pg_catalog.text) || '$1'"
    );
    assert_eq!(
        put_in(text, &arguments, None),
        "select (7.6) / 2, ('a') || '$1'"
    );
}
