//! The startup packet's fields: who, where, with which settings. Pure.

use super::channel::Pair;
use super::{NEWEST_MINOR, options};
use crate::error::RouterError;

/// Longest name of a role or database, in bytes: NAMEDATALEN - 1. PostgreSQL cuts longer ones.
const NAME_BYTES: usize = 63;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Startup {
    pub(super) user: String,
    pub(super) database: String,
    /// Those of `options` first.
    pub(super) parameters: Vec<(String, String)>,
    /// Names beginning with `_pq_.`, none of which is known.
    pub(super) unknown_options: Vec<String>,
    pub(super) minor: u16,
}

impl Startup {
    pub(super) fn parse(minor: u16, pairs: &[Pair]) -> Result<Self, RouterError> {
        let (mut user, mut database) = ("", "");
        let (mut from_options, mut parameters) = (Vec::new(), Vec::new());
        let mut unknown_options = Vec::new();
        for (name, value) in pairs {
            match (text(name)?, text(value)?) {
                ("user", value) => user = value,
                ("database", value) => database = value,
                ("options", value) => from_options = options::parse(value)?,
                ("replication", value) => refuse_replication(value)?,
                (name, _) if name.starts_with("_pq_.") => unknown_options.push(name.to_owned()),
                (name, value) => parameters.push((name.to_owned(), value.to_owned())),
            }
        }
        if user.is_empty() {
            let message = "no PostgreSQL user name specified in startup packet";
            return Err(RouterError::new("28000", message));
        }
        let database = if database.is_empty() { user } else { database };
        from_options.append(&mut parameters);
        Ok(Self {
            user: clipped(user),
            database: clipped(database),
            parameters: from_options,
            unknown_options,
            minor: minor.min(NEWEST_MINOR),
        })
    }
}

fn text(bytes: &[u8]) -> Result<&str, RouterError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let first = bytes[error.valid_up_to()];
        let message = format!("invalid byte sequence for encoding \"UTF8\": 0x{first:02x}");
        RouterError::new("22021", message).detail("In the startup packet.")
    })
}

fn clipped(name: &str) -> String {
    let mut end = name.len().min(NAME_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].to_owned()
}

/// Streams of changes are of one server: there is none of a cluster.
fn refuse_replication(value: &str) -> Result<(), RouterError> {
    match as_boolean(value) {
        Some(false) => Ok(()),
        None if value != "database" => {
            let message = format!("invalid value for parameter \"replication\": \"{value}\"");
            let hint = "Valid values are: \"false\", 0, \"true\", 1, \"database\".";
            Err(RouterError::new("22023", message).hint(hint))
        }
        _ => Err(RouterError::unsupported(
            "replication",
            "replication connections are not supported",
        )
        .detail("The startup packet asks for replication.")
        .hint("Connect to a shard itself for replication or pg_basebackup.")),
    }
}

/// PostgreSQL's parse_bool: unique beginnings of true, false, yes, no, on, off; 1 and 0.
fn as_boolean(value: &str) -> Option<bool> {
    let lower = value.to_ascii_lowercase();
    let begins = |word: &str| !lower.is_empty() && word.starts_with(&lower);
    match lower.as_str() {
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        _ if begins("true") || begins("yes") => Some(true),
        _ if begins("false") || begins("no") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Startup, RouterError> {
        let pairs: Vec<Pair> = pairs
            .iter()
            .map(|(n, v)| (n.as_bytes().into(), v.as_bytes().into()))
            .collect();
        Startup::parse(0, &pairs)
    }

    #[test]
    fn the_database_is_named_like_the_user_by_default() {
        assert_eq!(parse(&[("user", "ada")]).unwrap().database, "ada");
        assert_eq!(
            parse(&[("user", "ada"), ("database", "")])
                .unwrap()
                .database,
            "ada"
        );
        assert_eq!(
            parse(&[("user", "ada"), ("database", "d")])
                .unwrap()
                .database,
            "d"
        );
    }

    #[test]
    fn a_user_is_needed() {
        let error = parse(&[("database", "d")]).unwrap_err();
        assert_eq!(error.sqlstate, "28000");
        assert_eq!(
            error.message,
            "no PostgreSQL user name specified in startup packet"
        );
    }

    #[test]
    fn settings_follow_those_of_options() {
        let startup = parse(&[
            ("user", "ada"),
            ("TimeZone", "UTC"),
            ("options", "-c geqo=off"),
            ("_pq_.future", "1"),
        ])
        .unwrap();
        let expected = [("geqo", "off"), ("TimeZone", "UTC")];
        assert_eq!(
            startup.parameters,
            expected.map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
        assert_eq!(startup.unknown_options, ["_pq_.future"]);
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let user = "é".repeat(40);
        assert_eq!(parse(&[("user", &user)]).unwrap().user, "é".repeat(31));
    }

    #[test]
    fn replication_is_refused_unless_it_is_off() {
        let outcome = |value: &str| {
            parse(&[("user", "a"), ("replication", value)])
                .map_err(|error| error.sqlstate)
                .err()
        };
        for value in ["false", "0", "off", "no", "F"] {
            assert_eq!(outcome(value), None, "{value}");
        }
        for value in ["true", "1", "database", "on", "yes"] {
            assert_eq!(outcome(value), Some("0A000"), "{value}");
        }
        for value in ["", "o", "maybe"] {
            assert_eq!(outcome(value), Some("22023"), "{value}");
        }
    }

    #[test]
    fn names_must_be_utf_8() {
        let pairs: [Pair; 1] = [(b"user"[..].into(), b"a\xff"[..].into())];
        assert_eq!(Startup::parse(0, &pairs).unwrap_err().sqlstate, "22021");
    }
}
