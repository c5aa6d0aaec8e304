//! Table rules and the catalog snapshot: what the router knows of one database when it plans.
//!
//! Takes: JSON documents read from a PostgreSQL ([`Snapshot::from_json`], [`oids::OidDocument`]). Gives:
//! an immutable [`Snapshot`], and maps between the shards' OIDs ([`oids::OidMap`]). Must never know:
//! sockets, the router, where a bucket lives.

pub mod admission;
mod build;
mod document;
mod mentions;
pub mod oids;
mod reach;
pub mod rules;
mod sameness;
mod session_state;
pub mod snapshot;
pub mod sql;

pub use admission::{Admission, Applied};
pub use build::DocumentError;
pub use rules::{KeyType, Placement, TableRule};
pub use sameness::CLOCK;
pub use session_state::leaves_state;
pub use snapshot::{
    ChildAt, Column, DefaultValue, Entries, ForeignKey, Function, KeptKey, KeyAction, ParentAt,
    Relation, RelationKind, RoutingIndex, Snapshot, UniqueKey, UnsafeTrigger, View,
};
