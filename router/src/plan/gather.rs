//! Statements whose rows are pulled from where they are, and finished elsewhere: by one PostgreSQL
//! server over the pulled rows, or by the shards themselves with the pulled rows beside their own.
//!
//! Owns the shape of such plans. It holds no values: an executor renders a [`Template`] anew each time.

mod broadcast;
pub mod change;
pub mod clock;
pub mod combine;
mod filters;
mod grouping;
mod levels;
pub mod locked;
pub mod lower;
mod needed;
pub(super) mod nested;
pub mod print;
pub mod select;
pub mod template;
pub mod tree;

use schema::KeyType;

use super::mirror::Mirror;
use super::{Action, KeyExpr, Scatter, Split};
use crate::merge::Merge;
pub use template::{Argument, Fragment, Rendered, Template};

/// Inputs, and the statement that is run over them.
#[derive(Debug)]
pub struct Gather {
    /// In the order in which they are pulled; a pull may use the rows of those before it.
    pub pulls: Vec<Pull>,
    /// Its result is the statement's: the same columns in the same order.
    pub finish: Template,
    pub place: Finish,
    /// Why not on the shards alone, for EXPLAIN.
    pub why: String,
}

/// One SELECT whose rows are handed to a later statement.
#[derive(Debug)]
pub struct Pull {
    /// What EXPLAIN calls it, e.g. `posts AS p`.
    pub name: String,
    /// Its columns are called whatever PostgreSQL calls them: a later statement knows them as `c1`, `c2`, ...
    pub text: Template,
    /// At least one.
    pub columns: usize,
    pub source: Source,
    /// The finishing server has these rows itself (a reference table, or a local one at home): outside a
    /// transaction they are left where they are, and [`Fragment::Table`] gives its `in_place`.
    pub is_optional: bool,
    /// Its rows are to be locked where they are: the number of their mark, which its last two columns make up.
    pub mark: Option<usize>,
}

/// Which shards have the rows.
#[derive(Debug, Clone)]
pub enum Source {
    Everywhere,
    Key {
        key: KeyExpr,
        key_type: KeyType,
    },
    Keys {
        keys: Vec<KeyExpr>,
        key_type: KeyType,
    },
    /// `key = ANY($n)`
    KeyArray {
        array: KeyExpr,
        key_type: KeyType,
    },
    /// Local tables.
    Home,
    /// Reference tables.
    AnyShard,
    /// None: the rows that the part of this number of the statement has given (see [`super::parts`]).
    Part(usize),
}

impl Source {
    /// The shards that a plan runs on, and how their results are put together, where they are several; else the plan.
    pub(in crate::plan) fn of(action: Action) -> Result<(Self, Option<Scatter>), Box<Action>> {
        match action {
            Action::Scatter(scatter) => Ok((Self::Everywhere, Some(scatter))),
            Action::Split(Split::Keys {
                keys,
                key_type,
                scatter,
            }) => Ok((Self::Keys { keys, key_type }, Some(scatter))),
            Action::Split(Split::KeyArray {
                array,
                key_type,
                scatter,
            }) => Ok((Self::KeyArray { array, key_type }, Some(scatter))),
            Action::ByKey(by_key) if by_key.rewrite.is_none() => {
                let (key, key_type) = (by_key.key, by_key.key_type);
                Ok((Self::Key { key, key_type }, None))
            }
            other => Err(Box::new(other)),
        }
    }
}

/// Where the finishing statement runs.
#[derive(Debug)]
pub enum Finish {
    /// On one server, outside the transaction (PostgreSQL refuses PREPARE TRANSACTION after use of temporary
    /// tables), over pulled rows only: `home`, or whichever shard is at hand.
    Apart { home: bool },
    /// On the shards of `source`, inside the transaction: what it reads besides the pulled rows is each
    /// shard's own. Inputs are handed over as arrays.
    Shards {
        source: Source,
        merge: Merge,
        /// What to do instead where a pull gives more rows than are handed over as arrays; what was pulled
        /// is then pulled again by this plan. `None`: an error that names the limit.
        otherwise: Option<Box<Gather>>,
    },
    /// As `Apart`; the rows found are locked where they are before the client gets them.
    Locked { home: bool, locks: locked::Locks },
    /// A write to a reference table: on one shard, inside the transaction; the others get the rows that come of it.
    Mirrored(Mirror),
}
