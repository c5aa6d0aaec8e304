//! Runs and looks after one PostgreSQL server ([`ShardNode`], [`Server`]), or a few on one machine ([`LocalCluster`]).
//!
//! Takes directories and ports; gives running servers, restarted when they die and gone when their owner is gone.
//! [`agent`] is the program around one of them: health over HTTP, membership of a cluster, an orderly end.
//! It uses PostgreSQL's own programs (`initdb`, `postgres`) and must never know of routing, tables or the router.
//! Everything but [`ShardNode::health`] blocks: call it from a thread that may wait.

mod access;
pub mod agent;
mod binaries;
mod cluster;
mod error;
mod health;
mod identity;
mod init;
mod leftover;
mod node;
mod owner;
mod pidfile;
mod place;
mod ports;
mod settings;
mod status;
mod supervisor;
mod verifier;

pub use binaries::{Binaries, OLDEST_VERSION};
pub use cluster::{LocalCluster, LocalClusterOptions, Source};
pub use error::Error;
pub use health::Health;
pub use init::InitOptions;
pub use node::ShardNode;
pub use owner::Owner;
pub use place::Place;
pub use ports::free_port;
pub use status::{Connections, Disk, Prepared, Replication, Role, Slot, Standby, Status};
pub use supervisor::{Server, Stop};
pub use verifier::verifier;

/// The role that `initdb` creates, with all rights.
pub const SUPERUSER: &str = "postgres";

pub type Result<T> = std::result::Result<T, Error>;
