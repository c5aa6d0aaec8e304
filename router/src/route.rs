//! Plan + parameters + shard map to targets, on every execution. Pure, and on the hot path: no
//! allocation for a single-key statement. Takes key expressions and the values a statement came
//! with; gives shards. Must never know what a statement does.

mod array;
pub mod copy;
pub mod entry;
mod number;
pub mod stored;
pub mod unnest;
mod value;

use topology::{Key, ShardId, ShardMap};

use crate::parse::shape::Literal;
use crate::plan::KeyExpr;
use schema::KeyType;
use value::{Evaluation, Value};

/// The values a statement came with.
#[derive(Debug, Clone, Copy)]
pub enum Arguments<'a> {
    /// A simple statement planned from its own whole text: literals' values are in the plan.
    Whole,
    /// A simple statement planned by shape: literals are read from the text.
    Shape {
        text: &'a str,
        literals: &'a [Literal],
    },
    /// A Bind message.
    Bound {
        bind: &'a wire::frontend::Bind<'a>,
        types: &'a [u32],
    },
}

/// The encoding of texts in a statement and its parameters (`client_encoding`). The shards' own is
/// UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    #[default]
    Utf8,
    /// Any other: a key that is not ASCII would have other bytes on the shard.
    Other,
}

/// What a key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Shard(ShardId),
    /// The key is NULL, or a value no row can have (an int8 out of range), or one that PostgreSQL
    /// itself refuses (`'abc'` for an integer): any one shard gives PostgreSQL's own answer.
    Nowhere,
    /// Not exactly computable here.
    Unknown,
}

/// One key to its shard. `ids`: the ids generated for this row, for [`KeyExpr::GeneratedId`].
#[inline]
pub fn target(
    key: &KeyExpr,
    key_type: KeyType,
    arguments: Arguments<'_>,
    ids: &[i64],
    encoding: Encoding,
    map: &ShardMap,
) -> Target {
    let evaluation = Evaluation {
        key_type,
        arguments,
        ids,
    };
    place(evaluation.value(key), key_type, encoding, map)
}

/// An array (`= ANY($1)`, text `{1,2}` or binary) to the set of shards, ascending. `None`: unknown.
/// NULL elements match nothing and are left out.
pub fn array_targets(
    array: &KeyExpr,
    key_type: KeyType,
    arguments: Arguments<'_>,
    encoding: Encoding,
    map: &ShardMap,
) -> Option<Vec<ShardId>> {
    let mut shards = Vec::new();
    array::for_each(array, key_type, arguments, |value| {
        match place(value, key_type, encoding, map) {
            Target::Shard(shard) => {
                shards.push(shard);
                true
            }
            Target::Nowhere => true,
            Target::Unknown => false,
        }
    })?;
    shards.sort_unstable();
    shards.dedup();
    Some(shards)
}

/// The shard of a value that is compared with a key of this type.
fn place(value: Value<'_>, key_type: KeyType, encoding: Encoding, map: &ShardMap) -> Target {
    let key = match value.as_key(key_type) {
        Ok(key) => key,
        Err(target) => return target,
    };
    place_key(key, encoding, map)
}

fn place_key(key: Key<'_>, encoding: Encoding, map: &ShardMap) -> Target {
    if let Key::Text(bytes) = key
        && encoding == Encoding::Other
        && !bytes.is_ascii()
    {
        return Target::Unknown;
    }
    Target::Shard(map.shard(ShardMap::bucket(key)))
}

#[cfg(test)]
mod tests;
