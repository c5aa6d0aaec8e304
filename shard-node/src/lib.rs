//! Runs and looks after one PostgreSQL server ([`ShardNode`], [`Server`]), or a few on one machine ([`LocalCluster`]).
//!
//! Takes directories and ports; gives running servers, restarted when they die and gone when their owner is gone.
//! It uses PostgreSQL's own programs (`initdb`, `postgres`) and must never know of routing, tables or the router.
//! Everything but [`ShardNode::health`] blocks: call it from a thread that may wait.

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
mod ports;
mod settings;
mod supervisor;

pub use binaries::{Binaries, OLDEST_VERSION};
pub use cluster::{LocalCluster, LocalClusterOptions, Source};
pub use error::Error;
pub use health::Health;
pub use init::InitOptions;
pub use node::ShardNode;
pub use owner::Owner;
pub use ports::free_port;
pub use supervisor::{Server, Stop};

/// The role that `initdb` creates, with all rights.
pub const SUPERUSER: &str = "postgres";

pub type Result<T> = std::result::Result<T, Error>;
