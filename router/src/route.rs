//! Plan + parameters + shard map to targets, on every execution. Pure, and on the hot path: no
//! allocation for a single-key statement.

use topology::{ShardId, ShardMap};

use crate::parse::shape::Literal;
use crate::plan::KeyExpr;
use schema::KeyType;

/// The values a statement came with.
#[derive(Debug, Clone, Copy)]
pub enum Arguments<'a> {
    /// A simple statement planned from its own whole text: literals' values are in the plan.
    Whole,
    /// A simple statement planned by shape: literals are read from the text.
    Shape { text: &'a str, literals: &'a [Literal] },
    /// A Bind message.
    Bound { bind: &'a wire::frontend::Bind<'a>, types: &'a [u32] },
}

/// What a key came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Shard(ShardId),
    /// The key is NULL, or a value no row can have (an int8 out of range): no row matches; any one
    /// shard gives PostgreSQL's own answer.
    Nowhere,
    /// Not exactly computable here.
    Unknown,
}

/// One key to its shard. `ids`: the ids generated for this row, for [`KeyExpr::GeneratedId`].
pub fn target(
    _key: &KeyExpr,
    _key_type: KeyType,
    _arguments: Arguments<'_>,
    _ids: &[i64],
    _map: &ShardMap,
) -> Target {
    Target::Unknown
}

/// An array (`= ANY($1)`, text `{1,2}` or binary) to the set of shards, ascending. `None`: unknown.
/// NULL elements match nothing and are left out.
pub fn array_targets(
    _array: &KeyExpr,
    _key_type: KeyType,
    _arguments: Arguments<'_>,
    _map: &ShardMap,
) -> Option<Vec<ShardId>> {
    None
}
