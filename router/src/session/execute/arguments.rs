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

/// `text` with argument expressions, in parentheses, in the place of `$n`.
pub(super) fn put_in(text: &str, arguments: &[String]) -> Result<String, RouterError> {
    let tokens = Tokens::of(text);
    let mut out = String::with_capacity(text.len() + 16 * arguments.len());
    let mut copied = 0;
    for (span, number) in tokens.parameters(0..text.len()) {
        let argument = arguments
            .get(usize::from(number).wrapping_sub(1))
            .ok_or_else(too_few)?;
        out.push_str(&text[copied..span.start]);
        out.push('(');
        out.push_str(argument);
        out.push(')');
        copied = span.end;
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

fn too_few() -> RouterError {
    RouterError::new("42601", "wrong number of parameters for prepared statement")
}
