//! What the social network is about: each module reads and writes the tables of one thing, in plain SQL.
//!
//! A statement names the person whose rows it is about, so on a cluster it runs where these rows are; docs/social-app.md
//! lists the few that do not. Nothing here knows of HTTP.

pub mod blocks;
pub mod comments;
pub mod cursor;
pub mod deletion;
pub mod fan_out;
pub mod feed;
pub mod follows;
pub mod friends;
pub mod likes;
pub mod messages;
pub mod names;
pub mod notifications;
pub mod passwords;
pub mod people;
pub mod posts;
pub mod rate_limits;
pub mod search;
pub mod sessions;
pub mod tokens;

pub use cursor::{Cursor, Page};
pub use people::Person;
pub use posts::Post;
