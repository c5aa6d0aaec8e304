//! The social network: an ordinary PostgreSQL application behind a connection string.
//!
//! Imports nothing of the cluster: the same program runs on one PostgreSQL and on many.
//! `web` and `api` -> `models` -> `db`; `work` carries out jobs; `server` accepts connections. docs/social-app.md has more.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod db;
pub mod error;
pub mod jobs;
pub mod live;
pub mod media;
pub mod metrics;
pub mod models;
pub mod seed;
pub mod server;
pub mod web;
pub mod work;

pub use app::App;
pub use error::Error;
