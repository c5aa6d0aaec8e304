//! Table rules and the catalog snapshot: what the router knows of one database when it plans.
//!
//! Takes: one JSON document read from a PostgreSQL ([`Snapshot::from_json`]). Gives: an immutable
//! [`Snapshot`]. Must never know: sockets, the router, where a bucket lives.

pub mod rules;
pub mod snapshot;
pub mod sql;

pub use rules::{KeyType, Placement, TableRule};
pub use snapshot::{
    Column, DefaultValue, ForeignKey, Function, Relation, RelationKind, Snapshot, UniqueKey,
};
