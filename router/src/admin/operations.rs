//! What an admin has done to the cluster: statements of the admin database that change something.
//!
//! Takes a statement; gives an [`Operation`]. Whoever carries it out is an [`Operations`]. Nothing here knows how.

use futures_util::future::BoxFuture;

use super::table::{Column, number, text};
use crate::error::RouterError;

/// A server that is to be a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct NewShard {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub weight: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    AddShard(NewShard),
    /// By name or number, as in all that follow.
    DrainShard(String),
    KeepShard(String),
    RemoveShard(String),
    /// Drains it, and removes it once it has no bucket; to be asked again until it has.
    RetireShard(String),
    MoveBucket {
        bucket: u16,
        shard: String,
    },
    Plan,
    Rebalance,
    Pause,
    Resume,
    Undo,
    Cancel,
    Moves,
    SchemaHistory,
    /// The shard is given the changes of the schema that it lacks.
    CatchUp(String),
    Verify {
        repair: bool,
    },
}

/// Carries them out.
pub trait Operations: Send + Sync {
    /// The rows of the answer, with the columns of [`Operation::columns`].
    fn operate(&self, operation: Operation) -> BoxFuture<'_, Result<Rows, RouterError>>;
}

pub type Rows = Vec<Vec<Option<String>>>;

const SHARD: &[Column] = &[number("shard"), text("name"), text("state")];
const REBALANCE: &[Column] = &[number("rebalance"), text("state"), number("moves")];
const PLAN: &[Column] = &[
    text("database"),
    number("source"),
    number("target"),
    number("buckets"),
    number("rows"),
    number("bytes"),
    number("expected_ms"),
];
const MOVES: &[Column] = &[
    number("rebalance"),
    text("rebalance_state"),
    text("database"),
    number("move"),
    number("source"),
    number("target"),
    number("buckets"),
    text("phase"),
    number("rows"),
    number("expected_rows"),
    number("bytes"),
    number("expected_bytes"),
    number("followed"),
    number("attempts"),
    number("held_ms"),
    number("seconds"),
    text("error"),
];
const HISTORY: &[Column] = &[
    text("database"),
    number("number"),
    text("made"),
    text("role"),
    text("kind"),
    text("statement"),
];
const CATCH_UP: &[Column] = &[text("database"), number("made"), number("number")];
const VERIFY: &[Column] = &[
    text("fault"),
    text("database"),
    number("shard"),
    text("object"),
    text("detail"),
    text("repair"),
];

impl Operation {
    /// `words` in capitals, `typed` as they were typed; none: it is none of these.
    pub fn parse(words: &[&str], typed: &[&str]) -> Option<Self> {
        let name = |at: usize| typed.get(at).map(|word| unquoted(word));
        match words {
            ["ADD", "SHARD", _, "HOST", _, "PORT", port, rest @ ..] => {
                let weight = match rest {
                    [] => 1.0,
                    ["WEIGHT", weight] => weight.parse().ok()?,
                    _ => return None,
                };
                Some(Self::AddShard(NewShard {
                    name: name(2)?,
                    host: name(4)?,
                    port: port.parse().ok()?,
                    weight,
                }))
            }
            ["DRAIN", "SHARD", _] => Some(Self::DrainShard(name(2)?)),
            ["KEEP", "SHARD", _] => Some(Self::KeepShard(name(2)?)),
            ["REMOVE", "SHARD", _] => Some(Self::RemoveShard(name(2)?)),
            ["MOVE", "BUCKET", bucket, "TO", _] => Some(Self::MoveBucket {
                bucket: bucket.parse().ok()?,
                shard: name(4)?,
            }),
            ["REBALANCE"] => Some(Self::Rebalance),
            ["REBALANCE", "PLAN"] => Some(Self::Plan),
            ["REBALANCE", "PAUSE"] => Some(Self::Pause),
            ["REBALANCE", "RESUME"] => Some(Self::Resume),
            ["REBALANCE", "UNDO"] => Some(Self::Undo),
            ["REBALANCE", "CANCEL"] => Some(Self::Cancel),
            ["SHOW", "MOVES"] => Some(Self::Moves),
            ["SHOW", "SCHEMA_HISTORY"] => Some(Self::SchemaHistory),
            ["CATCH", "UP", "SHARD", _] => Some(Self::CatchUp(name(3)?)),
            ["VERIFY"] => Some(Self::Verify { repair: false }),
            ["VERIFY", "REPAIR"] => Some(Self::Verify { repair: true }),
            _ => None,
        }
    }

