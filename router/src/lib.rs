//! The router: one PostgreSQL address in front of N shards. See ARCHITECTURE.md for the order in
//! which a query flows through these modules.

pub mod backend {
    //! Connections to shards.
    pub mod login;
}
pub mod cancel;
pub mod config;
pub mod credentials;
pub mod dial;
pub mod error;
pub mod merge;
pub mod metrics;
pub mod parse;
pub mod plan;
pub mod route;
pub mod scram;
pub mod seats;
pub mod stream;
pub mod worker;
