//! The router: one PostgreSQL address in front of N shards. See ARCHITECTURE.md for the order in
//! which a query flows through these modules.

pub mod admin;
pub mod backend;
mod backup;
pub mod cancel;
pub mod check;
pub mod cli;
pub mod config;
pub mod control;
pub mod credentials;
pub mod dial;
pub mod error;
mod failover;
mod fault_point;
mod gate;
pub mod handshake;
pub mod listen;
pub mod log;
pub mod management;
pub mod merge;
pub mod metrics;
pub mod operate;
pub mod parse;
pub mod patroni;
pub mod permits;
pub mod plan;
pub mod pool;
pub mod route;
pub mod scram;
pub mod seats;
mod serve;
pub mod session;
pub mod settings;
pub mod shutdown;
mod signals;
pub mod standbys;
pub mod stream;
pub mod up;
pub mod worker;

pub use serve::run;
