//! CREATE and ALTER ROLE: the same password verifier on every shard. A shard would salt each its own.

use pg_query::NodeEnum;
use pg_query::protobuf::{DefElem, Node, Token};

use super::{Job, Planned};
use crate::plan::PasswordHole;
use crate::plan::scope;
use crate::plan::tokens::Tokens;

pub fn plan(job: &Job<'_>, options: &[Node]) -> Planned {
    let mut ddl = job.everywhere();
    ddl.changes_catalog = false;
    ddl.password = options
        .iter()
        .find_map(|option| match option.node.as_ref()? {
            NodeEnum::DefElem(option) if option.defname == "password" => hole(job, option),
            _ => None,
        });
    Ok(job.planned(ddl))
}

/// Where the password stands: the string after the word PASSWORD.
fn hole(job: &Job<'_>, option: &DefElem) -> Option<PasswordHole> {
    let password = scope::string(option.arg.as_deref()?)?;
    if password.is_empty() || is_verifier(password) {
        return None;
    }
    let tokens = Tokens::of(&job.statement.text);
    let first = tokens.index_at(usize::try_from(option.location).ok()?);
    let literal = tokens.find_outside(first, |index| {
        tokens.is(index, Token::Sconst) || tokens.is(index, Token::Usconst)
    })?;
    let span = tokens.span(literal);
    Some(PasswordHole {
        start: span.start,
        end: span.end,
        password: password.to_owned(),
    })
}

/// As PostgreSQL's `get_password_type`: these are stored as they are.
fn is_verifier(password: &str) -> bool {
    let is_md5 = password.len() == 35
        && password.starts_with("md5")
        && password[3..]
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let is_scram = password.strip_prefix("SCRAM-SHA-256$").is_some_and(|rest| {
        let parts: Vec<_> = rest.split(['$', ':']).collect();
        parts.len() == 4 && parts[0].parse::<u32>().is_ok()
    });
    is_md5 || is_scram
}