    pub fn columns(&self) -> &'static [Column] {
        match self {
            Self::AddShard(_)
            | Self::DrainShard(_)
            | Self::KeepShard(_)
            | Self::RemoveShard(_)
            | Self::RetireShard(_) => SHARD,
            Self::Plan => PLAN,
            Self::Moves => MOVES,
            Self::SchemaHistory => HISTORY,
            Self::CatchUp(_) => CATCH_UP,
            Self::Verify { .. } => VERIFY,
            Self::MoveBucket { .. }
            | Self::Rebalance
            | Self::Pause
            | Self::Resume
            | Self::Undo
            | Self::Cancel => REBALANCE,
        }
    }
}

/// Names and hosts have no spaces; quotes around them may be there.
fn unquoted(word: &str) -> String {
    let quotes = ['\'', '"'];
    word.trim_matches(quotes).to_owned()
}

/// Statements that change something, for SHOW HELP.
pub const STATEMENTS: [(&str, &str); 15] = [
    (
        "ADD SHARD name HOST 'host' PORT n [WEIGHT w]",
        "an empty PostgreSQL server becomes a shard",
    ),
    ("DRAIN SHARD shard", "its buckets go to the others"),
    (
        "KEEP SHARD shard",
        "one that was to be drained stays after all",
    ),
    (
        "REMOVE SHARD shard",
        "a shard without buckets leaves the cluster",
    ),
    (
        "REBALANCE PLAN",
        "what a rebalance would move, and how long it may take",
    ),
    ("REBALANCE", "places the buckets by the shards' weights"),
    ("REBALANCE PAUSE", "stops after the move under way"),
    ("REBALANCE RESUME", "goes on"),
    (
        "REBALANCE CANCEL",
        "gives the rebalance up; what has moved stays",
    ),
    (
        "REBALANCE UNDO",
        "takes back what the last rebalance has moved",
    ),
    ("MOVE BUCKET n TO shard", "places one bucket by hand"),
    ("SHOW MOVES", "the last rebalance, move by move"),
    ("SHOW SCHEMA_HISTORY", "changes of the schema, by database"),
    (
        "CATCH UP SHARD shard",
        "a shard that lacks changes of the schema, and nothing else, makes them",
    ),
    (
        "VERIFY [REPAIR]",
        "looks for misplaced rows and whatever else is not as it must be",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Operation> {
        let typed: Vec<&str> = text.split(' ').collect();
        let upper: Vec<String> = typed.iter().map(|w| w.to_ascii_uppercase()).collect();
        let words: Vec<&str> = upper.iter().map(String::as_str).collect();
        Operation::parse(&words, &typed)
    }

    #[test]
    fn a_shard_is_added_with_its_address_as_typed() {
        let expected = NewShard {
            name: "eu-3".into(),
            host: "/Run/pg".into(),
            port: 5433,
            weight: 2.5,
        };
        let text = "add shard eu-3 host '/Run/pg' port 5433 weight 2.5";
        assert_eq!(parsed(text), Some(Operation::AddShard(expected)));
        assert_eq!(parsed("add shard a host b"), None);
        assert_eq!(
            parsed("catch up shard eu-3"),
            Some(Operation::CatchUp("eu-3".into()))
        );
        assert_eq!(parsed("rebalance plan"), Some(Operation::Plan));
    }
}
