//! Statements that run on several shards, held against one plain PostgreSQL.

mod attacks;
mod broadcast;
mod explain;
mod pipelines;
mod portals;
mod reads;
mod setting;
mod writes;
